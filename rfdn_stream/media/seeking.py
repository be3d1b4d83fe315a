"""Finding the place in a file from which a part of it can be decoded."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import Any

import av
from av.container.input import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from rfdn_stream.media.frames import fraction

_TRIES = 8


def packets_from(container: InputContainer, video: VideoStream, begin: Fraction) -> Iterator[Packet[Stream]] | None:
    """Packets from a keyframe that is shown at `begin`, in seconds, or earlier.

    Containers seek by decoding time or land between keyframes, so the place is checked, and tried again
    further back.

    Returns:
        None where nothing fits: then the file is to be opened again and read from its beginning.
    """
    base = fraction(video.time_base) or Fraction(1, 1_000_000)
    target, first = int(begin / base), video.start_time or 0
    back, moved = 0, False
    while target - back > first:
        moved = True
        try:
            container.seek(target - back, stream=video)
        except av.FFmpegError:
            break
        head, packets = [], container.demux()
        for packet in packets:
            head.append(packet)
            if packet.stream_index == video.index and packet.is_keyframe and packet.size:
                break
        if head[-1].is_keyframe and head[-1].pts is not None and head[-1].pts <= target:
            return chain(head, packets)
        back = 2 * back + max(1, round(1 / base))
    return None if moved else container.demux()


def packets_at(
    container: InputContainer, video: VideoStream, pts: int, dts: int | None
) -> Iterator[Packet[Stream]] | None:
    """Packets of the video from the keyframe with these times, in ticks, on.

    Returns:
        None where it is not found by seeking: then the file is to be opened again and read from its beginning.
    """
    back, second = 0, max(1, round(1 / (fraction(video.time_base) or Fraction(1, 1_000_000))))
    for _ in range(_TRIES):
        try:
            container.seek((pts if dts is None else dts) - back, stream=video)
        except av.FFmpegError:
            return None
        packets: Iterator[Packet[Any]] = container.demux(video)
        for packet in packets:
            if packet.is_keyframe and packet.pts == pts:
                return chain([packet], packets)
            behind = packet.pts is not None and packet.is_keyframe and packet.pts > pts
            if not packet.size or behind or (dts is not None and packet.dts is not None and packet.dts > dts):
                break
        back = 2 * back + second
    return None
