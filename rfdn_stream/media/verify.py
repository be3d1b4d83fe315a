"""Reading a written file back before it takes its name: does it hold what the source holds?

What should be there is noted while it is written (`SinkReport`): what the source says, and fingerprints of the packets
on their way into the muxer. So the source need not be read again, unless every frame is to be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from av.video.frame import VideoFrame

from rfdn_stream.errors import MediaError
from rfdn_stream.frame import Frame
from rfdn_stream.media.contents import Contents, Difference, StreamFacts, differences, pairs
from rfdn_stream.media.fingerprint import Fingerprint
from rfdn_stream.media.frames import fraction
from rfdn_stream.media.passthrough import MOV_FAMILY, carried_tags, stream_codec
from rfdn_stream.media.probe import choose_video, media_errors, open_input
from rfdn_stream.media.tags import ColorTags

if TYPE_CHECKING:
    from rfdn_stream.media.source import Source

MODES = ("fast", "full", "off")
_IN_STEP = Fraction(1, 20)  # seconds; sound that comes this much earlier or later is seen to
_NAMED = 8  # differences that are named one by one


@dataclass
class SinkReport:
    """What was written, for the user and for `verify`.

    `first_pts`, `last_pts` and `last_duration` are in units of `time_base`, the encoder's. `same_times` counts frames
    that the container gives the same time as the one before. `want` is what the file is to say, `announced` in what it
    was known to differ; None = that could not be known. `copied` is by the source's stream index.
    """

    muxer: str
    codec: str
    size: tuple[int, int]
    tags: ColorTags
    time_base: Fraction
    frames: int = 0
    first_pts: int | None = None
    last_pts: int = 0
    last_duration: int = 0
    same_times: int = 0
    bytes: int = 0
    want: Contents = field(default_factory=lambda: Contents(""))
    announced: frozenset[Difference] | None = frozenset()
    video: Fingerprint = field(default_factory=lambda: Fingerprint(hashed=False))
    copied: dict[int, Fingerprint] = field(default_factory=dict)


@dataclass
class _Found:
    """What a pass over the packets of a file shows; `prints` by the file's stream index."""

    contents: Contents
    video: int
    prints: dict[int, Fingerprint]
    tick: Fraction
    size: tuple[int, int] = (0, 0)
    tags: ColorTags = field(default_factory=ColorTags)
    decodable: bool = False


def verify(path: str | Path, report: SinkReport, again: Source | None = None) -> None:
    """Checks a file against its source, as it was noted when the file was written.

    Checked are the number of frames and the time of each, size and colour tags; of every copied stream its packets'
    bytes, when it begins and how long it lasts; tags, languages, dispositions and chapters. Nothing is decoded but the
    first frame.

    Args:
        again: the source, opened once more: every frame of both is decoded and its time compared, and the copied
            packets are compared with the source's own.

    Raises:
        MediaError: the file differs in what was not announced; it says in what.
    """
    with media_errors(f"the written file {path} cannot be read back"):
        problems = list(_problems(_survey(path, report), report))
        if again is not None and not problems:
            problems = list(_compare(path, again, report))
    if problems:
        more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise MediaError(f"the written file {path} is not what was written: {'; '.join(problems[:_NAMED])}{more}")


def _survey(path: str | Path, report: SinkReport) -> _Found:
    with open_input(path) as container:
        video = choose_video(container, path)
        context = video.codec_context
        prints = {stream.index: Fingerprint(stream_codec(stream) or "") for stream in container.streams}
        prints[video.index] = Fingerprint(hashed=False)
        ticks = {stream.index: fraction(stream.time_base) or Fraction(1) for stream in container.streams}
        contents = Contents.of_file(container, report.muxer)
        contents = replace(contents, tags=carried_tags(contents.tags))
        found = _Found(contents, video.index, prints, ticks[video.index])
        for packet in container.demux():
            index = packet.stream_index
            if index == video.index and not found.decodable:
                found.decodable = bool(context.decode(packet if packet.size else None))
            # Pictures that an edit list cuts off are not shown; sound before the first sample is meant to be.
            if packet.size and not (index == video.index and packet.is_discard):
                prints[index].add(packet, ticks[index])
        found.size = context.width, context.height
        found.tags = ColorTags.of_context(context)
    return found


def _problems(found: _Found, report: SinkReport) -> Iterator[str]:
    yield from _video_problems(found, report)
    if found.size != report.size:
        yield f"pictures of {found.size[0]}x{found.size[1]} instead of {report.size[0]}x{report.size[1]}"
    yield from _tag_problems(found.tags, report.tags)
    want = _expected(report)
    for difference in differences(want, found.contents):
        sure = report.announced is not None or difference.kind not in ("tag", "mark", "default", "codec")
        if sure and difference not in (report.announced or ()):
            yield difference.text
    for stream, there in pairs(want, found.contents):
        if stream.index in report.copied and stream.kind != "attachment":
            yield from _stream_problems(stream, found.prints[there.index], found, report)


def _expected(report: SinkReport) -> Contents:
    """What the file should say; MP4 leaves out tracks in which nothing is."""
    if report.muxer not in MOV_FAMILY:
        return report.want
    kept = (s for s in report.want.streams if s.index not in report.copied or report.copied[s.index].packets)
    return replace(report.want, streams=tuple(kept))


def _video_problems(found: _Found, report: SinkReport) -> Iterator[str]:
    got, want = found.prints[found.video], report.video
    if got.packets != report.frames:
        yield f"{got.packets} frames instead of {report.frames}"
    elif not found.decodable:
        yield "its first frame cannot be decoded"
    elif got.timed == got.packets:  # MPEG-PS does not say all
        if abs(got.lasts - want.lasts) > 2 * found.tick:
            yield f"{float(got.lasts):.4f} s from the first frame to the last instead of {float(want.lasts):.4f} s"
        elif report.muxer != "avi" and got.time_base == want.time_base and got.times != want.times:  # it has none
            yield "frames are not at their times"


def _tag_problems(found: ColorTags, wanted: ColorTags) -> Iterator[str]:
    """Tags that contradict; one that the codec or the container cannot hold is missing, not wrong."""
    got, want = found.or_else(wanted), wanted.or_else(found)
    for name in ("matrix", "range", "siting", "primaries", "transfer"):
        if getattr(got, name) != getattr(want, name):
            yield f"colour tag {name} {getattr(got, name)} instead of {getattr(want, name)}"


def _stream_problems(stream: StreamFacts, got: Fingerprint, found: _Found, report: SinkReport) -> Iterator[str]:
    want = report.copied[stream.index]
    wrapped = report.announced is None or Difference(stream.label, "form") in report.announced
    if want.packets and not got.packets:
        yield f"{stream.label} is empty, {want.packets} packets were written"
    elif got.payload != want.payload and not wrapped:
        yield (
            f"{stream.label} has other data than the source: {got.packets} packets of {got.bytes:,} bytes "
            f"instead of {want.packets} of {want.bytes:,}"
        )
    elif stream.kind == "audio" and report.muxer != "avi" and got.begins is not None and want.begins is not None:
        offset = _after_video(got, found.prints[found.video]) - _after_video(want, report.video)
        if abs(offset) > _IN_STEP:
            yield f"{stream.label} begins {float(offset):+.3f} s out of step"
        if abs(got.lasts - want.lasts) > _IN_STEP:
            yield f"{stream.label} lasts {float(got.lasts):.3f} s instead of {float(want.lasts):.3f} s"


def _after_video(stream: Fingerprint, video: Fingerprint) -> Fraction:
    return (stream.begins or Fraction(0)) - (video.begins or Fraction(0))


def _compare(path: str | Path, source: Source, report: SinkReport) -> Iterator[str]:
    """Every frame and every packet of the source, read once more, with those of the file."""
    prints = {
        index: Fingerprint(stream.codec)
        for index, stream in report.copied.items()
        if stream.codec == stream_codec(source.container.streams[index])  # others were converted
    }
    yield from _frame_problems(path, source, prints, report)
    for stream in report.want.streams:
        if stream.index in prints and stream.kind != "attachment":
            raw, written = prints[stream.index], report.copied[stream.index]
            if raw.payload != written.payload:
                yield f"{stream.label} has other packets than the source when it is read again"


def _frame_problems(
    path: str | Path, source: Source, prints: dict[int, Fingerprint], report: SinkReport
) -> Iterator[str]:
    first: tuple[Fraction, Fraction] | None = None
    with open_input(path) as container:
        video = choose_video(container, path)
        video.codec_context.thread_type = "AUTO"
        frames = _frames(source, prints, report)
        for number, (want, got) in enumerate(zip_longest(frames, container.decode(video))):
            if want is None or got is None:
                yield f"frame {number} {'is one too many' if want is None else 'cannot be decoded or is missing'}"
                return
            times = _time(want), _time(got)
            first = first or times
            if abs((times[0] - first[0]) - (times[1] - first[1])) > 2 * max(report.time_base, _tick(got)):
                yield f"frame {number} is at {float(times[1]):.4f} s, in the source at {float(times[0]):.4f} s"
                return
            if got.is_corrupt:
                yield f"frame {number} is damaged"


def _frames(source: Source, prints: dict[int, Fingerprint], report: SinkReport) -> Iterator[Frame]:
    """The source's frames; its packets on the way into their fingerprints."""
    for item in source.items():
        if isinstance(item, Frame):
            yield item
        elif item.index in prints and not (item.packet.is_discard and report.muxer not in MOV_FAMILY):
            prints[item.index].add(item.packet, Fraction(1))


def _time(frame: Frame | VideoFrame) -> Fraction:
    base = frame.time_base if isinstance(frame, Frame) else _tick(frame)
    return (frame.pts or 0) * base


def _tick(picture: VideoFrame) -> Fraction:
    return fraction(picture.time_base) or Fraction(1)
