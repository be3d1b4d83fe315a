"""Finding the place in a file from which a part of it can be decoded."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain

import av
from av.container.input import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from rfdn_stream.media.frames import fraction


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
