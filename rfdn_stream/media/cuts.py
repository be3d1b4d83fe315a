"""Where a video can be cut: at its own keyframes, as its packets show them; nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.packet import Packet
from av.video.stream import VideoStream

from rfdn_stream.media.frames import fraction
from rfdn_stream.media.probe import choose_video, open_input
from rfdn_stream.media.source import Source

# Seconds that decoding times may run backwards by rounding; more is another recording.
_STEP_BACK = Fraction(1, 10)


@dataclass(frozen=True)
class Keyframe:
    """Presentation and decoding time of a keyframe's packet, in ticks."""

    pts: int
    dts: int | None


@dataclass(frozen=True)
class Cuts:
    """Where parts begin.

    Args:
        at: the keyframes with which parts begin, each with the one before it; the first part begins before them all.
        reason: why there is no cut, for the user; "" = the video is too short, or cut.
    """

    at: tuple[tuple[Keyframe, Keyframe], ...] = ()
    reason: str = ""


class _CannotCutError(Exception):
    """What is in the video makes its parts depend on each other."""


def find_cuts(source: Source, seconds: float) -> Cuts:
    """Cuts the span of an open source into parts of at least so many seconds, which end at keyframes.

    Not cut is what cannot be read from its middle or whose pictures would not be the same then.
    """
    if source.info.duration is not None and source.info.duration < 2 * seconds:
        return Cuts()
    if not Path(source.path).is_file():
        return Cuts(reason="the source can be read only once")
    base, span = fraction(source.video.time_base) or Fraction(1, 1_000_000), source.span
    latest = (source.first.pts or 0) * source.first.time_base + span.shift
    at: list[tuple[Keyframe, Keyframe]] = []
    before = None
    try:
        for key in _keyframes(source.path):
            if before and key.pts * base - latest >= Fraction(str(seconds)) and span.holds(key.pts, base):
                at.append((key, before))
                latest = key.pts * base
            before = key
    except _CannotCutError as reason:
        return Cuts(reason=str(reason))
    return Cuts(tuple(at))


def _keyframes(path: str | Path) -> Iterator[Keyframe]:
    """The video's keyframes, in the file's order.

    Raises:
        _CannotCutError: the file is not to be cut, and why.
    """
    with open_input(path) as container:
        video = choose_video(container, path)
        base = fraction(video.time_base) or Fraction(1, 1_000_000)
        if container.format.name == "avi" and video.codec_context.has_b_frames:
            raise _CannotCutError("AVI keeps no presentation times")
        seen: set[int] = (
            set()
        )  # since the last keyframe; what stands before one mixes with that behind it only a little
        last_key = last_dts = None
        for packet in _readable(container.demux(video)):
            if packet.pts is None or packet.pts in seen:
                raise _CannotCutError("not every picture has a time of its own")
            if packet.dts is not None:
                if last_dts is not None and (last_dts - packet.dts) * base > _STEP_BACK:
                    raise _CannotCutError("its times run backwards")
                last_dts = packet.dts
            key = packet.is_keyframe and not packet.is_discard
            if key:
                if last_key is not None and packet.pts <= last_key:
                    raise _CannotCutError("its times run backwards")
                last_key = packet.pts
                seen.clear()
            seen.add(packet.pts)
            if key:
                yield Keyframe(packet.pts, packet.dts)


def _readable(packets: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
    """Packets that hold something, up to where the file cannot be read on."""
    while True:
        try:
            packet = next(packets, None)
        except (av.InvalidDataError, av.UnknownError):
            return
        if packet is None:
            return
        if packet.size:
            yield packet
