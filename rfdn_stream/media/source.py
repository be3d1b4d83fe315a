"""A video file as a source of frames, and of the packets between them that are copied."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import av
from av.container.input import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import Frame, Matrix, VideoInfo
from rfdn_stream.media.crop import Crop
from rfdn_stream.media.decoder import Decoder
from rfdn_stream.media.deinterlace import Deinterlacer
from rfdn_stream.media.findings import Damage, Findings
from rfdn_stream.media.frames import fraction
from rfdn_stream.media.hardware import Nvdec, RefusedError
from rfdn_stream.media.joins import Joins
from rfdn_stream.media.onesize import Shape
from rfdn_stream.media.probe import (
    RawVideo,
    choose_video,
    clock_start,
    describe,
    display_matrix,
    is_address,
    is_attached_picture,
    is_pipe,
    open_input,
    origin,
)
from rfdn_stream.media.seeking import packets_from
from rfdn_stream.media.tags import ColorTags
from rfdn_stream.media.timeline import Span

if TYPE_CHECKING:
    from av.container.core import Chapter

# How far behind a span's end packets of other streams are still looked for, in seconds.
_PATIENCE = 5
# Bytes that are read on to find the first packets of sounds that come behind the first picture.
_AHEAD = 16 << 20
# A file that ends this much earlier than its header says, in seconds, was cut off.
_SHORTFALL = 1
_TICK = Fraction(1, 1_000_000)  # where a container does not say its time base


@dataclass(frozen=True)
class CopiedPacket:
    """A packet of a stream that is not upscaled, its times already moved to the output's."""

    packet: Packet[Stream]
    index: int


class Source:
    """One video file, decoded. Made by `open_source`, to be used in a ``with`` block.

    The first frame is decoded on opening, so that everything known of the pictures is known before work
    starts. Opened and closed by one thread; `items` may run in another, which must have ended before the
    block is left.

    Attributes:
        info: size, format, colour and timing of the video.
        first: the first frame of the span, for its side data; it is also the first of `items`.
        span: the part of the file that is taken.
        container, video: PyAV's input and its video stream, as templates for the output.
        nvdec, deinterlace: how it is decoded.
        tags: colour tags of the video's header; `matrix`: its display matrix, if any.
        chapters: those in the span, in the output's time.
        covers: cover art, by stream index.
        samples: the first packets of other streams, as far as they have come up, by stream index.
        frames: frames given out so far.
        decoding: where and why there, in words for the user; "" = on the processor, as ever.
    """

    def __init__(
        self,
        path: str | Path,
        start: float | None,
        duration: float | None,
        nvdec: Nvdec | None = None,
        *,
        deinterlace: str = "off",
        crop: Crop | None = None,
        matrix: Matrix | None = None,
        raw: RawVideo | None = None,
    ) -> None:
        self.path = path
        self.deinterlace, self.asked_matrix = deinterlace, matrix
        self._crop, self._raw = crop, raw
        self._deinterlacer = Deinterlacer(deinterlace)
        self.nvdec = nvdec
        self.decoding = "" if nvdec is None else nvdec.description
        self._head: list[Frame | CopiedPacket] = []
        self.container: InputContainer = self.open_container()
        try:
            self._open(start, duration)
        except RefusedError:
            self.close()
            raise
        except av.FFmpegError as error:
            self.close()
            raise MediaError(f"cannot read {path}: {error.strerror}") from error
        except MediaError as error:
            self.close()
            message = str(error)
            raise MediaError(message if str(path) in message else f"{path}: {message}") from None
        except BaseException:
            self.close()
            raise

    def copies(self) -> Iterator[CopiedPacket]:
        """What `items` gives beside the frames; the video is not decoded. Instead of `items`."""
        head, self._head = self._head, []
        yield from (item for item in head if isinstance(item, CopiedPacket))
        self._reader.close()
        video_ended = False
        for packet in self._packets():
            if packet.stream_index != self.video.index:
                if (copied := self._copied(packet)) is not None:
                    yield copied
            else:
                video_ended = video_ended or self.span.is_after(packet.dts or 0, fraction(packet.time_base) or _TICK)
            if video_ended and (not self._pending or self._is_far_behind(packet)):
                return
        if not video_ended:
            self._check_end()

    def open_container(self) -> InputContainer:
        """The file opened once more, as this source has it open."""
        if self.nvdec is None:
            return open_input(self.path, raw=self._raw)
        with self.nvdec.accelerator() as accelerator:
            return open_input(self.path, accelerator)

    def _open(self, start: float | None, duration: float | None) -> None:
        self.video: VideoStream = choose_video(self.container, self.path)
        self.span = Span.of(start, duration, origin(self.container), clock_start(self.container, self.video))
        demuxed = self._packets_from(self.span.begin)
        self._demuxed: Iterator[Packet[Stream]] = demuxed
        self.matrix = display_matrix(self.video)
        self.chapters: list[Chapter] = self.span.chapters(self.container.chapters())
        self.covers: dict[int, bytes] = {}
        self.samples: dict[int, Packet[Stream]] = {}
        self._ahead: deque[Packet[Stream]] = deque()
        self.frames = 0
        self._decoder = Decoder(self.video, self.nvdec, matrix=self.asked_matrix)
        self.tags: ColorTags = self._decoder.header_tags
        self._read_damage: list[Damage] = []
        self._joins = Joins(self.container.format.name)
        self._latest = Fraction(0)
        self._pending = {s.index for s in self.container.streams if s.type == "audio"}  # not yet behind the span
        self._reader = self._read()
        for item in self._reader:
            self._head.append(item)
            if isinstance(item, Frame):
                self.first: Frame = item
                break
            self.samples.setdefault(item.index, item.packet)
        else:
            raise self._nothing_found(start)
        self._find_sounds()
        self.info: VideoInfo = self._described(self.first)

    def _find_sounds(self) -> None:
        """Reads on to a packet of each sound, as what containers do to it is tried beforehand; nothing is decoded."""
        missing = self._pending - self.samples.keys()
        ahead: deque[Packet[Stream]] = deque()
        size = 0
        packets = self._packets()
        while missing and size < _AHEAD and (packet := next(packets, None)) is not None:
            ahead.append(packet)
            size += packet.size
            if packet.stream_index in missing:
                missing.discard(packet.stream_index)
                self.samples[packet.stream_index] = packet
        self._ahead = ahead

    def _described(self, first: Frame) -> VideoInfo:
        info = describe(self.container, self.video, first, first.origin.rotation)
        if self._deinterlacer.frames:
            info = replace(info, interlaced=False)
        return replace(info, duration=self._span_duration(info))

    def _nothing_found(self, start: float | None) -> MediaError | UsageError:
        if start is not None and self._decoder.last_error is None:
            return UsageError(
                f"{self.path}: nothing begins at {start} s or later; the file ends at {float(self._latest):.3f} s"
            )
        why = f" ({self._decoder.last_error})" if self._decoder.last_error else ""
        return MediaError(f"{self.path}: no picture could be decoded{why}; the file is damaged, encrypted or empty")

    def _span_duration(self, info: VideoInfo) -> float | None:
        if self.span.begin is None and self.span.end is None:
            return info.duration
        first = origin(self.container)
        end = None if info.duration is None else first + Fraction(info.duration)
        ends = [time for time in (self.span.end, end) if time is not None]
        return float(min(ends) - (self.span.begin or first)) if ends else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Releases the file. Frames that were given out stay valid."""
        if hasattr(self, "_reader"):
            self._reader.close()
        self.container.close()

    def items(self) -> Iterator[Frame | CopiedPacket]:
        """Frames in order of time, and between them packets of the other streams, in the order of the file.

        To be run through once. Frames keep the source's exact times, moved by the span's shift.

        Raises:
            MediaError: the picture changes its size or format midway, or the file cannot be read on.
        """
        head, self._head = self._head, []
        for item in chain(head, self._reader):
            if isinstance(item, Frame):
                self.frames += 1
            yield item

    @property
    def damage(self) -> list[Damage]:
        """What could not be read as it was meant, so far, in order of time."""
        found = sorted([*self._decoder.damage, *self._read_damage], key=lambda damage: damage.seconds)
        return [damage for damage in found if self.span.holds_time(damage.seconds)]

    @property
    def shape(self) -> Shape | None:
        """Of the first picture, which all others get."""
        return self._decoder.shape

    @property
    def interlaced_frames(self) -> int:
        """Frames so far that were flagged as interlaced."""
        return self._decoder.interlaced

    @property
    def film(self) -> bool:
        """Whether pictures so far ask for a field to be shown twice (soft telecine)."""
        return self._decoder.repeats > 0

    @property
    def deinterlaced(self) -> bool:
        """Whether frames so far were interlaced and no longer are."""
        return self._deinterlacer.frames > 0

    @property
    def findings(self) -> Findings:
        """What was found on the way so far."""
        decoder, deinterlacer = self._decoder, self._deinterlacer
        notes = (*decoder.notes, *self._joins.notes)
        return Findings(
            tuple(self.damage),
            tuple(decoder.changes),
            notes,
            deinterlacer.frames,
            deinterlacer.others,
            decoder.untimed,
            decoder.repeats,
        )

    @property
    def notes(self) -> list[str]:
        """The findings but the damage, in sentences for the user."""
        return self.findings.sentences

    def _read(self) -> Generator[Frame | CopiedPacket]:
        """Everything in the span; the video until its first picture behind it, the rest until it is behind, too."""
        video_ended = False
        for packet in self._packets():
            if packet.stream_index != self.video.index:
                if (copied := self._copied(packet)) is not None:
                    yield copied
            elif not video_ended:
                for frame in self._frames(packet):  # type: ignore[arg-type]
                    video_ended = video_ended or self.span.is_after(frame.pts or 0, frame.time_base)
                    if (shown := self.shown(frame)) is not None:
                        yield shown
            if video_ended and (not self._pending or self._is_far_behind(packet)):
                return
        if not video_ended:
            yield from (shown for frame in self._frames(None) if (shown := self.shown(frame)) is not None)
            self._check_end()

    def _frames(self, packet: Packet[VideoStream] | None) -> Iterator[Frame]:
        """The frames that a packet sets free, deinterlaced; None = the last ones."""
        for frame in self._decoder.decode(packet):
            yield from self._deinterlacer.through(frame)
        if packet is None:
            yield from self._deinterlacer.through(None)

    def shown(self, frame: Frame) -> Frame | None:
        """A decoded frame as it is given out: moved to the output's time, and cropped; None outside the span."""
        frame_in_span = self.span.cut(frame)
        if frame_in_span is None or self._crop is None:
            return frame_in_span
        self._crop.check(frame.width, frame.height, frame.format)
        return self._crop.of(frame_in_span)

    def _packets(self) -> Iterator[Packet[Stream]]:
        """Packets that hold something. What cannot be read ends the file, and is told."""
        while True:
            while self._ahead:
                yield self._ahead.popleft()
            try:
                packet = next(self._demuxed, None)
            except (av.InvalidDataError, av.UnknownError) as error:
                self._read_damage.append(Damage(self._latest, f"the file cannot be read on ({error.strerror})"))
                return
            except av.FFmpegError as error:
                raise MediaError(f"cannot read {self.path} on: {error.strerror}") from error
            if packet is None:
                return
            if packet.size:  # AVI has empty packets for frames to be repeated; a decoder takes one for the end
                self._joins.move(packet)
                self._latest = max(self._latest, self._seconds(packet) + self._duration(packet))
                yield packet

    def _packets_from(self, begin: Fraction | None) -> Iterator[Packet[Stream]]:
        """Packets that suffice for what is shown from `begin` on; of a pipe, which goes one way only, all."""
        if begin is None or is_pipe(self.path):
            return self.container.demux()
        if (found := packets_from(self.container, self.video, begin)) is not None:
            return found
        self.container.close()
        self.container = self.open_container()
        self.video = choose_video(self.container, self.path)
        return self.container.demux()

    def _copied(self, packet: Packet[Stream]) -> CopiedPacket | None:
        stream, time_base = packet.stream, fraction(packet.time_base)
        if is_attached_picture(stream):
            self.covers.setdefault(stream.index, bytes(packet))
            return CopiedPacket(packet, stream.index)
        time = packet.dts if packet.pts is None else packet.pts
        if time is not None and time_base is not None:
            if self.span.is_after(time, time_base):
                self._pending.discard(stream.index)
            if not self.span.holds(time, time_base):
                return None
            if self.span.shift:
                packet.pts = None if packet.pts is None else self.span.moved(packet.pts, time_base)
                packet.dts = None if packet.dts is None else self.span.moved(packet.dts, time_base)
        return CopiedPacket(packet, stream.index)

    def _is_far_behind(self, packet: Packet[Stream]) -> bool:
        return self.span.end is not None and self._seconds(packet) > self.span.end + _PATIENCE

    @staticmethod
    def _seconds(packet: Packet[Stream]) -> Fraction:
        time = packet.dts if packet.pts is None else packet.pts
        return (time or 0) * (fraction(packet.time_base) or Fraction(0))

    @staticmethod
    def _duration(packet: Packet[Stream]) -> Fraction:
        return (packet.duration or 0) * (fraction(packet.time_base) or Fraction(0))

    def _check_end(self) -> None:
        """A file that was cut off often ends without an error: its header tells."""
        promised = Fraction((self.container.start_time or 0) + (self.container.duration or 0), 1_000_000)
        if promised - self._latest > _SHORTFALL:
            if is_address(self.path):
                raise MediaError(
                    f"{self.path} ended after {float(self._latest):.3f} s of {float(promised):.3f} s: "
                    "the connection broke; try again, or download it first"
                )
            what = f"the file ends here; its header says {float(promised):.3f} s (cut off?)"
            self._read_damage.append(Damage(self._latest, what))
