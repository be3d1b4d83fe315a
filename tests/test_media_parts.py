"""Parts of a video, decoded and encoded each on its own: together they are what one go gives."""

import dataclasses
import re
import shutil
from fractions import Fraction
from itertools import count

import av
import pytest

from awkward import ffmpeg, run
from media_samples import enlarged, make_clip
from rfdn_stream.config import EncodeOptions
from rfdn_stream.frame import Frame
from rfdn_stream.media.cuts import find_cuts
from rfdn_stream.media.findings import Damage, Findings
from rfdn_stream.media.output import plan_output
from rfdn_stream.media.packets import PacketWriter, joined
from rfdn_stream.media.part import Part
from rfdn_stream.media.part_sink import PartSink
from rfdn_stream.media.reader import open_source
from rfdn_stream.media.writer import VideoFileSink

MS = Fraction(1, 1000)
X264 = {"preset": "medium"}
OPEN = "open-gop=1:keyint=4:min-keyint=4:scenecut=0:bframes=3:b-adapt=0"


def whole_then_cut(folder):
    """The second half of an MP4, whose edit list hides what stands before it from its keyframe on."""
    whole = make_clip(folder / "whole.mp4", frames=40, options={**X264, "bf": "2", "g": "8"})
    return run(folder, "in.mp4", "-ss", "0.5", "-i", whole, "-c", "copy")


def mixed(folder):
    """Film, then interlaced video, then film again."""
    film, video = (
        ffmpeg(folder, f"{name}.mkv", *filters, "-c:v", "mpeg2video", "-g", "4", "-q:v", "3", frames=10)
        for name, filters in (("film", ()), ("video", ("-vf", "tinterlace=interleave_top", "-flags", "+ildct+ilme")))
    )
    with av.open(str(film)) as header, av.open(str(folder / "in.mkv"), "w") as output:
        stream, ticks = output.add_stream_from_template(header.streams.video[0]), count()
        for path in (film, video, film):
            with av.open(str(path)) as part:
                for packet in part.demux(video=0):
                    if packet.size:
                        packet.pts = packet.dts = 40 * next(ticks)
                        packet.time_base, packet.stream = MS, stream
                        output.mux(packet)
    return folder / "in.mkv"


def sizes(folder):
    """A picture that changes its size twice, and back."""
    shapes = ((64, 48), (96, 72), (64, 48), (96, 72))
    parts = [make_clip(folder / f"{n}.ts", size=size, frames=6) for n, size in enumerate(shapes)]
    return run(folder, "in.ts", "-i", "concat:" + "|".join(map(str, parts)), "-c", "copy")


SOURCES = {
    "h264 open": lambda d: make_clip(d / "in.mkv", frames=24, options={**X264, "x264-params": OPEN}),
    "h264 mp4": lambda d: make_clip(d / "in.mp4", frames=24, options={**X264, "g": "6", "bf": "2"}, audio=["aac"]),
    "hevc open": lambda d: make_clip(
        d / "in.mp4", codec="libx265", frames=24, options={"x265-params": f"log-level=none:{OPEN}"}
    ),
    "hevc ts": lambda d: make_clip(
        d / "in.ts", codec="libx265", frames=24, options={"x265-params": f"log-level=none:{OPEN}"}
    ),
    "mpeg2": lambda d: ffmpeg(d, "in.mpg", "-c:v", "mpeg2video", "-g", "6", "-bf", "2", frames=24),
    "mpeg2 ts": lambda d: ffmpeg(d, "in.ts", "-c:v", "mpeg2video", "-g", "6", "-bf", "2", frames=24),
    "vp9": lambda d: make_clip(d / "in.webm", codec="libvpx-vp9", frames=24, options={"g": "6", "cpu-used": "8"}),
    "av1": lambda d: make_clip(d / "in.mkv", codec="libsvtav1", frames=24, options={"g": "6", "preset": "12"}),
    "vfr": lambda d: make_clip(
        d / "in.mkv", pts=[n * n for n in range(1, 25)], time_base=MS, options={**X264, "g": "5", "bf": "2"}
    ),
    "edit list": whole_then_cut,
    "ts": lambda d: make_clip(d / "in.ts", frames=24, options={**X264, "g": "6", "bf": "2"}, audio=["mp2"]),
    "flv": lambda d: make_clip(d / "in.flv", frames=24, options={**X264, "g": "6", "bf": "2"}),
    "fragments": lambda d: make_clip(
        d / "in.mp4", frames=24, options={**X264, "g": "6"}, muxer_options={"movflags": "frag_keyframe+empty_moov"}
    ),
    "intra refresh": lambda d: make_clip(
        d / "in.mkv", frames=36, options={**X264, "x264-params": "intra-refresh=1:keyint=8:bframes=0:ref=1"}
    ),
    "interlaced": lambda d: ffmpeg(
        d, "in.mkv", "-vf", "tinterlace=interleave_top", "-flags", "+ildct+ilme", "-x264-params",
        "tff=1:keyint=4:min-keyint=4:scenecut=0", frames=12,
    ),
    "mixed": mixed,
    "sizes": sizes,
}  # fmt: skip


@pytest.fixture(scope="module")
def source_of(tmp_path_factory):
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    return lambda name: SOURCES[name](tmp_path_factory.mktemp(name.replace(" ", "-")))


def said(frame):
    """All of a frame that its result depends on."""
    return frame.pts, frame.duration, frame.time_base, [plane.tobytes() for plane in frame.planes]


def parts_of(source, seconds=0.01):
    """Parts of an open source, in order."""
    cuts = find_cuts(source, seconds)
    assert cuts.reason == ""
    begins = [(None, None), *(((key.pts, key.dts), (before.pts, before.dts)) for key, before in cuts.at)]
    ends = [*(key.pts for key, _ in cuts.at), None]
    return [Part(source, begin, before, end) for (begin, before), end in zip(begins, ends, strict=True)]


def in_one_go(path, *span, deinterlace="auto"):
    with open_source(path, *span, deinterlace=deinterlace) as source:
        return [said(item) for item in source.items() if isinstance(item, Frame)], source.findings


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("span", [(), (0.2, 0.6)], ids=["all", "span"])
def test_parts_together_are_the_whole(source_of, name, span):
    path = source_of(name)
    for way in ("auto", "bob") if name in ("interlaced", "mixed") else ("auto",):
        frames, findings = in_one_go(path, *span, deinterlace=way)
        with open_source(path, *span, deinterlace=way) as source:
            parts = parts_of(source)
            assert len(parts) > 2
            for part in reversed(parts):  # in any order
                made = [said(frame) for frame in part.items()]
                assert made == frames[len(frames) - len(made) :]
                del frames[len(frames) - len(made) :]
            assert frames == []
            together = sum((part.findings for part in parts), Findings())
        if span:  # in one go, frames before the span are counted, too
            together, findings = (dataclasses.replace(f, deinterlaced=0, progressive=0) for f in (together, findings))
        assert dataclasses.replace(together, damage=()) == dataclasses.replace(findings, damage=())
        assert not together.damage


def test_long_parts_end_at_keyframes(tmp_path):
    path = make_clip(tmp_path / "in.mkv", frames=60, options={**X264, "g": "7", "bf": "2", "sc_threshold": "0"})
    with open_source(path) as source:
        assert [key.pts for key, _ in find_cuts(source, 0.5).at] == [560, 1120, 1680, 2240]
        assert find_cuts(source, 10).at == ()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda d: ffmpeg(d, "in.avi", "-c:v", "mpeg4", "-bf", "2", "-g", "4", frames=24), "AVI keeps no"),
        (lambda d: _twice(d), "not every picture has a time of its own|its times run backwards"),
    ],
    ids=["avi", "joined"],
)
def test_what_is_not_cut(source_of, tmp_path, make, reason):
    with open_source(make(tmp_path)) as source:
        cuts = find_cuts(source, 0.01)
    assert cuts.at == ()
    assert re.search(reason, cuts.reason)


def _twice(folder):
    part = make_clip(folder / "part.ts", frames=12, options={"g": "4"})
    (folder / "in.ts").write_bytes(2 * part.read_bytes())
    return folder / "in.ts"


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1", "ffv1"])
def test_parts_are_encoded_as_files_are(tmp_path, codec):
    """One part, joined into a sink, against the frames written into another: the same file."""
    path = make_clip(tmp_path / "in.mkv", frames=24, audio=["aac"], options={**X264, "bf": "2"})
    for name in ("straight.mkv", "joined.mkv"):
        with open_source(path) as source:
            plan = plan_output(source, tmp_path / name, EncodeOptions(codec=codec))
            plan = dataclasses.replace(plan, encoding=plan.encoding.for_processors(2))
            size = source.info.width * 2, source.info.height * 2
            with VideoFileSink(tmp_path / name, source, plan, size) as sink:
                if name == "straight.mkv":
                    for item in source.items():
                        if isinstance(item, Frame):
                            sink.write(enlarged(item, plan.encoding.format, plan.encoding.color))
                        else:
                            sink.copy(item)
                else:
                    (part,) = parts_of(source)
                    with PartSink(tmp_path / "part", source, plan, size) as part_sink:
                        for frame in part.items():
                            part_sink.write(enlarged(frame, plan.encoding.format, plan.encoding.color))
                        list(part_sink.drain())
                        assert part_sink.finish() == sink.header
                    for packet in joined([tmp_path / "part"], part_sink.packets.delay, 40):
                        sink.join(packet)
                    for copied in source.copies():
                        sink.copy(copied)
                report = sink.finish()
        assert (report.frames, report.first_pts, report.last_pts, report.last_duration) == (24, 0, 920, 40)
    straight, together = (_contents(tmp_path / name) for name in ("straight.mkv", "joined.mkv"))
    assert straight == together


def _contents(path):
    with av.open(str(path)) as container:
        found = {stream.index: [] for stream in container.streams}
        for packet in container.demux():
            found[packet.stream_index].append((packet.pts, packet.duration, packet.is_keyframe, bytes(packet)))
        return found, [bytes(stream.codec_context.extradata or b"") for stream in container.streams]


def test_decoding_times_of_joined_parts(tmp_path):
    """In order, never behind the time of showing, whatever the parts' own were."""
    parts, delays = [[-2, 4, 0, 2], [10, 40, 20, 30], [50]], []
    for number, times in enumerate(parts):
        with PacketWriter(tmp_path / str(number)) as writer:
            for pts in times:
                packet = av.Packet(b"x" * number)
                packet.pts, packet.duration, packet.is_keyframe = pts, 2, pts == times[0]
                writer.add(packet)
            writer.finish()
            delays.append(writer.delay)
    assert delays == [1, 1, 0]
    made = list(joined([tmp_path / str(number) for number in range(3)], 1, 2))
    assert [p.pts for p in made] == [pts for times in parts for pts in times]
    assert [p.dts for p in made] == [-4, -2, 0, 2, 4, 10, 20, 30, 40]
    assert [p.is_keyframe for p in made] == [True, False, False, False, True, False, False, False, True]
    assert all(p.dts <= p.pts and p.duration == 2 for p in made)


def test_findings_of_parts_add_up_to_those_of_the_whole():
    one = Findings((Damage(Fraction(1, 3), "lost"),), ((Fraction(1), "big"),), ("a note",), 3, 4, 1)
    other = Findings((), ((Fraction(2), "big"), (Fraction(3), "small")), ("a note", "another"), 5, 6, 0)
    both = one + other
    assert both.changes == ((Fraction(1), "big"), (Fraction(3), "small"))
    assert both.notes == ("a note", "another")
    assert (both.deinterlaced, both.progressive, both.untimed) == (8, 10, 1)
    assert Findings.from_json(both.as_json()) == both
    assert one + Findings() == one == Findings() + one
