"""Reading a written file back before it takes its name: is everything in it that was put in?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from rfdn_stream.errors import MediaError
from rfdn_stream.media.frames import fraction
from rfdn_stream.media.probe import choose_video, is_attached_picture, media_errors, open_input
from rfdn_stream.media.tags import ColorTags


@dataclass
class SinkReport:
    """What was written, for the user and for `verify`.

    `first_pts`, `last_pts` and `last_duration` are in units of `time_base`, the encoder's. By the source's
    stream index, `copied` counts packets and `kinds` says ``audio``, ``subtitle``, ``attachment``, ...
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
    bytes: int = 0
    copied: dict[int, int] = field(default_factory=dict)
    kinds: dict[int, str] = field(default_factory=dict)
    chapters: int = 0


@dataclass
class _Found:
    """What a pass over the packets of a file shows; streams by kind, in the file's order."""

    frames: int = 0
    times: list[Fraction] = field(default_factory=list)
    tick: Fraction = Fraction(0)
    size: tuple[int, int] = (0, 0)
    tags: ColorTags = field(default_factory=ColorTags)
    decodable: bool = False
    packets: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    chapters: int = 0


def verify(path: str | Path, report: SinkReport) -> None:
    """Checks a file against what its sink says was written. Nothing is decoded but the first frame.

    Checked are the number of frames, the time between the first and the last, size, colour tags, and that
    every copied stream and every chapter is there.

    Raises:
        MediaError: the file differs; it says in what.
    """
    with media_errors(f"the written file {path} cannot be read back"):
        problems = list(_differences(_survey(path), report))
    if problems:
        raise MediaError(f"the written file {path} is not what was written: {'; '.join(problems)}")


def _survey(path: str | Path) -> _Found:
    found = _Found()
    with open_input(path) as container:
        video = choose_video(container, path)
        context = video.codec_context
        found.tick = fraction(video.time_base) or Fraction(0)
        found.chapters = len(container.chapters())
        counts: Counter[int] = Counter()
        for packet in container.demux():
            if packet.stream_index == video.index and not found.decodable:
                found.decodable = bool(context.decode(packet if packet.size else None))
            if not packet.size:
                continue
            counts[packet.stream_index] += 1
            if packet.stream_index == video.index and packet.pts is not None:
                found.times.append(packet.pts * found.tick)
        found.frames = counts[video.index]
        found.size = context.width, context.height
        found.tags = ColorTags.of_context(context)
        for stream in container.streams:
            if stream.index != video.index:
                kind = "attachment" if is_attached_picture(stream) else stream.type
                found.packets[kind].append(counts[stream.index])
    return found


def _differences(found: _Found, report: SinkReport) -> Iterator[str]:
    if found.frames != report.frames:
        yield f"{found.frames} frames instead of {report.frames}"
    elif not found.decodable:
        yield "its first frame cannot be decoded"
    elif found.times and report.first_pts is not None:
        length = max(found.times) - min(found.times)
        wanted = (report.last_pts - report.first_pts) * report.time_base
        if abs(length - wanted) > 2 * found.tick:
            yield f"{float(length):.4f} s from the first frame to the last instead of {float(wanted):.4f} s"
    if found.size != report.size:
        yield f"pictures of {found.size[0]}x{found.size[1]} instead of {report.size[0]}x{report.size[1]}"
    yield from _tag_differences(found.tags, report.tags)
    yield from _stream_differences(found, report)
    if found.chapters < report.chapters:
        yield f"{found.chapters} chapters instead of {report.chapters}"


def _tag_differences(found: ColorTags, wanted: ColorTags) -> Iterator[str]:
    """Tags that contradict; one that the codec or the container cannot hold is missing, not wrong."""
    got, want = found.or_else(wanted), wanted.or_else(found)
    for name in ("matrix", "range", "siting", "primaries", "transfer"):
        if getattr(got, name) != getattr(want, name):
            yield f"colour tag {name} {getattr(got, name)} instead of {getattr(want, name)}"


def _stream_differences(found: _Found, report: SinkReport) -> Iterator[str]:
    wanted: dict[str, list[int]] = defaultdict(list)
    for index, kind in report.kinds.items():
        wanted[kind].append(report.copied[index])
    for kind, counts in wanted.items():
        got = found.packets[kind]
        if len(got) < len(counts):
            yield f"{len(got)} {kind} streams instead of {len(counts)}"
        for number, (have, want) in enumerate(zip(got, counts)):
            if want and not have:
                yield f"{kind} stream {number} is empty, {want} packets were written"
