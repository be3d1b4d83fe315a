"""What a container loses of a file's tags and marks: not looked up but tried, with a small file in memory."""

from __future__ import annotations

import io
from collections import defaultdict
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.packet import Packet
from av.stream import Stream

from rfdn_stream.media.contents import VIDEO, Contents, Difference, differences, pairs
from rfdn_stream.media.fingerprint import Fingerprint
from rfdn_stream.media.passthrough import (
    LABELS,
    MOV_FAMILY,
    WITH_CHAPTERS,
    CopiedStream,
    add_copy,
    carried_tags,
    sample,
    stream_codec,
    stream_tags,
    tag_options,
)

if TYPE_CHECKING:
    from rfdn_stream.media.source import Source

# A video that every muxer of a family takes without its parameters.
_STAND_INS = {"webm": "vp8", "flv": "flv1"}
_ANY_STAND_IN = "mpeg4"


def rehearse(source: Source, muxer: str, copied: tuple[CopiedStream, ...]) -> frozenset[Difference] | None:
    """How a file of the container would differ from the source in what it says; None = it cannot be tried.

    The file holds the streams that are to be copied with their first packets, and a stand-in for the video.
    """
    file = io.BytesIO()
    try:
        put_in = _write(file, source, muxer, copied)
        format = "mov" if muxer in MOV_FAMILY else muxer
        with av.open(io.BytesIO(file.getvalue()), "r", format=format) as container:
            got = Contents.of_file(container, muxer)
            got = replace(got, tags=carried_tags(got.tags))
            taken_out = {stream.index: Fingerprint(stream_codec(stream) or "") for stream in container.streams}
            for packet in container.demux():
                taken_out[packet.stream_index].add(packet, Fraction(1))
    except (av.FFmpegError, ValueError, NotImplementedError):
        return None
    want = Contents.of_source(source, muxer, "", copied)  # the video's codec is a stand-in's
    found = list(differences(want, got))
    if any(change.kind == "streams" for change in found):
        return None
    changes = {
        change
        for change in found
        if change.kind in ("tag", "mark", "default") or (change.kind == "codec" and change.where != VIDEO)
    }
    for stream, made in pairs(want, got):
        if stream.index in put_in and put_in[stream.index].payload != taken_out[made.index].payload:
            changes.add(Difference(stream.label, "form"))
    return frozenset(change for change in changes if change.name != "timecode")


def _write(file: io.BytesIO, source: Source, muxer: str, copied: tuple[CopiedStream, ...]) -> dict[int, Fingerprint]:
    """Writes the small file; returns what was put in of each copied stream, by the source's index."""
    copies = {copy.index: copy for copy in copied}
    packets: list[tuple[Stream, list[Packet[Stream]]]] = []
    put_in: dict[int, Fingerprint] = {}
    options = tag_options(source, muxer)
    with av.open(file, "w", format=muxer, container_options=options) as output:
        output.metadata.update(carried_tags(source.container.metadata))
        for stream in source.container.streams:
            if stream.index == source.video.index:
                made: Stream = output.add_mux_stream(_STAND_INS.get(muxer, _ANY_STAND_IN), width=64, height=64)
                made.disposition = stream.disposition
                made.metadata.update(stream_tags(stream, muxer))
                made.metadata.pop("timecode", None)  # becomes a track, which needs a real rate
                packets.append((made, [_dummy(stream)]))
            elif (copy := copies.get(stream.index)) is not None:
                made = add_copy(output, source, copy)
                if made.type != "attachment":
                    first = sample(source, copy) or [_dummy(stream)]
                    put_in[stream.index] = Fingerprint(copy.codec or stream_codec(stream) or "")
                    for packet in first:
                        put_in[stream.index].add(packet, Fraction(1))
                    packets.append((made, first))
        if muxer in WITH_CHAPTERS:
            output.set_chapters(source.chapters)
        output.start_encoding()
        for made, samples in packets:
            for packet in samples:
                packet.stream = made
                output.mux(packet)
    return put_in


def _dummy(stream: Stream) -> Packet[Stream]:
    """A packet that says nothing: MP4 leaves out tracks without any."""
    packet = av.Packet(bytes(16))
    packet.pts = packet.dts = 0
    packet.duration, packet.time_base, packet.is_keyframe = 1, stream.time_base, True
    return packet


def announced(changes: frozenset[Difference], muxer: str) -> tuple[list[tuple[str, str]], list[str]]:
    """What is to be said of them before the work: pairs of what is lost and why, and notes."""
    label = LABELS.get(muxer, muxer)
    names: dict[tuple[str, str], list[str]] = defaultdict(list)
    for change in sorted(changes, key=lambda change: (change.where, change.kind, change.name)):
        names[change.where, change.kind].append(change.name)
    hint = "" if muxer == "matroska" else "; .mkv has"
    dropped, notes = [], []
    for (where, kind), listed in names.items():
        if kind == "default":
            notes.append(f"{label} marks {where} as default")
            continue
        if kind == "codec":
            notes.append(f"{label} has no name of its own for {where}: it is written as {', '.join(listed)}")
            continue
        if kind == "form":
            notes.append(f"{label} wraps the packets of {where} in its own way")
            continue
        what = "tags" if kind == "tag" else "mark"
        dropped.append((f"{where}'s {what} {', '.join(listed)}", f"{label} has no place for them{hint}"))
    return dropped, notes
