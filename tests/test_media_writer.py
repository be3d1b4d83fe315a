"""A round trip keeps every frame, its time, and what the picture means; failures leave nothing behind."""

import os
import resource
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.sidedata.sidedata import Type

from media_samples import (
    decoded_linearly,
    enlarged,
    ffprobe,
    frames_of,
    make_captioned_clip,
    make_clip,
    packet_times,
    probe_streams,
    round_trip,
)
from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Frame
from rfdn_stream.media import matroska
from rfdn_stream.media.encoders import TRAITS, choose_encoding
from rfdn_stream.media.output import muxer_of, plan_output
from rfdn_stream.media.reader import open_source
from rfdn_stream.media.shape import even_size
from rfdn_stream.media.writer import VideoFileSink

FAST = EncodeOptions(preset="ultrafast")
LOSSLESS = EncodeOptions(codec="ffv1")
HDR_TAGS = {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1, "chroma_sample_location": 3}
HDR_PARAMS = (
    "log-level=none:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    ":max-cll=1000,400"
)


def seconds(source, times):
    return [float(pts * source.info.time_base) for pts, _ in times]


@pytest.mark.parametrize("target", ["mkv", "mp4", "mov", "nut"])
@pytest.mark.parametrize("offset", [0, 131])
@pytest.mark.parametrize("kind", ["mkv", "mp4"])
def test_variable_times_offset_and_last_duration_survive(tmp_path, kind, offset, target):
    durations = [7, 1, 22, 1, 2, 57, 1, 49, 30]
    source = make_clip(
        tmp_path / f"in.{kind}",
        pts=[offset + t for t in (0, 7, 8, 30, 31, 33, 90, 91, 140)],
        durations=durations,
        time_base=Fraction(1, 100),
        # MP4 does not store the last duration where B-frames change the order.
        options={"preset": "medium", "bf": "2" if kind == "mkv" else "0"},
    )
    out = tmp_path / f"out.{target}"
    _, _, times, opened = round_trip(source, out, EncodeOptions(preset="medium"))
    assert [float(d * opened.info.time_base) for _, d in times] == pytest.approx([d / 100 for d in durations])
    got = packet_times(out)
    # NUT stores decoding times, none below 0: everything moves together.
    moved = got[0][0] - seconds(opened, times)[0] if target == "nut" else 0
    assert moved == pytest.approx(0.08 if target == "nut" and offset == 0 else 0)
    assert [t - moved for t, _ in got] == pytest.approx(seconds(opened, times), abs=0.0006 if target == "mkv" else 1e-6)
    stream = probe_streams(out)[0]
    if target in ("mp4", "mov"):
        ends = ffprobe(out, "-show_format")["format"]["duration"]
        assert float(ends) == pytest.approx(1.7 + offset / 100, abs=0.002)
    if target == "mkv":
        assert stream["tags"]["DURATION"].startswith(f"00:00:0{1.7 + offset / 100:.3f}"[:12])


def test_pixels_are_what_was_written(tmp_path):
    source = make_clip(tmp_path / "in.nut", codec="rawvideo", format="yuv422p10le", size=(36, 22), frames=4)
    round_trip(source, tmp_path / "out.mkv", LOSSLESS)
    for (_, _, small), (_, _, large) in zip(frames_of(source), frames_of(tmp_path / "out.mkv"), strict=True):
        for plane, big in zip(small, large, strict=True):
            np.testing.assert_array_equal(np.repeat(np.repeat(plane, 2, 0), 2, 1), big)


@pytest.mark.parametrize("format", [*FORMATS])
def test_every_format_survives_losslessly(tmp_path, format):
    source = make_clip(tmp_path / "in.nut", codec="rawvideo", format="yuv420p", size=(32, 16), frames=3)
    color = RGB_FULL if FORMATS[format].family == "rgb" else ColorSpec("bt709", "full")
    with open_source(source) as opened:
        plan = plan_output(opened, "out.mkv", LOSSLESS)
        encoding = choose_encoding(FORMATS[format], color, lambda _: True, LOSSLESS)
        plan = type(plan)(plan.muxer, encoding)
        written = []
        with VideoFileSink(tmp_path / "out.mkv", opened, plan, (32, 16)) as sink:
            for item in opened.items():
                written.append(enlarged(item, encoding.format, color, 1))
                sink.write(written[-1])
            sink.finish()
    assert encoding.format.bits >= FORMATS[format].bits
    assert encoding.format.subsampling == FORMATS[format].subsampling
    with open_source(tmp_path / "out.mkv") as result:
        assert result.info.format == encoding.format or {result.info.format.name, encoding.format.name} == {
            "gbrp", "rgb24"
        }  # fmt: skip
        if result.info.format == encoding.format:
            for got, want in zip(result.items(), written, strict=True):
                for mine, its in zip(got.planes, want.planes, strict=True):
                    np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize("target", ["mkv", "mp4"])
@pytest.mark.parametrize(
    ("tags", "size", "want"),
    [
        ({}, (64, 48), ("tv", "smpte170m", "unknown", "unknown", "left")),
        ({}, (640, 360), ("tv", "smpte170m", "unknown", "unknown", "left")),
        ({}, (1280, 32), ("tv", "bt709", "unknown", "unknown", "left")),
        ({"color_range": 2, "colorspace": 5}, (64, 48), ("pc", "bt470bg", "unknown", "unknown", "left")),
        (
            {"color_range": 1, "colorspace": 1, "color_primaries": 1, "color_trc": 1, "chroma_sample_location": 2},
            (64, 48),
            ("tv", "bt709", "bt709", "bt709", "center"),
        ),
    ],
)
def test_colour_is_always_tagged(tmp_path, target, tags, size, want):
    source = make_clip(tmp_path / "in.mkv", tags=tags, size=size, frames=2)
    plan, report, _, _ = round_trip(source, tmp_path / f"out.{target}", FAST)
    stream = probe_streams(tmp_path / f"out.{target}")[0]
    keys = ("color_range", "color_space", "color_transfer", "color_primaries", "chroma_location")
    assert tuple(stream.get(key, "unknown") for key in keys) == want
    assert (stream["width"], stream["height"]) == (2 * size[0], 2 * size[1])
    with open_source(tmp_path / f"out.{target}") as result:
        assert result.info.color == plan.encoding.color
    assert report.codec == "libx264"


@pytest.mark.parametrize("target", ["mkv", "mp4", "mov"])
def test_ten_bit_hdr_keeps_depth_transfer_and_metadata(tmp_path, target):
    source = make_clip(
        tmp_path / "in.mp4", codec="libx265", format="yuv420p10le", tags=HDR_TAGS, frames=5,
        options={"x265-params": HDR_PARAMS},
    )  # fmt: skip
    plan, *_ = round_trip(source, tmp_path / f"out.{target}", FAST)
    assert (plan.encoding.codec, plan.encoding.format.name) == ("libx265", "yuv420p10le")
    stream = probe_streams(tmp_path / f"out.{target}")[0]
    assert stream["pix_fmt"] == "yuv420p10le"
    assert (stream["color_space"], stream["color_transfer"], stream["color_primaries"]) == (
        "bt2020nc", "smpte2084", "bt2020",
    )  # fmt: skip
    assert stream["chroma_location"] == "topleft"
    if target != "mkv":
        assert stream["codec_tag_string"] == "hvc1"
    first = ffprobe(tmp_path / f"out.{target}", "-show_frames", "-read_intervals", "%+#1")["frames"][0]
    kinds = {data["side_data_type"]: data for data in first["side_data_list"]}
    assert kinds["Mastering display metadata"]["red_x"] == "34000/50000"
    assert kinds["Mastering display metadata"]["max_luminance"] == "10000000/10000"
    assert kinds["Content light level metadata"]["max_content"] == 1000


@pytest.mark.parametrize(("codec", "format"), [("libx264", "yuv420p10le"), ("libsvtav1", "yuv420p10le")])
def test_hdr_metadata_in_other_encoders(tmp_path, codec, format):
    source = make_clip(
        tmp_path / "in.mkv", codec="libx265", format="yuv420p10le", tags=HDR_TAGS, frames=3, size=(64, 64),
        options={"x265-params": HDR_PARAMS},
    )  # fmt: skip
    options = EncodeOptions(codec=codec, preset="12" if codec == "libsvtav1" else "ultrafast")
    round_trip(source, tmp_path / "out.mkv", options)
    with open_source(tmp_path / "out.mkv") as result:
        side_data = result.first.origin.side_data
        assert result.info.format.name == format
        assert side_data.get(Type.CONTENT_LIGHT_LEVEL) is not None
        assert side_data.get(Type.MASTERING_DISPLAY_METADATA) is not None


@pytest.fixture(scope="module")
def captioned(tmp_path_factory):
    return make_captioned_clip(tmp_path_factory.mktemp("captions"))


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_closed_captions_survive(tmp_path, captioned, codec):
    round_trip(captioned, tmp_path / "out.mkv", EncodeOptions(codec=codec, preset="ultrafast"))
    with open_source(tmp_path / "out.mkv") as result:
        frames = list(result.items())
        captions = [frame.origin.side_data.get(Type.A53_CC) for frame in frames]
        assert sum(frame.origin.key_frame for frame in frames) == 1, "the source's keyframes became the encoder's"
        assert all(caption is not None and b"\xfc\x94\x2c" in bytes(caption) for caption in captions)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="asks Linux for the threads of this process")
def test_av1_takes_no_place_before_the_rest_of_the_machine(tmp_path):
    """SVT-AV1 would, with all of its threads, where it may: as root."""
    policies = lambda: {os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")}  # noqa: E731
    source = make_clip(tmp_path / "in.mkv", frames=2, size=(64, 64))
    before, threads = policies(), len(os.listdir("/proc/self/task"))
    with open_source(source) as opened:
        plan = plan_output(opened, tmp_path / "out.mkv", EncodeOptions(codec="libsvtav1", preset="12"))
        with VideoFileSink(tmp_path / "out.mkv", opened, plan, (64, 64)) as sink:
            assert len(os.listdir("/proc/self/task")) > threads
            assert policies() == before == {os.SCHED_OTHER}
            for frame in opened.items():
                sink.write(frame)
            sink.finish()
            assert policies() == {os.SCHED_OTHER}


def test_writing_leaves_the_sources_pictures_alone(tmp_path, captioned):
    with open_source(captioned) as opened:
        before = [plane.copy() for plane in opened.first.planes]
        plan = plan_output(opened, "out.mkv", LOSSLESS)
        with VideoFileSink(tmp_path / "out.mkv", opened, plan, (64, 48)) as sink:
            sink.write(opened.first.like(tuple(255 - p for p in before), opened.first.layout, opened.first.color))
            sink.finish()
        for plane, copy in zip(opened.first.planes, before, strict=True):
            np.testing.assert_array_equal(plane, copy)
    ((_, _, planes),) = frames_of(tmp_path / "out.mkv")
    np.testing.assert_array_equal(planes[0], 255 - before[0])


@pytest.mark.parametrize("target", ["mkv", "mp4", "mov"])
def test_aspect_ratio_and_rotation(tmp_path, target):
    matrix = [0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30]
    source = make_clip(tmp_path / "in.mp4", sar=Fraction(16, 11), matrix=matrix)
    plan, *_ = round_trip(source, tmp_path / f"out.{target}", FAST)
    assert plan.dropped == ()
    stream = probe_streams(tmp_path / f"out.{target}")[0]
    assert stream["sample_aspect_ratio"] == "16:11"
    with open_source(tmp_path / f"out.{target}") as result:
        assert result.info.rotation == 90
        if target != "mkv":
            assert result.matrix == (0, 65536, 0, -65536, 0, 0, 96 << 16, 0, 1 << 30)
    if target != "mkv":  # FFmpeg 5.1 reads no roll from Matroska
        assert stream["side_data_list"][0]["rotation"] == -90


@pytest.mark.parametrize(
    ("codec", "target"),
    [
        ("libx264", "mkv"), ("ffv1", "mkv"), ("libsvtav1", "mkv"), ("libvpx-vp9", "mkv"), ("libsvtav1", "webm"),
        ("libvpx-vp9", "webm"),
    ],
)  # fmt: skip
def test_aspect_ratio_in_matroska(tmp_path, codec, target):
    source = make_clip(
        tmp_path / "in.mkv", sar=Fraction(16, 11), size=(88, 72), frames=30, chapters=[(0, 1000, "a")],
        metadata={"title": "A film"}, audio=["libopus"],
    )  # fmt: skip
    preset = {"libsvtav1": "12", "libvpx-vp9": "8", "libx264": "ultrafast"}.get(codec)
    round_trip(source, tmp_path / f"out.{target}", EncodeOptions(codec=codec, preset=preset))
    stream, *_ = probe_streams(tmp_path / f"out.{target}")
    assert stream["sample_aspect_ratio"] == "16:11"
    everything = ffprobe(tmp_path / f"out.{target}", "-show_format", "-show_chapters", "-show_packets")
    assert everything["format"]["tags"]["title"] == "A film"
    assert len(everything["chapters"]) == 1
    assert sum(p["codec_type"] == "video" for p in everything["packets"]) == 30
    with av.open(str(tmp_path / f"out.{target}")) as result:  # its index still points to the clusters
        result.seek(900_000, backward=True)
        assert next(result.decode(video=0)).time >= 0
    assert _checksums(tmp_path / f"out.{target}") > 0 or target == "webm"  # which has none


def _checksums(path):
    """How many master elements of the segment carry a checksum; each must be right."""
    data, found = path.read_bytes(), 0
    segment = next(e for e in matroska._elements(data, 0, len(data)) if e.id == 0x18538067)
    for element in matroska._elements(data, segment.body, segment.end):
        body = data[element.body : element.end]
        if body[:2] == b"\xbf\x84":
            assert body[2:6] == zlib.crc32(body[6:]).to_bytes(4, "little")
            found += 1
    return found


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1", "libvpx-vp9", "ffv1", "mpeg4", "prores_ks"])
@pytest.mark.parametrize("frames", [1, 2, 3, 30])
def test_short_clips_in_every_encoder(tmp_path, codec, frames):
    source = make_clip(tmp_path / "in.mkv", frames=frames, size=(64, 64), pts=[10 + i for i in range(frames)])
    preset = {"libx264": "medium", "libx265": "fast", "libsvtav1": "12", "libvpx-vp9": "8"}.get(codec)
    for target in ("mkv", "mp4") if codec not in ("ffv1", "prores_ks") else ("mkv", "mov"):
        if (codec, target) == ("ffv1", "mov"):
            continue
        out = tmp_path / f"out.{target}"
        _, _, times, opened = round_trip(source, out, EncodeOptions(codec=codec, preset=preset))
        got = packet_times(out)
        assert [t for t, _ in got] == pytest.approx(seconds(opened, times), abs=0.0006)
        dts = [float(p["dts_time"]) for p in ffprobe(out, "-show_packets")["packets"] if "dts_time" in p]
        assert dts == sorted(set(dts))


def test_x264_is_not_sliced_and_places_its_own_keyframes(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=40, size=(128, 128), options={"g": "1"})
    round_trip(source, tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as result:
        packets = [p for p in result.demux(result.streams.video[0]) if p.size]
    assert b"sliced_threads=0" in b"".join(map(bytes, packets))
    assert b"crf=16.0" in bytes(packets[0])
    assert sum(p.is_keyframe for p in packets) < 5


def test_odd_sizes_are_cropped_and_told(tmp_path):
    source = make_clip(tmp_path / "in.nut", codec="rawvideo", size=(31, 17), frames=2)
    with open_source(source) as opened:
        plan = plan_output(opened, "out.mkv", LOSSLESS)
        with VideoFileSink(tmp_path / "out.mkv", opened, plan, (93, 51)) as sink:
            assert sink.notes == [
                "the last column or row is cropped: 93x51 becomes 92x50, as yuv420p takes even sides only"
            ]
            frames = [enlarged(item, item.format, item.color, 3) for item in opened.items()]
            for frame in frames:
                sink.write(frame)
            assert sink.finish().size == (92, 50)
    for frame, (_, _, planes) in zip(frames, frames_of(tmp_path / "out.mkv"), strict=True):
        for mine, its in zip(frame.planes, planes, strict=True):
            np.testing.assert_array_equal(mine[: its.shape[0], : its.shape[1]], its)
    assert even_size((93, 51), FORMATS["yuv422p"]) == (92, 51)
    assert even_size((93, 51), FORMATS["yuv444p"]) == (93, 51)


def choose(format, holds=lambda _: True, color=None, **options):
    color = color or (RGB_FULL if FORMATS[format].family == "rgb" else ColorSpec("bt601"))
    return choose_encoding(FORMATS[format], color, holds, EncodeOptions(**options))


@pytest.mark.parametrize(
    ("source", "codec", "made"),
    [
        ("yuv420p", "libx264", "yuv420p"),
        ("nv12", "libx264", "nv12"),
        ("yuv444p", "libx264", "yuv444p"),
        ("yuv420p10le", "libx265", "yuv420p10le"),
        ("p010le", "libx265", "yuv420p10le"),
        ("yuv422p12le", "libx265", "yuv422p12le"),
        ("gray", "libx264", "gray"),
        ("gray12le", "libx265", "gray12le"),
        ("rgb24", "libx264", "yuv444p"),
        ("gbrp10le", "libx265", "yuv444p10le"),
        ("gbrp16le", "libx265", "yuv444p12le"),
    ],
)
def test_defaults(source, codec, made):
    encoding = choose(source)
    assert (encoding.codec, encoding.format.name) == (codec, made)
    assert encoding.options["crf"] == {"libx264": "16", "libx265": "18"}[codec]
    assert encoding.options["preset"] == "medium"
    if FORMATS[source].family == "rgb":
        assert (encoding.color.matrix, encoding.color.range) == ("bt709", "limited")
    else:
        assert encoding.color.matrix == "bt601"
    assert bool(encoding.notes) == (source == "gbrp16le")


@pytest.mark.parametrize(
    ("source", "codec", "made", "coarser"),
    [
        ("gbrp16le", "ffv1", "gbrp16le", False),
        ("rgb24", "libx264rgb", "rgb24", False),
        ("gray", "libsvtav1", "yuv420p", False),
        ("gray10le", "libsvtav1", "yuv420p10le", False),
        ("yuv444p12le", "libsvtav1", "yuv420p10le", True),
        ("yuv444p", "libsvtav1", "yuv420p", True),
        ("yuv444p12le", "libx264", "yuv444p10le", True),
        ("yuv420p10le", "libvpx-vp9", "yuv420p", True),
        ("yuv420p", "prores_ks", "yuv422p10le", False),
        ("yuv420p", "mjpeg", "yuv420p", False),
    ],
)
def test_nearest_format_of_a_chosen_encoder(source, codec, made, coarser):
    encoding = choose(source, codec=codec)
    assert encoding.format.name == made
    assert any("coarser" in note for note in encoding.notes) == coarser


def test_automatic_encoder_fits_the_container():
    def webm(codec):
        return codec in ("libvpx-vp9", "libsvtav1")

    assert choose("yuv420p", webm).codec == "libvpx-vp9"
    assert choose("yuv420p10le", webm).codec == "libsvtav1"
    with pytest.raises(UsageError, match="holds no video"):
        choose("yuv420p", lambda _: False)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"codec": "libx256"}, r"no video encoder 'libx256'; did you mean libx26[45]"),
        ({"codec": "qqqq"}, "for example: libx264"),
        ({"codec": "aac"}, "no video encoder 'aac'"),
        ({"codec": "libx264", "pix_fmt": "yuv420p12le"}, "cannot take pixel format 'yuv420p12le'.*yuv420p10le"),
        ({"pix_fmt": "nonsense"}, "cannot take pixel format 'nonsense'"),
        ({"crf": 52}, "libx264 takes a crf of 0 to 51, got 52"),
        ({"crf": -1}, "libx264 takes a crf of 0 to 51, got -1"),
        ({"codec": "libsvtav1", "preset": "medium"}, "libsvtav1 has no preset 'medium'; it has 0, 1"),
        ({"preset": "warp"}, "libx264 has no preset 'warp'; it has ultrafast"),
        ({"codec": "ffv1", "crf": 10}, r"ffv1 takes no crf \(it is lossless\)"),
        ({"codec": "mpeg4", "preset": "slow"}, "mpeg4 takes no preset"),
    ],
)
def test_wrong_options_are_told_with_what_is_right(options, says):
    with pytest.raises(UsageError, match=says):
        choose("yuv420p", **options)


def test_every_encoder_with_traits_that_is_here_takes_its_settings(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=2, size=(64, 64))
    here = [name for name in TRAITS if not name.endswith("nvenc")]
    assert len(here) == 5
    for codec in here:
        round_trip(source, tmp_path / f"{codec}.mkv", EncodeOptions(codec=codec, crf=30))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("out.xyz", r"the extension '.xyz' of out.xyz is unknown"),
        ("out", "out has no extension"),
        ("out.png", "does not hold a video with its timestamps"),
        ("out.h264", "does not hold a video with its timestamps"),
        ("out.wmv", "does not hold a video with its timestamps"),
        ("out.ogv", "does not hold a video with its timestamps"),
        ("out.m3u8", "does not hold a video with its timestamps"),
    ],
)
def test_outputs_that_are_no_video_files(tmp_path, name, says, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=says):
        muxer_of(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("offset", [95441, 50000])
@pytest.mark.parametrize("target", ["mp4", "mov", "mkv", "avi", "ts"])
def test_the_clock_of_a_broadcast_begins_at_its_first_time(tmp_path, offset, target):
    """95441 s is just before the clock wraps around: FFmpeg gives times before 0, which MP4 would cut off."""
    source = make_clip(
        tmp_path / "in.ts",
        frames=100,
        options={"bf": "2"},
        audio=["mp2"],
        muxer_options={"output_ts_offset": str(offset)},
    )
    with open_source(source) as opened:
        first = opened.span.shift
        assert (first < 0) == (offset == 95441)
        assert (
            f"moved by {-float(first):+.3f} s, as the source's clock begins" in plan_output(opened, "a.mkv").notes[-1]
        )
    out = tmp_path / f"out.{target}"
    round_trip(source, out, FAST)
    seen = ffprobe(
        out, "-show_streams", "-show_format", "-count_frames", "-show_entries", "stream=codec_type,nb_read_frames"
    )
    assert seen["streams"][0]["nb_read_frames"] == "100"
    assert float(seen["format"].get("start_time", 0)) < 2
    assert float(seen["format"]["duration"]) == pytest.approx(4, abs=0.1)
    if target in ("mp4", "mkv"):
        assert packet_times(out)[0][0] == pytest.approx(packet_times(source)[0][0] - float(first), abs=0.001)


def test_pictures_before_0_are_not_cut_off(tmp_path):
    early = {"codec": "libvpx-vp9", "pts": range(-10, 10), "muxer_options": {"avoid_negative_ts": "disabled"}}
    source = make_clip(tmp_path / "in.webm", **early)
    round_trip(source, tmp_path / "out.mp4", FAST)
    assert [time for time, _ in packet_times(tmp_path / "out.mp4")] == pytest.approx([n / 25 for n in range(20)])
    assert ffprobe(tmp_path / "out.mp4", "-show_streams", "-count_frames")["streams"][0]["nb_read_frames"] == "20"


def test_container_that_refuses_the_encoder(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=2)
    for name, codec in (("out.webm", "libx264"), ("out.ts", "libsvtav1"), ("out.ts", "ffv1")):
        with open_source(source) as opened, pytest.raises(UsageError, match=f"cannot hold {codec}"):
            plan_output(opened, tmp_path / name, EncodeOptions(codec=codec))
    with open_source(source) as opened:
        plan = plan_output(opened, tmp_path / "out.mkv", EncodeOptions(codec="libx264"))
        with pytest.raises(UsageError, match="libx264 in ogv refuses 64x48 yuv420p"):
            VideoFileSink(tmp_path / "out.ogv", opened, replace(plan, muxer="ogv"), (64, 48)).__enter__()
    assert not (tmp_path / "out.ogv").exists()


def test_encoder_that_refuses_its_settings_leaves_an_older_file_alone(tmp_path):
    source, out = make_clip(tmp_path / "in.mkv", frames=2), tmp_path / "out.mkv"
    out.write_bytes(b"older")
    with open_source(source) as opened:
        plan = plan_output(opened, out)
        with pytest.raises(UsageError, match="libx264 in Matroska refuses 0x16 yuv420p with crf=16, preset=medium"):
            VideoFileSink(out, opened, plan, (1, 16)).__enter__()
    assert out.read_bytes() == b"older"


def test_avi_keeps_a_constant_rate(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=20, rate=Fraction(30000, 1001), time_base=Fraction(1001, 30000))
    plan, report, *_ = round_trip(source, tmp_path / "out.avi", FAST)
    assert any("constant frame rate" in note for note in plan.notes)
    assert report.time_base == Fraction(1001, 30000)
    assert probe_streams(tmp_path / "out.avi")[0]["avg_frame_rate"] == "30000/1001"
    vfr = make_clip(tmp_path / "vfr.mkv", pts=[0, 40, 41, 80, 120], time_base=Fraction(1, 1000))
    with pytest.raises(MediaError, match=r"does not come after the one before it; choose \.mkv or \.mp4"):
        round_trip(vfr, tmp_path / "vfr.avi", FAST)
    assert not (tmp_path / "vfr.avi").exists()


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_avi_gets_no_frames_out_of_order(tmp_path, codec):
    source = make_clip(tmp_path / "in.mkv", frames=20, options={"bf": "2"})
    plan, *_ = round_trip(source, tmp_path / "out.avi", EncodeOptions(codec=codec))
    assert plan.encoding.options["bf"] == "0"
    assert probe_streams(tmp_path / "out.avi")[0]["has_b_frames"] == 0
    times = [time for time, _ in decoded_linearly(tmp_path / "out.avi")]
    assert [time - times[0] for time in times] == [Fraction(n, 25) for n in range(20)]


@pytest.fixture
def opened(tmp_path):
    with open_source(make_clip(tmp_path / "in.mkv", frames=5, audio=["pcm_s16le"])) as source:
        yield source


def first_frame(source, **changes):
    frame = enlarged(source.first, source.first.format, source.first.color)
    return Frame(**{**{name: getattr(frame, name) for name in frame.__dataclass_fields__}, **changes})


def test_frames_that_do_not_fit_are_refused(tmp_path, opened):
    out = tmp_path / "out.mkv"
    plan = plan_output(opened, out, FAST)
    with VideoFileSink(out, opened, plan, (128, 96)) as sink:
        with pytest.raises(MediaError, match="takes yuv420p 128x96, got yuv420p 64x48"):
            sink.write(opened.first)
        sink.write(first_frame(opened))
        with pytest.raises(MediaError, match=r"frame 1 at 0\.000 s does not come after"):
            sink.write(first_frame(opened))
        with pytest.raises(MediaError, match="a frame without a time"):
            sink.write(first_frame(opened, pts=None))
    assert not out.exists()


def test_leaving_without_finish_leaves_nothing(tmp_path, opened):
    out = tmp_path / "out.mkv"
    with VideoFileSink(out, opened, plan_output(opened, out, FAST), (128, 96)) as sink:
        sink.write(first_frame(opened))
        assert out.exists()
    assert not out.exists()


def test_no_frames_are_no_video(tmp_path, opened):
    out = tmp_path / "out.mkv"
    with (
        pytest.raises(MediaError, match="no frame was written"),
        VideoFileSink(out, opened, plan_output(opened, out, FAST), (128, 96)) as sink,
    ):
        sink.finish()
    assert not out.exists()


def test_folder_that_cannot_be_written(tmp_path, opened):
    out = tmp_path / "missing" / "out.mkv"
    with pytest.raises(MediaError, match=r"cannot write .*out.mkv: No such file or directory"):
        VideoFileSink(out, opened, plan_output(opened, out, FAST), (128, 96)).__enter__()


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.ts"])
def test_full_disk(tmp_path, name):
    source = make_clip(tmp_path / "in.mkv", frames=60, size=(160, 96))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
        with pytest.raises(MediaError, match=r"cannot write .*out.*; free some space"):
            round_trip(source, tmp_path / name, FAST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / name).exists()


def test_a_span_begins_near_zero(tmp_path):
    source = make_clip(tmp_path / "in.mp4", pts=[100 + i for i in range(75)], audio=["aac"], audio_start=4)
    out = tmp_path / "out.mp4"
    _, report, times, _ = round_trip(source, out, FAST, start=1.0, duration=1.0)
    assert report.frames == 25
    assert times[0][0] * report.time_base < Fraction(1, 25)
    streams = probe_streams(out)
    assert [float(s["start_time"]) for s in streams] == pytest.approx([0, 0], abs=0.03)
    assert [float(s["duration"]) for s in streams] == pytest.approx([1, 1], abs=0.06)


def test_working_name_may_end_in_anything(tmp_path):
    source, partial = make_clip(tmp_path / "in.mkv", frames=3), tmp_path / ".out.mp4.123.part"
    with open_source(source) as opened:
        plan = plan_output(opened, "out.mp4", FAST)
        with VideoFileSink(partial, opened, plan, (128, 96)) as sink:
            for item in opened.items():
                sink.write(enlarged(item, item.format, item.color))
            report = sink.finish()
    assert report.bytes == os.path.getsize(partial)
    assert ffprobe(partial, "-show_format")["format"]["format_name"].startswith("mov,mp4")


@pytest.mark.parametrize("format", ["yuv420p12le", "yuv422p12le", "yuv444p10le"])
def test_x265_survives_small_pictures(tmp_path, format):
    """Its AVX2 code for cutree writes beyond its memory where a picture is 40 or 48 pixels wide, say."""
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", format=format, size=(24, 16), frames=4)
    plan, report, _, _ = round_trip(clip, tmp_path / "out.mkv")
    assert (plan.encoding.codec, report.frames, report.size) == ("libx265", 4, (48, 32))
