"""What a file says beside its samples: tags, chapters, streams; as it should be, as it is, and where the two differ.

The same comparison serves before the work (what a container would lose is announced) and after it (what was not
announced is a failure).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from av.container.input import InputContainer
from av.stream import Disposition, Stream

from rfdn_stream.media.frames import fraction
from rfdn_stream.media.passthrough import WITH_CHAPTERS, CopiedStream, carried_tags, stream_codec, stream_tags
from rfdn_stream.media.probe import is_attached_picture

if TYPE_CHECKING:
    from av.container.core import Chapter as MediaChapter

    from rfdn_stream.media.source import Source

VIDEO = "the video"
"""What the stream that is enlarged is called."""
_MARKS = {
    flag: flag.name or ""
    for flag in Disposition
    if flag not in (Disposition.attached_pic, Disposition.timed_thumbnails, Disposition.still_image)
}
_WITH_ENDS = frozenset({"matroska", "webm", "nut"})  # of chapters; elsewhere one ends where the next begins
_TECHNICAL = frozenset({"handler_name", "stereo_mode"})  # MP4 has its own idea of one, the other is side data
_NO_TIME = "1970-01-01T00:00:00"  # what FFmpeg makes of a date that is none
_TOLERANCE = Fraction(1, 1000)  # seconds, of chapters


@dataclass(frozen=True)
class StreamFacts:
    """One stream: ``video``, ``audio``, ``subtitle``, ``attachment`` or ``data``; `marks` are FFmpeg's dispositions."""

    index: int
    label: str
    kind: str
    codec: str
    tags: dict[str, str]
    marks: frozenset[str]


@dataclass(frozen=True)
class Chapter:
    """Times in seconds; the end is the beginning where the container does not say it."""

    begin: Fraction
    end: Fraction
    title: str


@dataclass(frozen=True)
class Contents:
    """What a file says; its streams are in its order."""

    muxer: str
    tags: dict[str, str] = field(default_factory=dict)
    chapters: tuple[Chapter, ...] = ()
    streams: tuple[StreamFacts, ...] = ()

    @classmethod
    def of_source(cls, source: Source, muxer: str, codec: str, copied: tuple[CopiedStream, ...]) -> Contents:
        """What a file of the container `muxer` is to say that holds what is kept of the source.

        Args:
            codec: of the video, as it is made.
        """
        copies = {copy.index: copy for copy in copied}
        streams = []
        for stream in source.container.streams:
            if stream.index == source.video.index:
                facts = replace(_facts(stream, muxer), label=VIDEO, codec=codec)
                if source.span.begin is not None:
                    facts.tags.pop("timecode", None)
                streams.append(facts)
            elif (copy := copies.get(stream.index)) is not None:
                facts = replace(_facts(stream, muxer), label=copy.description)
                streams.append(replace(facts, codec=copy.codec) if copy.how == "convert" else facts)
        chapters = _chapters(source.chapters, muxer) if muxer in WITH_CHAPTERS else ()
        tags = carried_tags(source.container.metadata)
        if tags.get("creation_time", "").startswith(_NO_TIME):
            del tags["creation_time"]
        return cls(muxer, tags, chapters, tuple(streams))

    @classmethod
    def of_file(cls, container: InputContainer, muxer: str) -> Contents:
        """What an open file of the container `muxer` says."""
        streams = tuple(_facts(stream, muxer) for stream in container.streams)
        return cls(muxer, dict(container.metadata), _chapters(container.chapters(), muxer), streams)


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it should be.

    Args:
        where: the file's or a stream's name for people.
        kind: ``tag``, ``mark``, ``default`` (a mark that came by itself), ``chapters``, ``streams``, ``codec``, or
            ``form`` (the container wraps the packets in another way).
        name: of the tag, the mark or the codec that was found.
        text: for people.
    """

    where: str
    kind: str
    name: str = ""
    text: str = field(default="", compare=False)


def differences(want: Contents, got: Contents) -> Iterator[Difference]:
    """What of `want` is not in `got`; what else `got` has does not matter. Streams are compared by kind, in order."""
    yield from _tag_differences("the file", want.tags, got.tags)
    if not _same_chapters(want.chapters, got.chapters):
        text = f"{len(got.chapters)} chapters instead of {len(want.chapters)}"
        if len(got.chapters) == len(want.chapters):
            text = "its chapters have other times or titles"
        yield Difference("the file", "chapters", text=text)
    there, asked = _by_kind(got.streams), _by_kind(want.streams)
    for kind, wanted in asked.items():
        if len(there[kind]) < len(wanted):
            yield Difference("the file", "streams", kind, f"{len(there[kind])} {kind} streams instead of {len(wanted)}")
    for stream, found in pairs(want, got):
        yield from _stream_differences(stream, found, {"default"} if len(asked[stream.kind]) == 1 else set())


def pairs(want: Contents, got: Contents) -> Iterator[tuple[StreamFacts, StreamFacts]]:
    """The streams of one kind in their order, as far as both have them."""
    there = _by_kind(got.streams)
    for kind, wanted in _by_kind(want.streams).items():
        yield from zip(wanted, there[kind])


def _stream_differences(want: StreamFacts, got: StreamFacts, moot: set[str]) -> Iterator[Difference]:
    """`moot`: marks that say nothing here, as one stream of a kind is always the default."""
    if want.kind not in ("data", "attachment") and _family(got.codec) != _family(want.codec):
        yield Difference(want.label, "codec", got.codec, f"{want.label} is {got.codec} instead of {want.codec}")
    yield from _tag_differences(want.label, want.tags, got.tags)
    if want.kind == "attachment":
        return
    for mark in sorted(want.marks - got.marks - moot):
        yield Difference(want.label, "mark", mark, f"{want.label} is not marked as {mark}")
    if "default" in got.marks - want.marks - moot:
        yield Difference(want.label, "default", text=f"{want.label} is marked as default")


def _tag_differences(where: str, want: dict[str, str], got: dict[str, str]) -> Iterator[Difference]:
    there = {name.lower(): value for name, value in got.items()}  # Matroska writes names in capitals
    for name, value in want.items():
        if (found := there.get(name.lower())) != value and value:
            what = "is missing" if found is None else f"is {found!r} instead of {value!r}"
            yield Difference(where, "tag", name, f"{where}'s tag {name} {what}")


def _same_chapters(want: tuple[Chapter, ...], got: tuple[Chapter, ...]) -> bool:
    return len(got) == len(want) and all(
        one.title == other.title
        and abs(one.begin - other.begin) <= _TOLERANCE
        and abs(one.end - other.end) <= _TOLERANCE
        for one, other in zip(want, got)
    )


def _family(codec: str) -> str:
    """MP4 and MPEG-TS say MPEG audio only; each frame says which layer it is."""
    return "mpeg audio" if codec in ("mp1", "mp2", "mp3") else codec


def _by_kind(streams: tuple[StreamFacts, ...]) -> dict[str, list[StreamFacts]]:
    found: dict[str, list[StreamFacts]] = defaultdict(list)
    for stream in streams:
        found[stream.kind].append(stream)
    return found


def _facts(stream: Stream, muxer: str) -> StreamFacts:
    kind = "attachment" if is_attached_picture(stream) else stream.type
    marks = frozenset(name for flag, name in _MARKS.items() if stream.disposition & flag)
    tags = stream_tags(stream, muxer) if kind != "attachment" else {}
    tags = {name: value for name, value in tags.items() if name.lower() not in _TECHNICAL and value != "und"}
    return StreamFacts(stream.index, f"{kind} #{stream.index}", kind, stream_codec(stream) or "", tags, marks)


def _chapters(chapters: list[MediaChapter], muxer: str) -> tuple[Chapter, ...]:
    made = []
    for chapter in chapters:
        base = fraction(chapter["time_base"]) or Fraction(1)
        end = chapter["end"] if muxer in _WITH_ENDS else chapter["start"]
        made.append(Chapter(chapter["start"] * base, end * base, chapter["metadata"].get("title", "")))
    return tuple(made)
