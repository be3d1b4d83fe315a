"""A video file as a sink: frames are encoded, packets of other streams copied, times kept."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import av
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import CardPlane, Frame
from rfdn_stream.media import dynamic_hdr, shell
from rfdn_stream.media.contents import Contents
from rfdn_stream.media.copies import Copies
from rfdn_stream.media.feed import CardFeed, HostFeed
from rfdn_stream.media.frames import fraction
from rfdn_stream.media.hardware import nvenc_refusal
from rfdn_stream.media.hdr import StaticHdr
from rfdn_stream.media.inquiry import try_encoding
from rfdn_stream.media.matroska import set_display_size
from rfdn_stream.media.output import OutputPlan, is_constant_rate
from rfdn_stream.media.passthrough import (
    LABELS,
    MOV_FAMILY,
    WITH_CHAPTERS,
    carried_tags,
    stream_tags,
)
from rfdn_stream.media.probe import scaled_matrix
from rfdn_stream.media.reader import CopiedPacket, Source
from rfdn_stream.media.shape import even_size, pixel_aspect_ratio
from rfdn_stream.media.tags import ColorTags
from rfdn_stream.media.target import write_error
from rfdn_stream.media.verify import SinkReport

if TYPE_CHECKING:
    from av.container.output import OutputContainer


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
        self._source, self._plan, self._size = source, plan, size
        self._aspect_ratio = pixel_aspect_ratio(source.info, size)
        format, color = plan.encoding.format, plan.encoding.color
        coded = even_size(size, format)
        self.notes: list[str] = []
        if coded != size:
            self.notes.append(
                f"the last column or row is cropped: {size[0]}x{size[1]} becomes {coded[0]}x{coded[1]}, "
                f"as {format.name} takes even sides only"
            )
        constant = is_constant_rate(plan.muxer, plan.encoding)
        time_base = 1 / source.info.rate if constant else source.info.time_base
        tags = ColorTags.of_color(color, format, source.tags)
        self.report = SinkReport(plan.muxer, plan.encoding.codec, coded, tags, time_base)
        # Cropping means copying, which is done on the host.
        card = plan.card if coded == size else None
        self._feed = HostFeed(format, coded, plan.encoding.alpha) if card is None else CardFeed(format, coded, card)
        self._early: list[CopiedPacket] = []
        self._copies = Copies(source, plan, self.report)
        self._durations: dict[int, int] = {}
        self._messages: dict[int, bytes] = {}
        self._started = self._finished = False

    def __enter__(self) -> Self:
        try:
            options = shell.container_options(self._source.first.origin, self._plan.muxer)
            self._output: OutputContainer = av.open(
                str(self.path), "w", format=self._plan.muxer, container_options=options
            )
            self._add_streams()
            self._open_encoder()
        except BaseException as error:
            self._discard()
            if isinstance(error, OSError):
                raise write_error(self.path, error) from error
            if isinstance(error, (av.FFmpegError, ValueError)):
                raise self._refusal(error) from error
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if not self._finished:
            self._discard()

    def surface(self) -> tuple[CardPlane, ...]:
        """Where the next frame is to be made, on the encoder's card; () = in the host's memory."""
        return self._feed.surface()

    def write(self, frame: Frame) -> None:
        """Encodes a frame in the plan's format; its pts must lie behind the last frame's.

        Raises:
            MediaError: the frame does not fit, or the file cannot be written.
        """
        report, encoding = self.report, self._plan.encoding
        if frame.format != encoding.format or (frame.width, frame.height) != self._size:
            raise MediaError(
                f"the output takes {encoding.format.name} {self._size[0]}x{self._size[1]}, "
                f"got {frame.format.name} {frame.width}x{frame.height}"
            )
        if frame.pts is None:
            raise MediaError("a frame without a time cannot be written to a video")
        pts = self._ticks(frame.pts, frame.time_base)
        if report.first_pts is None:
            report.first_pts = pts
        elif pts <= report.last_pts:
            raise MediaError(
                f"frame {report.frames} at {float(pts * report.time_base):.3f} s does not come after the one before it"
                + ("; choose .mkv or .mp4, which keep variable frame rates" if self._rounds else "")
            )
        duration = self._ticks(frame.duration, frame.time_base)
        report.same_times += report.frames > 0 and self._written_at(pts) == self._written_at(report.last_pts)
        report.last_pts, report.last_duration = pts, duration
        report.frames += 1
        self._durations[pts] = duration
        if (message := getattr(frame.origin, "opaque", None)) and self._video_codec in dynamic_hdr.CODECS:
            self._messages[pts] = message
        picture = self._feed.picture(frame, pts)
        picture.pict_type = 0  # else the source's keyframes become the encoder's
        picture.pts, picture.time_base, picture.duration = pts, report.time_base, duration
        self._encode(picture)

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
        if not self.report.frames:
            raise MediaError("no frame was written")
        self._encode(None)
        if self._durations:
            raise MediaError(f"{len(self._durations)} frames went into {self.report.codec} and did not come out")
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
                self._video = self._add_video()
            else:
                self._copies.add(self._output, stream)
        if plan.muxer in WITH_CHAPTERS:
            self._output.set_chapters(source.chapters)
        self.report.want = Contents.of_source(source, plan.muxer, self._video_codec, plan.copied)
        self.report.announced = plan.changes

    def _add_video(self) -> VideoStream:
        source, report, encoding = self._source, self.report, self._plan.encoding
        options = encoding.with_hdr(StaticHdr.of(source.first.origin), report.size)
        if encoding.codec == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # its only way to be quiet: errors only
        video = self._output.add_stream(encoding.codec, rate=source.info.rate, options=options)
        assert isinstance(video, VideoStream)
        context = video.codec_context
        self._video_codec = context.codec.canonical_name
        shell.carry(source.first.origin, video)
        context.width, context.height = report.size
        context.pix_fmt = self._feed.pix_fmt
        context.time_base = video.time_base = report.time_base
        # PyAV's default, slices, makes x264 cut every picture in slices.
        context.thread_type = "AUTO"
        context.sample_aspect_ratio = self._aspect_ratio
        report.tags.write_to(context)
        if encoding.qscale is not None:
            context.qscale, context.global_quality = True, encoding.qscale
        if self._plan.muxer in MOV_FAMILY and self._video_codec == "hevc":
            context.codec_tag = "hvc1"
        if source.matrix is not None:
            scale = Fraction(self._size[0], source.info.width), Fraction(self._size[1], source.info.height)
            video.set_display_matrix(scaled_matrix(source.matrix, *scale))
        video.disposition = source.video.disposition
        video.metadata.update(stream_tags(source.video, self._plan.muxer))
        if source.span.begin is not None:
            video.metadata.pop("timecode", None)
        return video

    def _open_encoder(self) -> None:
        """Opens the encoder and writes the header, or makes sure that the first frame will.

        An encoder that takes frames on a card learns of its memory by the first of them, and opens with it. That
        it can is tried by opening one for frames of the host.
        """
        trial = self._plan.trial(self.report.size)
        try:
            if isinstance(self._feed, CardFeed):
                try_encoding(*trial)
            else:
                self._video.codec_context.open()
                self._start()
        except av.FFmpegError as error:
            if self._started or self._plan.encoding.on_card is None:
                raise
            raise nvenc_refusal(self._video_codec, trial, error) from error

    def _start(self) -> None:
        """Writes the header, and what came before it."""
        self._started = True  # from here on there is a file of ours
        self._output.start_encoding()
        for copied in self._early:
            self.copy(copied)
        self._early.clear()

    def _set_aspect_ratio(self) -> None:
        """Other codecs say it in their bitstream, exactly; here it is rounded to whole pixels of display size."""
        ratio = self._aspect_ratio
        says_it = self._video_codec in ("h264", "hevc", "mpeg4", "mpeg2video")
        if ratio != 1 and not says_it and self._plan.muxer in ("matroska", "webm"):
            width, height = self.report.size
            if not set_display_size(self.path, round(width * ratio), height):
                self.notes.append(f"the pixel aspect ratio {ratio} could not be written")

    @property
    def _rounds(self) -> bool:
        return self.report.time_base != self._source.info.time_base

    def _ticks(self, value: int, time_base: Fraction) -> int:
        return value if time_base == self.report.time_base else round(value * time_base / self.report.time_base)

    def _written_at(self, ticks: int) -> int:
        """The encoder's time as the container rounds it, in units of its own."""
        return round(ticks * self.report.time_base / _seconds(self._video))

    def _encode(self, picture: VideoFrame | None) -> None:
        report = self.report
        try:
            packets = self._video.encode(picture)
        except av.FFmpegError as error:
            raise MediaError(f"{report.codec} failed at frame {report.frames}: {error.strerror}") from error
        if not self._started:
            with self._writing():
                self._start()
        for packet in packets:
            duration = self._durations.pop(packet.pts, None) if packet.pts is not None else None
            if duration is None or packet.pts is None:
                raise MediaError(f"{report.codec} made a packet at {packet.pts} that no frame asked for")
            self._feed.done(packet.pts)
            if (message := self._messages.pop(packet.pts, None)) is not None:
                packet = _with_message(packet, self._video_codec, message)
            packet.duration = duration  # not every encoder passes it on
            if report.frames <= 2 and picture is None:
                packet.dts = packet.pts  # x265 makes one up, far from any time, for so few frames
            packet.rescale_ts(self._video.time_base)
            report.video.add(packet, _seconds(self._video))
            self._mux(packet)

    def _mux(self, packet: Packet[Stream]) -> None:
        with self._writing():
            self._output.mux_one(packet)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            raise write_error(self.path, error) from error

    def _refusal(self, error: Exception) -> UsageError:
        encoding, label = self._plan.encoding, LABELS.get(self._plan.muxer, self._plan.muxer)
        settings = ", ".join(f"{key}={value}" for key, value in encoding.options.items())
        return UsageError(
            f"{encoding.codec} in {label} refuses {self.report.size[0]}x{self.report.size[1]} {encoding.format.name}"
            f"{' with ' + settings if settings else ''}: {getattr(error, 'strerror', error)}"
        )

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


def _with_message(packet: Packet[Any], codec: str, message: bytes) -> Packet[Any]:
    """The packet with an HDR10+ message in it."""
    made = av.Packet(dynamic_hdr.with_message(bytes(packet), codec, message))
    made.pts, made.dts, made.time_base = packet.pts, packet.dts, packet.time_base
    made.is_keyframe, made.stream = packet.is_keyframe, packet.stream
    return made
