"""A video file as a sink: frames are encoded, packets of other streams copied, times kept."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import av
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from rfdn_stream.frame import CardPlane, Frame
from rfdn_stream.media import shell
from rfdn_stream.media.contents import Contents
from rfdn_stream.media.copies import Copies
from rfdn_stream.media.frames import fraction
from rfdn_stream.media.matroska import set_display_size
from rfdn_stream.media.output import OutputPlan
from rfdn_stream.media.passthrough import WITH_CHAPTERS, carried_tags, tag_options
from rfdn_stream.media.probe import ffmpeg_name
from rfdn_stream.media.source import CopiedPacket, Source
from rfdn_stream.media.target import write_error
from rfdn_stream.media.verify import SinkReport
from rfdn_stream.media.video_encoder import VideoEncoder

if TYPE_CHECKING:
    from av.container.output import OutputContainer


_REORDERED = 64  # packets among which one of the same time is looked for; more than any encoder moves about


class VideoFileSink:
    """Writes one video file. To be used in a ``with`` block, by one thread.

    Entering opens the encoder and writes the header. `finish` completes the file; leaving the block
    without it deletes what was written.

    Args:
        path: where to write, under any name: the container is the plan's.
        source: what the frames and packets come from; it gives tags, rotation, aspect ratio and HDR metadata.
        plan: of `plan_output`.
        size: (width, height) of the frames that `write` will get.

    Raises:
        UsageError: on entering, the encoder refuses its settings or the container the encoder.
        MediaError: the file cannot be written.
    """

    def __init__(self, path: str | Path, source: Source, plan: OutputPlan, size: tuple[int, int]) -> None:
        self.path = Path(path)
        self._source, self._plan = source, plan
        self._encoder = VideoEncoder(source, plan, size)
        self.report, self.notes = self._encoder.report, self._encoder.notes
        self._early: list[CopiedPacket] = []
        self._copies = Copies(source, plan, self.report)
        self._lately: deque[int] = deque(maxlen=_REORDERED)
        self._started = self._finished = self._joins = False

    def __enter__(self) -> Self:
        try:
            muxer = self._plan.muxer
            options = shell.container_options(self._source.first.origin, muxer)
            options |= tag_options(self._source, muxer)
            self._output: OutputContainer = av.open(
                ffmpeg_name(self.path), "w", format=muxer, container_options=options
            )
            self._add_streams()
            if self._encoder.open():
                self._start()
        except BaseException as error:
            self._discard()
            if isinstance(error, OSError):
                raise write_error(self.path, error) from error
            if isinstance(error, (av.FFmpegError, ValueError)):
                raise self._encoder.refusal(error) from error
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if not self._finished:
            self._discard()

    def surface(self) -> tuple[CardPlane, ...]:
        """Where the next frame is to be made, on the encoder's card; () = in the host's memory."""
        return self._encoder.surface

    def write(self, frame: Frame) -> None:
        """Encodes a frame in the plan's format; its pts must lie behind the last frame's.

        Raises:
            MediaError: the frame does not fit, or the file cannot be written.
        """
        report, before = self.report, self.report.last_pts if self.report.frames else None
        self._mux_video(self._encoder.encode(frame))
        report.same_times += before is not None and self._written_at(before) == self._written_at(report.last_pts)

    @property
    def header(self) -> bytes:
        """What the encoder says before its first packet; b"" = nothing, or not yet."""
        return bytes(self._encoder.video.codec_context.extradata or b"")

    def join(self, packet: Packet[VideoStream]) -> None:
        """Writes a packet of an encoder with the same settings, in place of its frame; its times are the encoder's.

        Packets come in the order of decoding. Either all of the video is written so, or none.

        Raises:
            MediaError: the file cannot be written.
        """
        assert packet.pts is not None
        report = self.report
        report.frames += 1
        report.first_pts = packet.pts if report.first_pts is None else min(report.first_pts, packet.pts)
        if report.frames == 1 or packet.pts > report.last_pts:
            report.last_pts, report.last_duration = packet.pts, packet.duration or 0
        report.same_times += self._written_at(packet.pts) in self._lately
        self._lately.append(self._written_at(packet.pts))
        packet.time_base, self._joins = report.time_base, True
        self._mux_video([packet])

    def copy(self, copied: CopiedPacket) -> None:
        """Writes a packet of another stream; those that the plan drops are passed over.

        Raises:
            MediaError: the file cannot be written.
        """
        if not self._started:
            self._early.append(copied)
            return
        for packet in self._copies.ready(copied):
            self._mux(packet)

    def finish(self) -> SinkReport:
        """Drains the encoder and completes the file.

        Raises:
            MediaError: frames did not come out of the encoder again, or the file cannot be written.
        """
        if not self._joins:
            self._mux_video(self._encoder.drain())
        with self._writing():
            self._output.close()
        self._set_aspect_ratio()
        self._finished = True
        self.report.bytes = self.path.stat().st_size
        return self.report

    def _add_streams(self) -> None:
        """The streams in the source's order, so that players choose among them as they did."""
        source, plan = self._source, self._plan
        self._output.metadata.update(carried_tags(source.container.metadata))
        for stream in source.container.streams:
            if stream.index == source.video.index:
                self._encoder.add_to(self._output)
            else:
                self._copies.add(self._output, stream)
        if plan.muxer in WITH_CHAPTERS:
            self._output.set_chapters(source.chapters)
        self.report.want = Contents.of_source(source, plan.muxer, self._encoder.codec, plan.copied)
        self.report.announced = plan.changes

    def _start(self) -> None:
        """Writes the header, and what came before it."""
        self._started = True  # from here on there is a file of ours
        self._output.start_encoding()
        for copied in self._early:
            self.copy(copied)
        self._early.clear()

    def _set_aspect_ratio(self) -> None:
        """Other codecs say it in their bitstream, exactly; here it is rounded to whole pixels of display size."""
        ratio = self._encoder.aspect_ratio
        says_it = self._encoder.codec in ("h264", "hevc", "mpeg4", "mpeg2video")
        # Into nothing, as in a dry run, there is nothing to change.
        if ratio != 1 and not says_it and self._plan.muxer in ("matroska", "webm") and self.path.is_file():
            width, height = self.report.size
            if not set_display_size(self.path, round(width * ratio), height):
                self.notes.append(f"the pixel aspect ratio {ratio} could not be written")

    def _mux_video(self, packets: Iterable[Packet[VideoStream]]) -> None:
        with self._writing():
            if not self._started:
                self._start()
            video = self._encoder.video
            for packet in packets:
                packet.stream = video
                packet.rescale_ts(video.time_base)
                self.report.video.add(packet, _seconds(video))
                self._output.mux_one(packet)

    def _written_at(self, ticks: int) -> int:
        """The encoder's time as the container rounds it, in units of its own."""
        return round(ticks * self.report.time_base / _seconds(self._encoder.video))

    def _mux(self, packet: Packet[Stream]) -> None:
        with self._writing():
            self._output.mux_one(packet)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            raise write_error(self.path, error) from error

    def _discard(self) -> None:
        """Closes the file and deletes it; PyAV completes a file on closing, so that it would look whole."""
        if hasattr(self, "_output"):
            with contextlib.suppress(av.FFmpegError, ValueError):
                self._output.close()
        if self._started and self.path.is_file():
            self.path.unlink()


def _seconds(stream: Stream) -> Fraction:
    """One unit of a stream's times, which the muxer settles when the header is written."""
    return fraction(stream.time_base) or Fraction(1)
