"""Frames come out as they are in the file: each one, its samples, and its exact time."""

import os
import re
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from media_samples import codes, decoded_linearly, ffprobe, frames_of, make_clip, picture
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import FORMATS, Frame
from rfdn_stream.media.frames import carried, carrier, plane_views
from rfdn_stream.media.reader import CopiedPacket, open_source
from support import assert_frames_equal

VFR = [0, 7, 8, 30, 31, 33, 90, 91, 140]


def items_of(path, *span):
    with open_source(path, *span) as source:
        return list(source.items()), source


def rewrite(path, target, change):
    """Copies the video packets; `change(number, packet)` gives the packet to write, or None to leave it out."""
    with av.open(str(path)) as source, av.open(str(target), "w") as output:
        stream = source.streams.video[0]
        copy = output.add_stream_from_template(stream, opaque=True)
        for number, packet in enumerate(p for p in source.demux(stream) if p.size):
            made = change(number, packet)
            if made is not None:
                made.stream = copy
                output.mux(made)
    return target


def garbled(packet):
    """The packet with noise behind its length field."""
    noise = np.random.default_rng(packet.size).integers(0, 256, packet.size - 4, dtype=np.uint8).tobytes()
    made = av.Packet(bytes(packet)[:4] + noise)
    made.pts, made.dts, made.duration, made.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    made.is_keyframe = packet.is_keyframe
    return made


IN_NUT = [name for name in FORMATS if name != "p010le"]  # which has no tag in NUT


@pytest.mark.parametrize("format", IN_NUT)
@pytest.mark.parametrize("size", [(64, 48), (37, 23)])
def test_planes_are_the_files_samples(tmp_path, format, size):
    got = frames_of(make_clip(tmp_path / "raw.nut", codec="rawvideo", format=format, size=size, frames=3))
    assert len(got) == 3
    for number, (_, _, planes) in enumerate(got):
        for plane, want in zip(planes, codes(number, FORMATS[format], *size), strict=True):
            np.testing.assert_array_equal(plane, want)


def noise(format, size=(64, 48), bits=None):
    made = av.VideoFrame(*size, format)
    random = np.random.default_rng(0)
    for plane in made.planes:
        data = random.integers(0, 256, plane.buffer_size, dtype=np.uint8)
        if bits:
            words = data.view(np.uint16) & ((1 << bits) - 1) if "p010" not in format else data.view(np.uint16) & 0xFFC0
            data = (words.byteswap() if format.endswith("be") else words).view(np.uint8)
        plane.update(data.tobytes())
    return made


@pytest.mark.parametrize(
    ("format", "bits"),
    [
        *((name, None) for name in ("bgr24", "rgb0", "bgr0", "0rgb", "0bgr", "nv21", "nv16", "nv24")),
        *((name, None) for name in ("yuyv422", "uyvy422", "rgb48le", "rgb48be", "gbrp16be")),
        *((name, 10) for name in ("p010be", "yuv420p10be", "yuv422p10be", "yuv444p10be", "gray10be", "gbrp10be")),
        *((name, 12) for name in ("yuv420p12be", "yuv422p12be", "yuv444p12be", "gray12be", "gbrp12be")),
    ],
)
def test_rearranged_formats_lose_nothing(format, bits):
    original = noise(format, bits=bits)
    for range_ in (0, 1, 2):
        original.color_range = range_
        shown = carried(original)
        assert shown.format.name == carrier(format).name
        plane_views(shown, carrier(format))  # the shapes fit
        again = shown.reformat(format=format, src_color_range=1, dst_color_range=1)
        for mine, its in zip(again.planes, original.planes, strict=True):
            got, want = (np.frombuffer(plane, np.uint8).reshape(plane.height, -1) for plane in (mine, its))
            unused = {"rgb0": 3, "bgr0": 3, "0rgb": 0, "0bgr": 0}.get(format)
            used = np.arange(got.shape[1]) % 4 != unused if unused is not None else slice(None)
            np.testing.assert_array_equal(got[:, used], want[:, used])


@pytest.mark.parametrize("name", ["p010le", "nv12", "yuv420p", "rgb24"])
def test_views_of_odd_sizes_and_bottom_up_pictures(name):
    format = FORMATS[name]
    made = picture(3, format, 37, 23)
    for plane, want in zip(plane_views(made, format), codes(3, format, 37, 23), strict=True):
        np.testing.assert_array_equal(plane, want)


def test_views_of_a_bottom_up_picture(tmp_path):
    path = make_clip(tmp_path / "clip.avi", codec="rawvideo", format="bgr24", frames=2)
    data = bytearray(path.read_bytes())
    height = data.index(b"strf") + 16
    assert int.from_bytes(data[height : height + 4], "little", signed=True) == -48  # top-down
    data[height : height + 4] = (48).to_bytes(4, "little")
    path.write_bytes(data)
    with open_source(path) as source:
        assert source.first.origin.planes[0].line_size < 0
        np.testing.assert_array_equal(source.first.planes[0], codes(0, FORMATS["rgb24"], 64, 48)[0][::-1])


def test_palette_becomes_rgb(tmp_path):
    path = tmp_path / "palette.nut"
    palette = np.random.default_rng(1).integers(0, 256, (256, 4), dtype=np.uint8)
    palette[:, 3] = 255
    indices = np.random.default_rng(2).integers(0, 256, (48, 64), dtype=np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "pal8"
        frame = av.VideoFrame(64, 48, "pal8")
        frame.planes[0].update(indices.tobytes())
        frame.planes[1].update(palette.tobytes())
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    ((_, _, (plane,)),) = frames_of(path)
    np.testing.assert_array_equal(plane, palette[indices][..., 2::-1])  # the palette is B, G, R, A


@pytest.mark.parametrize("format", ["yuv410p", "yuv411p", "yuv440p", "yuvj411p", "yuvj440p"])
@pytest.mark.parametrize("range_", [0, 1, 2])
def test_rare_subsampling_keeps_its_luma(format, range_):
    original = noise(format)
    original.color_range = range_
    shown = carried(original)
    assert shown.format.name == "yuv444p"
    np.testing.assert_array_equal(
        plane_views(shown, FORMATS["yuv444p"])[0], np.frombuffer(original.planes[0], np.uint8).reshape(48, -1)[:, :64]
    )


def test_upsampled_chroma_stays_where_it_was():
    # 4:1:1 chroma lies on every fourth column, where it must come out as it was.
    original = noise("yuv411p")
    shown = plane_views(carried(original), FORMATS["yuv444p"])
    for plane, source in zip(shown[1:], original.planes[1:], strict=True):
        want = np.frombuffer(source, np.uint8).reshape(48, -1)[:, :16]
        np.testing.assert_array_equal(plane[:, ::4], want)


def test_planes_are_views_that_outlive_the_source(tmp_path):
    path = make_clip(tmp_path / "clip.mkv", frames=4)
    items, _ = items_of(path)
    frames = [i for i in items if isinstance(i, Frame)]
    want = frames_of(path)
    for frame, (_, _, planes) in zip(frames, want, strict=True):
        assert not frame.planes[0].flags.owndata
        assert not frame.planes[0].flags.writeable
        for plane, copy in zip(frame.planes, planes, strict=True):
            np.testing.assert_array_equal(plane, copy)


@pytest.mark.parametrize("muxer", ["mkv", "mp4", "nut"])
def test_variable_frame_rate_keeps_every_time(tmp_path, muxer):
    path = make_clip(tmp_path / f"vfr.{muxer}", pts=VFR, time_base=Fraction(1, 100))
    items, source = items_of(path)
    times = [item.pts * item.time_base for item in items]
    assert times == [Fraction(t, 100) for t in VFR]
    assert source.frames == len(VFR)
    assert source.damage == []


@pytest.mark.parametrize("muxer", ["mkv", "mp4"])
def test_start_offset_is_kept(tmp_path, muxer):
    items, _ = items_of(make_clip(tmp_path / f"late.{muxer}", pts=[50 + i for i in range(8)]))
    assert [item.pts * item.time_base for item in items] == [Fraction(50 + i, 25) for i in range(8)]


def test_last_duration(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", pts=[0, 1, 2], durations=[1, 1, 10])
    assert [duration for _, duration, _ in frames_of(path)] == [512, 512, 5120]


@pytest.mark.parametrize("muxer", ["mkv", "mp4"])
def test_frames_last_until_the_next(tmp_path, muxer):
    path = make_clip(
        tmp_path / f"clip.{muxer}", pts=VFR, time_base=Fraction(1, 100), options={"preset": "medium", "bf": "3"}
    )  # fmt: skip
    items, _ = items_of(path)
    lengths = [item.duration * item.time_base for item in items]
    assert lengths[:-1] == [Fraction(b - a, 100) for a, b in pairwise(VFR)]
    assert lengths[-1] > 0


def test_frames_that_avi_repeats_are_gaps_in_time(tmp_path):
    path = make_clip(tmp_path / "clip.avi", codec="mpeg4", pts=[0, 1, 2, 6, 7, 12])
    items, source = items_of(path)
    assert [item.pts - items[0].pts for item in items] == [0, 1, 2, 6, 7, 12]
    assert source.damage == []


@pytest.mark.parametrize("muxer", ["mkv", "mp4", "ts", "avi", "flv"])
def test_no_frame_of_the_tail_is_missing(tmp_path, muxer):
    path = make_clip(
        tmp_path / f"bframes.{muxer}", frames=53, options={"preset": "medium", "bf": "3", "g": "20"}
    )  # fmt: skip
    want = decoded_linearly(path) if muxer != "avi" else [(Fraction(i, 25), None) for i in range(53)]
    items, source = items_of(path)
    assert len(want) == 53
    times = [i.pts * i.time_base for i in items]
    if muxer == "avi":  # no pts in the file: made up, evenly
        assert [b - a for a, b in pairwise(times)] == [Fraction(1, 25)] * 52
    else:
        first = want[0][0] if muxer == "ts" else 0  # a broadcast's clock tells nothing
        assert times == [time - first for time, _ in want]
    assert source.notes == []
    assert source.damage == []


SPANS = [(0.2, 0.4), (0.52, None), (1.0, 0.04), (None, 0.6), (0, 0.1), (0.97, 1.0), (1.9, 5)]


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize(
    ("muxer", "codec", "options"),
    [
        ("mkv", "libx264", {"preset": "medium", "bf": "3", "x264-params": "open-gop=1:keyint=12:min-keyint=12"}),
        ("mp4", "libx264", {"preset": "medium", "bf": "3", "g": "13"}),
        ("ts", "libx264", {"preset": "medium", "bf": "2", "g": "13"}),
        ("mkv", "mpeg2video", {"bf": "2", "g": "10"}),
        ("webm", "libvpx-vp9", {"g": "11", "deadline": "realtime", "cpu-used": "8"}),
        ("nut", "ffv1", {}),
    ],
)
def test_a_span_is_what_linear_decoding_gives(tmp_path, muxer, codec, options, span):
    path = make_clip(tmp_path / f"clip.{muxer}", codec=codec, options=options, pts=[3 + i for i in range(50)])
    whole = decoded_linearly(path)
    origin = whole[0][0]
    start, duration = span
    begin = origin + Fraction(str(start)) if start is not None else origin
    end = begin + Fraction(str(duration)) if duration is not None else Fraction(1000)
    want = [(time, luma) for time, luma in whole if begin <= time < end]
    items, source = items_of(path, start, duration)
    shift = 0 if start is None and muxer != "ts" else begin
    base = source.info.time_base
    assert [i.pts for i in items] == [round((time - shift) / base) for time, _ in want]
    for frame, (_, luma) in zip(items, want, strict=True):
        np.testing.assert_array_equal(frame.planes[0], luma[: frame.height])
    assert source.damage == []


def test_a_span_takes_the_sound_of_the_same_time(tmp_path):
    path = make_clip(tmp_path / "clip.mkv", frames=75, audio=["pcm_s16le"], options={"g": "10"})
    items, _ = items_of(path, 1.0, 1.5)
    sound = [i.packet for i in items if isinstance(i, CopiedPacket)]
    times = sorted(p.pts * Fraction(1, 1000) for p in sound)
    assert 0 <= times[0] < 0.03
    assert 1.45 < times[-1] < 1.5
    steps = [b - a for a, b in pairwise(times)]
    assert max(steps) < 0.03, "sound is missing in the middle"
    assert all(p.dts == p.pts for p in sound)


def test_chapters_of_a_span(tmp_path):
    chapters = [(0, 1000, "a"), (1000, 2000, "b"), (2000, 3000, "c")]
    path = make_clip(tmp_path / "clip.mkv", frames=75, chapters=chapters)
    with open_source(path, 0.5, 1.0) as source:
        got = [(c["metadata"]["title"], c["start"] * 1e-9, c["end"] * 1e-9) for c in source.chapters]
    assert got == [("a", 0, pytest.approx(0.5)), ("b", pytest.approx(0.5), pytest.approx(1.0))]


def test_duration_of_a_span_is_told(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", frames=75)
    for span, want in [((None, None), 3), ((1.0, None), 2), ((1.0, 0.5), 0.5), ((2.5, 9), 0.5), ((None, 1), 1)]:
        with open_source(path, *span) as source:
            assert source.info.duration == pytest.approx(want)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video", "ffv1", "libvpx-vp9"])
def test_damage_is_skipped_and_told_with_its_time(tmp_path, codec):
    whole = make_clip(tmp_path / "whole.mkv", codec=codec, frames=60, size=(160, 96), options={"g": "20"})
    hurt = rewrite(whole, tmp_path / "hurt.mkv", lambda n, p: garbled(p) if n in (30, 31) else p)
    items, source = items_of(hurt)
    times = {item.pts for item in items}
    assert 45 <= len(items) < 60
    lost = [damage for damage in source.damage if damage.what == "picture lost"]
    assert {round(d.seconds * 1000) for d in lost} == {40 * n for n in range(60)} - times
    assert abs(lost[0].seconds - Fraction(6, 5)) <= Fraction(1, 10)


def test_concealed_damage_is_kept_and_told(tmp_path):
    whole = make_clip(tmp_path / "whole.mkv", codec="mpeg4", frames=40, size=(160, 96))
    hurt = rewrite(whole, tmp_path / "hurt.mkv", lambda n, p: garbled(p) if n == 20 else p)
    items, source = items_of(hurt)
    assert len(items) >= 39
    assert [(round(float(d.seconds), 2), d.what) for d in source.damage if "kept" in d.what] == [
        (0.8, "damaged picture kept")
    ]


def test_damage_outside_a_span_is_not_its_own(tmp_path):
    whole = make_clip(tmp_path / "whole.mkv", frames=60, size=(160, 96), options={"g": "20"})
    hurt = rewrite(whole, tmp_path / "hurt.mkv", lambda n, p: garbled(p) if n == 30 else p)
    assert items_of(hurt, 1.7)[1].damage == []
    assert len(items_of(hurt, 1.0)[1].damage) == 1


def test_nothing_decodable(tmp_path):
    whole = make_clip(tmp_path / "whole.mkv", frames=20)
    hurt = rewrite(whole, tmp_path / "hurt.mkv", lambda n, p: garbled(p))
    with pytest.raises(MediaError, match="no picture could be decoded"):
        open_source(hurt)


def test_a_file_that_was_cut_off_says_so(tmp_path):
    whole = make_clip(tmp_path / "whole.mkv", frames=100, size=(160, 96), options={"g": "10"})
    cut = tmp_path / "cut.mkv"
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    items, source = items_of(cut)
    assert 30 < len(items) < 70
    assert "cut off" in source.damage[-1].what
    assert abs(source.damage[-1].seconds - items[-1].pts * items[-1].time_base) < 0.2


def test_frames_without_any_time_follow_each_other(tmp_path):
    path = make_clip(tmp_path / "bare.h264", frames=30, muxer="h264", options={"preset": "medium", "bf": "3"})
    items, source = items_of(path)
    times = [i.pts * i.time_base for i in items]
    assert [b - a for a, b in pairwise(times)] == [Fraction(1, 25)] * 29
    assert source.notes == ["30 frames had no usable timestamp and follow the frame before them"]


def test_size_change_midway_is_scaled_and_told(tmp_path):
    parts = [
        make_clip(tmp_path / f"{width}.h264", size=(width, 48), frames=10, muxer="h264").read_bytes()
        for width in (64, 96)
    ]
    path = tmp_path / "both.h264"
    path.write_bytes(b"".join(parts))
    frames, source = items_of(path)
    assert len(frames) == 20
    assert {(f.width, f.height, f.format.name) for f in frames} == {(64, 48, "yuv420p")}
    (note,) = (note for note in source.notes if "changes" in note)
    assert re.fullmatch(r"the picture changes to 96x48 yuv420p at 0\.\d+ s and is scaled to the first size", note)
    assert (frames[-1].planes[0][0] == 16).all()  # 2:1 in 4:3: bars above and below
    assert frames[-1].planes[0][24].max() > 100


def test_time_running_backwards_is_refused(tmp_path):
    one, two = (make_clip(tmp_path / f"{n}.flv", frames=n) for n in (100, 10))
    path = tmp_path / "both.flv"
    path.write_bytes(one.read_bytes() + two.read_bytes()[13:])  # without its header
    with pytest.raises(MediaError, match="time runs backwards in the video"):
        items_of(path)


def test_colour_tags_of_a_frame_win_over_the_header(tmp_path):
    parts = [
        make_clip(tmp_path / f"{n}.h264", frames=5, tags={"colorspace": n, "color_range": 1}, muxer="h264").read_bytes()
        for n in (1, 6)
    ]
    path = tmp_path / "both.h264"
    path.write_bytes(b"".join(parts))
    items, _ = items_of(path)
    assert [item.color.matrix for item in items] == ["bt709"] * 5 + ["bt601"] * 5


def test_interlaced_frames_are_counted(tmp_path):
    path = make_clip(tmp_path / "tff.mkv", options={"x264-params": "tff=1"}, frames=6)
    assert items_of(path)[1].interlaced_frames == 6
    assert items_of(make_clip(tmp_path / "progressive.mkv", frames=6))[1].interlaced_frames == 0


def test_leaving_midway_closes_the_file(tmp_path):
    path = make_clip(tmp_path / "clip.mkv", frames=50, audio=["pcm_s16le"])
    with open_source(path) as source:
        items = source.items()
        for _ in range(10):
            next(items)
        items.close()
    with pytest.raises(AssertionError, match="not open"):
        source.container.chapters()


def from_standard_input(data, *span):
    saved, (out, into) = os.dup(0), os.pipe()
    try:
        os.dup2(out, 0)
        os.write(into, data)
        os.close(into)
        return items_of("-", *span)
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(out)


@pytest.mark.parametrize("span", [(None, None), (0.1, None), (0.1, 0.12)])
def test_standard_input_is_read_like_a_file(tmp_path, span):
    path = make_clip(tmp_path / "clip.mkv", codec="ffv1", frames=8)
    assert path.stat().st_size < 65536  # what a pipe holds, so that nobody has to write meanwhile
    (got, _), (want, _) = from_standard_input(path.read_bytes(), *span), items_of(path, *span)
    assert len(got) == len(want) > 0
    for a, b in zip(got, want):
        assert_frames_equal(a, b)


@pytest.mark.parametrize("data", [b"", b"nonsense" * 99])
def test_what_is_no_video_on_standard_input_is_said(data):
    with pytest.raises(MediaError, match="standard input is not a video file that FFmpeg can read"):
        from_standard_input(data)


def test_a_span_behind_the_end(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", frames=25)
    with pytest.raises(UsageError, match="nothing begins at 1 s or later"):
        open_source(path, 1)


@pytest.mark.parametrize("name", ["bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4"])
def test_real_clips_have_as_many_frames_as_ffprobe_counts(clips, name):
    arguments = ("-count_frames", "-select_streams", "v:0", "-show_streams")
    (stream,) = ffprobe(clips / name, *arguments)["streams"]
    items, source = items_of(clips / name)
    assert source.frames == int(stream["nb_read_frames"])
    assert source.damage == []
    del items
