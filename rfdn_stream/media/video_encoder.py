"""The one encoder of a video: frames in, packets out, each with the time and duration of its frame.

Whoever writes a file and whoever writes a part of one for later encode by this, so that both make the same packets.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import CardPlane, Frame
from rfdn_stream.media import dynamic_hdr, shell
from rfdn_stream.media.feed import CardFeed, HostFeed
from rfdn_stream.media.hardware import nvenc_refusal
from rfdn_stream.media.hdr import StaticHdr
from rfdn_stream.media.inquiry import try_encoding
from rfdn_stream.media.output import OutputPlan, is_constant_rate
from rfdn_stream.media.passthrough import LABELS, MOV_FAMILY, stream_tags
from rfdn_stream.media.probe import scaled_matrix
from rfdn_stream.media.shape import even_size, pixel_aspect_ratio
from rfdn_stream.media.source import Source
from rfdn_stream.media.steady import open_encoder
from rfdn_stream.media.tags import ColorTags
from rfdn_stream.media.verify import SinkReport

if TYPE_CHECKING:
    from av.container.output import OutputContainer


class VideoEncoder:
    """Encodes frames as a plan says.

    Args:
        source: what the frames come from; it gives tags, rotation, aspect ratio and HDR metadata.
        plan: of `plan_output`.
        size: (width, height) of the frames that `encode` will get.

    Attributes:
        report: of what went in so far.
        aspect_ratio: of the result's pixels.
        codec: FFmpeg's canonical name of what is made, once the stream is there.
        video: the output's stream, once `add_to` has made it.
        notes: sentences for the user.
    """

    def __init__(self, source: Source, plan: OutputPlan, size: tuple[int, int]) -> None:
        self._source, self._plan, self._size = source, plan, size
        self.aspect_ratio = pixel_aspect_ratio(source.info, size)
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
        self._durations: dict[int, int] = {}
        self._messages: dict[int, bytes] = {}

    @property
    def surface(self) -> tuple[CardPlane, ...]:
        """Where the next frame is to be made, on the encoder's card; () = in the host's memory."""
        return self._feed.surface()

    def add_to(self, output: OutputContainer) -> VideoStream:
        """Gives the output the stream that the packets are for, with all that its header says."""
        source, report, encoding = self._source, self.report, self._plan.encoding
        options = encoding.with_hdr(StaticHdr.of(source.first.origin), report.size)
        video = output.add_stream(encoding.codec, rate=source.info.rate, options=options)
        assert isinstance(video, VideoStream)
        self.video, context = video, video.codec_context
        self.codec = context.codec.canonical_name
        shell.carry(source.first.origin, video)
        context.width, context.height = report.size
        context.pix_fmt = self._feed.pix_fmt
        context.time_base = video.time_base = report.time_base
        # PyAV's default, slices, makes x264 cut every picture in slices.
        context.thread_type, context.thread_count = "AUTO", encoding.threads
        context.sample_aspect_ratio = self.aspect_ratio
        report.tags.write_to(context)
        if encoding.qscale is not None:
            context.qscale, context.global_quality = True, encoding.qscale
        if self._plan.muxer in MOV_FAMILY and self.codec == "hevc":
            context.codec_tag = "hvc1"
        if source.matrix is not None:
            scale = Fraction(self._size[0], source.info.width), Fraction(self._size[1], source.info.height)
            video.set_display_matrix(scaled_matrix(source.matrix, *scale))
        video.disposition = source.video.disposition
        video.metadata.update(stream_tags(source.video, self._plan.muxer))
        if source.span.begin is not None:
            video.metadata.pop("timecode", None)
        return video

    def open(self) -> bool:
        """Opens the encoder, or makes sure that the first frame will.

        An encoder that takes frames on a card learns of its memory by the first of them, and opens with it. That
        it can is tried by opening one for frames of the host.

        Returns:
            Whether it is open.

        Raises:
            UsageError, av.FFmpegError: it refuses its settings.
        """
        trial = self._plan.trial(self.report.size)
        try:
            if isinstance(self._feed, CardFeed):
                try_encoding(*trial)
                return False
            open_encoder(self.video.codec_context)
        except av.FFmpegError as error:
            if self._plan.encoding.on_card is None:
                raise
            raise nvenc_refusal(self.codec, trial, error) from error
        return True

    def refusal(self, error: Exception) -> UsageError:
        """What the user hears of settings that the encoder, or the container, does not take."""
        encoding, label = self._plan.encoding, LABELS.get(self._plan.muxer, self._plan.muxer)
        settings = ", ".join(f"{key}={value}" for key, value in encoding.options.items())
        return UsageError(
            f"{encoding.codec} in {label} refuses {self.report.size[0]}x{self.report.size[1]} {encoding.format.name}"
            f"{' with ' + settings if settings else ''}: {getattr(error, 'strerror', error)}"
        )

    def encode(self, frame: Frame) -> list[Packet[VideoStream]]:
        """The packets that a frame in the plan's format sets free; its pts must lie behind the last frame's.

        Raises:
            MediaError: the frame does not fit, or the encoder fails.
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
            rounds = report.time_base != self._source.info.time_base
            raise MediaError(
                f"frame {report.frames} at {float(pts * report.time_base):.3f} s does not come after the one before it"
                + ("; choose .mkv or .mp4, which keep variable frame rates" if rounds else "")
            )
        duration = self._ticks(frame.duration, frame.time_base)
        report.last_pts, report.last_duration = pts, duration
        report.frames += 1
        self._durations[pts] = duration
        if (message := getattr(frame.origin, "opaque", None)) and self.codec in dynamic_hdr.CODECS:
            self._messages[pts] = message
        picture = self._feed.picture(frame, pts)
        if encoding.alpha:  # it was made of the source's picture, whose colours may mean something else
            report.tags.write_to_frame(picture)
        picture.pict_type = 0  # else the source's keyframes become the encoder's
        picture.pts, picture.time_base, picture.duration = pts, report.time_base, duration
        return list(self._encoded(picture))

    def drain(self) -> Iterator[Packet[VideoStream]]:
        """The last packets, each as soon as the encoder has it; to be run through.

        Raises:
            MediaError: frames did not come out of the encoder again.
        """
        if not self.report.frames:
            raise MediaError("no frame was written")
        yield from self._encoded(None)
        if self._durations:
            raise MediaError(f"{len(self._durations)} frames went into {self.report.codec} and did not come out")

    def _ticks(self, value: int, time_base: Fraction) -> int:
        return value if time_base == self.report.time_base else round(value * time_base / self.report.time_base)

    def _encoded(self, picture: VideoFrame | None) -> Iterator[Packet[VideoStream]]:
        packets = self.video.codec_context.encode_lazy(picture)
        while (packet := self._next(packets)) is not None:
            packet.stream = self.video
            duration = self._durations.pop(packet.pts, None) if packet.pts is not None else None
            if duration is None or packet.pts is None:
                raise MediaError(f"{self.report.codec} made a packet at {packet.pts} that no frame asked for")
            self._feed.done(packet.pts)
            if (message := self._messages.pop(packet.pts, None)) is not None:
                packet = _with_message(packet, self.codec, message)
            packet.duration = duration  # not every encoder passes it on
            if self.report.frames <= 2 and picture is None:
                packet.dts = packet.pts  # x265 makes one up, far from any time, for so few frames
            yield packet

    def _next(self, packets: Iterator[Packet[VideoStream]]) -> Packet[VideoStream] | None:
        try:
            return next(packets, None)
        except av.FFmpegError as error:
            raise MediaError(f"{self.report.codec} failed at frame {self.report.frames}: {error.strerror}") from error


def _with_message(packet: Packet[Any], codec: str, message: bytes) -> Packet[Any]:
    """The packet with an HDR10+ message in it."""
    made = av.Packet(dynamic_hdr.with_message(bytes(packet), codec, message))
    made.pts, made.dts, made.time_base = packet.pts, packet.dts, packet.time_base
    made.is_keyframe, made.stream = packet.is_keyframe, packet.stream
    return made
