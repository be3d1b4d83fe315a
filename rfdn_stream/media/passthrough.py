"""What of a source is copied into the output as it is, what cannot be, and why: known before work starts.

Whether a container holds a stream is not looked up but tried: with its first packet, in memory.
"""

from __future__ import annotations

import io
from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import av
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.format import ContainerFormat, Flags
from av.packet import Packet
from av.stream import Discard, Disposition, Stream

from rfdn_stream.media.probe import is_attached_picture

if TYPE_CHECKING:
    from av.container.output import OutputContainer

    from rfdn_stream.media.source import Source

MOV_FAMILY = frozenset({"mp4", "mov", "ipod", "3gp"})
LABELS = {"matroska": "Matroska", "webm": "WebM", "mp4": "MP4", "mov": "MOV", "ipod": "M4V", "mpegts": "MPEG-TS",
          "mpeg": "MPEG-PS", "avi": "AVI", "flv": "FLV", "nut": "NUT", "3gp": "3GP"}  # fmt: skip
_ALTERNATIVES = {"matroska": ".mkv", "mp4": ".mp4", "mov": ".mov"}
WITH_CHAPTERS = frozenset({"matroska", "webm", "nut"}) | MOV_FAMILY
_WITH_COVERS = frozenset({"mp4", "ipod"})  # as a stream; Matroska has them as attachments
_WITH_KEYS = frozenset({"mp4", "mov", "ipod"})  # where any name may be a tag's, if asked for
_REVERSED_DOMAIN = "com."
_WITH_ROTATION = frozenset({"matroska", "webm"}) | MOV_FAMILY
# Text subtitles that one container family stores in another form: the filter, and what it makes.
_CONVERSIONS = {("mov_text", "matroska"): ("mov2textsub", "subrip")} | {
    ("subrip", muxer): ("text2movsub", "mov_text") for muxer in MOV_FAMILY
}
# MPEG-TS takes any other stream, too, as private data which nothing then recognises.
TS_CODECS = frozenset(
    {"mpeg1video", "mpeg2video", "mpeg4", "h264", "hevc", "vvc", "aac", "aac_latm", "mp2", "mp3", "ac3", "eac3",
     "dts", "truehd", "opus", "s302m", "dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle"}
)  # fmt: skip
# Written by the muxer itself, or true of the old streams only.
_OWN_TAGS = frozenset(
    {"major_brand", "minor_version", "compatible_brands", "encoder", "software", "duration", "bps", "number_of_frames",
     "number_of_bytes", "_statistics_writing_app", "_statistics_writing_date_utc", "_statistics_tags",
     "vendor_id"}
)  # fmt: skip
# QuickTime's list of languages names some by their other ISO 639-2 code.
_MOV_LANGUAGES = {"deu": "ger", "nld": "dut", "ell": "gre", "isl": "ice", "zho": "chi", "sqi": "alb", "fre": "fra",
                  "rum": "ron", "cze": "ces", "slo": "slk"}  # fmt: skip


@dataclass(frozen=True)
class CopiedStream:
    """A stream of the source that goes into the output.

    Args:
        index: of the source's stream.
        description: for the user, such as ``audio #1 (aac, eng)``.
        how: packets as they are, packets through `filter` into `codec`, or a file attached to the header.
    """

    index: int
    description: str
    how: Literal["copy", "convert", "attach"] = "copy"
    filter: str = ""
    codec: str = ""


@dataclass(frozen=True)
class CopyPlan:
    """What becomes of everything but the video; `dropped` holds pairs of what and why."""

    copied: tuple[CopiedStream, ...]
    dropped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


def plan_copies(source: Source, muxer: str, chosen: Container[int] | None = None) -> CopyPlan:
    """Decides for every other stream, for chapters, tags and rotation, what the container `muxer` can hold.

    Args:
        chosen: indices of the streams that the user wants; None = all.
    """
    copied: list[CopiedStream] = []
    dropped: list[tuple[str, str]] = []
    for stream in source.container.streams:
        if stream.index == source.video.index or (chosen is not None and stream.index not in chosen):
            continue
        if is_written_anew(stream):
            continue
        candidate = _candidate(stream, muxer)
        reason = candidate if isinstance(candidate, str) else _refusal(source, muxer, candidate)
        if reason is None:
            assert isinstance(candidate, CopiedStream)
            copied.append(candidate)
        else:
            dropped.append((describe_stream(stream), reason))
    label = LABELS.get(muxer, muxer)
    if source.chapters and muxer not in WITH_CHAPTERS:
        dropped.append((f"{len(source.chapters)} chapters", f"{label} has none; .mkv and .mp4 have"))
    if source.info.rotation and muxer not in _WITH_ROTATION:
        turn = f"rotation by {source.info.rotation} degrees"
        dropped.append((turn, f"{label} cannot say it, the video will lie on its side; .mp4 and .mkv can"))
    if source.span.begin is not None and "timecode" in source.video.metadata:
        dropped.append(("the video's timecode", "it is that of the file's first frame, not of the part's"))
    notes = [f"{c.description} is converted to {c.codec}" for c in copied if c.how == "convert"]
    notes += [f"{c.description} is copied as it is, not upscaled" for c in copied if _is_other_video(source, c)]
    return CopyPlan(tuple(copied), tuple(dropped), tuple(notes))


def _is_other_video(source: Source, copied: CopiedStream) -> bool:
    stream = source.container.streams[copied.index]
    return stream.type == "video" and not is_attached_picture(stream)


def describe_stream(stream: Stream) -> str:
    """A stream's name for people, such as ``audio #1 (aac, eng)``."""
    kind = "cover art" if is_attached_picture(stream) else stream.type
    codec = stream_codec(stream) or stream.metadata.get("filename") or stream.metadata.get("handler_name")
    details = [text for text in (codec, stream.language, stream.metadata.get("title")) if text and text != "und"]
    return f"{kind} #{stream.index}" + (f" ({', '.join(details)})" if details else "")


def stream_codec(stream: Stream) -> str | None:
    """FFmpeg's name of what a stream holds; None = it has none for it."""
    if stream.codec_context is not None:
        return stream.codec_context.codec.canonical_name
    return stream.name if stream.type == "data" else None


def is_written_anew(stream: Stream) -> bool:
    """Whether it only repeats the chapters, or the video's timecode tag."""
    if stream.type == "data":
        return stream.discard == Discard.all or "timecode" in stream.metadata
    return bool(stream.disposition & Disposition.timed_thumbnails)


def _candidate(stream: Stream, muxer: str) -> CopiedStream | str:
    """How the stream would be copied, or why it is not even tried."""
    description, codec = describe_stream(stream), stream_codec(stream)
    label = LABELS.get(muxer, muxer)
    if is_attached_picture(stream):
        if muxer == "matroska":
            return CopiedStream(stream.index, description, "attach")
        return CopiedStream(stream.index, description) if muxer in _WITH_COVERS else f"{label} has no cover art"
    if stream.type == "attachment":
        if muxer == "matroska":
            return CopiedStream(stream.index, description)
        return f"{label} has no attachments; .mkv has"
    if muxer == "mpegts" and stream.type != "data" and codec not in TS_CODECS:
        return f"{label} cannot hold {codec}; .mkv can"
    if (conversion := _CONVERSIONS.get((codec or "", muxer))) is not None:
        return CopiedStream(stream.index, description, "convert", *conversion)
    return CopiedStream(stream.index, description)


def _refusal(source: Source, muxer: str, candidate: CopiedStream) -> str | None:
    """Why the container cannot hold the candidate; None = it can."""
    stream = source.container.streams[candidate.index]
    if candidate.how == "attach":
        return None if candidate.index in source.covers else "it does not come before the first frame"
    if stream.type == "attachment" or _works(source, muxer, candidate):
        return None
    what = stream_codec(stream) or f"this kind of {stream.type} stream"
    holding = [
        extension
        for other, extension in _ALTERNATIVES.items()
        if other != muxer
        and isinstance(again := _candidate(stream, other), CopiedStream)
        and _works(source, other, again)
    ]
    hint = f"; {' and '.join(holding)} can" if holding else ""
    return f"{LABELS.get(muxer, muxer)} cannot hold {what}{hint}"


def _works(source: Source, muxer: str, copied: CopiedStream) -> bool:
    """Whether a file of this stream alone, with its first packet if that has come up, can be written."""
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as output:
            stream = add_copy(output, source, copied)
            output.start_encoding()
            for packet in sample(source, copied):
                packet.stream = stream
                output.mux(packet)
    except (av.FFmpegError, ValueError, NotImplementedError):
        return False
    return True


def sample(source: Source, copied: CopiedStream) -> list[Packet[Stream]]:
    """The stream's first packet, at time 0, as it will be written; [] = it has not come up yet."""
    packet = source.samples.get(copied.index)
    if packet is None:
        return []
    sample = av.Packet(bytes(packet))  # muxing would take the packet itself away
    sample.pts = sample.dts = 0
    sample.duration, sample.time_base, sample.is_keyframe = packet.duration, packet.time_base, True
    filter = open_filter(copied, source)
    return [made for made in filter.filter(sample) if made.size] if filter else [sample]


def add_copy(output: OutputContainer, source: Source, copied: CopiedStream) -> Stream:
    """Adds the output's stream for a copied one, with its language, title and disposition."""
    stream = source.container.streams[copied.index]
    if copied.how == "attach":
        extension = {"mjpeg": "jpg"}.get(stream_codec(stream) or "", stream_codec(stream) or "bin")
        mimetype = f"image/{'jpeg' if extension == 'jpg' else extension}"
        name = stream.metadata.get("filename", f"cover.{extension}")
        return output.add_attachment(name, mimetype, source.covers.get(copied.index, b""))
    if copied.how == "convert":
        added = output.add_mux_stream(copied.codec)
    else:
        added = _add_template(output, stream)
    added.disposition = stream.disposition
    if isinstance(added, AudioStream) and added.codec_context is not None and added.layout.name == "2 channels":
        added.layout = "stereo"  # Matroska only counts channels, MP4 wants them named
    if stream.type != "attachment":
        added.metadata.update(stream_tags(stream, output.format.name))
    return added


def _add_template(output: OutputContainer, stream: Stream) -> Stream:
    try:
        return output.add_stream_from_template(stream, opaque=True)
    except ValueError:
        if output.format.name != "matroska" or stream.type != "audio":
            raise
    # FFmpeg's list of what Matroska holds lacks the formats of WAV (WMA), which its muxer takes: the
    # parameters go in by way of a filter that does nothing.
    added = output.add_mux_stream("pcm_s16le")
    BitStreamFilterContext("null", in_stream=stream, out_stream=added)
    return added


def open_filter(copied: CopiedStream, source: Source) -> BitStreamFilterContext | None:
    """The bitstream filter that converts the stream's packets, if it has one."""
    if copied.how != "convert":
        return None
    return BitStreamFilterContext(copied.filter, in_stream=source.container.streams[copied.index])


def has_flag(muxer: str, flag: Flags) -> bool:
    """Whether FFmpeg says so of a container."""
    return bool(ContainerFormat(muxer, "w").flags & cast(int, flag.value))


def carried_tags(metadata: dict[str, str]) -> dict[str, str]:
    """Tags without those that the muxer writes itself (also in mkvmerge's form ``BPS-eng``)."""
    tags = {key: value for key, value in metadata.items() if key.lower().partition("-")[0] not in _OWN_TAGS}
    if "creation_time" in tags:  # which MP4 says twice under `tag_options`, and FFmpeg reads as TIME;TIME
        tags["creation_time"] = tags["creation_time"].partition(";")[0]
    return tags


def tag_options(source: Source, muxer: str) -> dict[str, str]:
    """Options of a muxer that has to be told to keep tags such as phones write: ``com.apple.quicktime.make``.

    Not beside cover art, which it leaves out then.
    """
    named = any(key.startswith(_REVERSED_DOMAIN) for key in source.container.metadata)
    covered = muxer in _WITH_COVERS and any(map(_is_cover, source.container.streams))
    return {"movflags": "use_metadata_tags"} if named and not covered and muxer in _WITH_KEYS else {}


def _is_cover(stream: Stream) -> bool:
    return is_attached_picture(stream) or stream.type == "attachment"


def stream_tags(stream: Stream, muxer: str) -> dict[str, str]:
    """A stream's tags, in the words of the output's container."""
    tags = carried_tags(stream.metadata)
    tags.pop("alpha_mode", None)  # of WebM, whose second pictures are not written
    if "name" in tags:  # where MP4 and MOV keep a track's title
        tags.setdefault("title", tags.pop("name"))
    if muxer not in MOV_FAMILY:
        tags.pop("handler_name", None)
    if muxer == "mov" and "language" in tags:
        tags["language"] = _MOV_LANGUAGES.get(tags["language"], tags["language"])
    return tags
