"""Packets in, frames out: every picture with its exact time, and an account of those that did not come."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rfdn_stream.errors import MediaError
from rfdn_stream.frame import ColorSpec, Frame, Matrix
from rfdn_stream.media import dynamic_hdr
from rfdn_stream.media.findings import Damage
from rfdn_stream.media.frames import carried, carrier, fraction, is_full_range, plane_views
from rfdn_stream.media.hardware import Nvdec
from rfdn_stream.media.onesize import OneSize, Shape
from rfdn_stream.media.probe import guess_rate
from rfdn_stream.media.tags import ColorTags
from rfdn_stream.media.telecine import repeats_field

# Codecs in which every packet holds one shown picture, so that a packet without a picture is a loss.
_ONE_PICTURE_A_PACKET = frozenset(
    {"h264", "hevc", "av1", "vp9", "vvc", "mpeg1video", "mpeg2video", "mjpeg", "ffv1", "prores", "dnxhd"}
)
UNDECODABLE = (av.InvalidDataError, av.ArgumentError, av.PatchWelcomeError, av.ExternalError, av.UnknownError)
# A step back in time up to this, in seconds, is a damaged timestamp; above it, two recordings in one file.
_MAX_STEP_BACK = 1


class Decoder:
    """Decodes one video stream.

    Decoders seldom say what they could not decode: HEVC drops whole runs of pictures without an error, and
    with threads an error comes several packets late. So the times of the packets that went in are
    compared with those of the pictures that came out.

    An HDR10+ message in a packet becomes its picture's `opaque`.

    With `nvdec`, the card decodes, and its pictures may stay there (`Frame.card`). `matrix` is that of the pictures,
    whatever they say themselves.

    Args:
        shape: that all pictures get; None = the first one's.

    Attributes:
        shape: of the first picture, which all get.
        damage: what was lost or is damaged so far; `notes`: what else was found, in sentences for the user.
        changes: when the picture changed its size or format, and to which.
        interlaced: pictures flagged as interlaced; `repeats`: those that ask for a field twice; `untimed`: those whose
            time was made up.
        last_error: what FFmpeg last said of a packet that it could not decode.
        header_tags: the colour tags of the stream's header.
    """

    def __init__(
        self,
        stream: VideoStream,
        nvdec: Nvdec | None = None,
        shape: Shape | None = None,
        *,
        matrix: Matrix | None = None,
    ) -> None:
        self._context = stream.codec_context
        self._nvdec, self._matrix = nvdec, matrix
        if nvdec is None:
            self._context.thread_type = "AUTO"
        else:
            self._context.thread_count = 1  # the card decodes; each thread would take it one more surface
        self._time_base = fraction(stream.time_base) or Fraction(1, 1_000_000)
        self._codec = self._context.codec.canonical_name
        # What is hung on a packet comes out with its picture, whatever the order.
        self._context.copy_opaque = self._codec in dynamic_hdr.CODECS
        self._frame_ticks = max(1, round(1 / guess_rate(stream) / self._time_base))
        # AVI stores no pts; FFmpeg counts packets, which B-frames put in another order than pictures.
        self._pts_are_in_coding_order = stream.container.format.name == "avi" and self._context.has_b_frames
        self.header_tags = ColorTags.of_context(self._context)
        self._colors: dict[tuple[ColorTags, str], ColorSpec] = {}
        self.shape = self._latest_shape = shape
        self._one_size: OneSize | None = None
        self._expected: list[int] = []
        self._last_pts: int | None = None
        self._last_duration = 0
        self._held: Frame | None = None
        self.damage: list[Damage] = []
        self.notes: list[str] = []
        self.changes: list[tuple[Fraction, str]] = []
        self.interlaced = 0
        self.repeats = 0
        self.untimed = 0
        self.last_error: str | None = None

    def decode(self, packet: Packet[VideoStream] | None) -> Iterator[Frame]:
        """The frames that a packet sets free, in order of time; None drains the decoder.

        Raises:
            MediaError: the header is damaged, the picture changes midway into what cannot be scaled, or time runs
                backwards.
            RefusedError, at the first picture: `nvdec` does not decode this video.
        """
        if packet is not None and packet.pts is not None and not packet.is_discard:
            heapq.heappush(self._expected, packet.pts)
        if packet is not None and self._codec in dynamic_hdr.CODECS:
            packet.opaque = dynamic_hdr.find_message(bytes(packet), self._codec, self._context.extradata)
        if packet is not None and self._codec == "mpeg2video":
            self.repeats += repeats_field(bytes(packet))
        try:
            pictures = self._context.decode(packet)
        except UNDECODABLE as error:
            if not self._context.is_open:
                raise MediaError(
                    f"the video's header is damaged: {self._codec} refuses it ({error.strerror})"
                ) from error
            self._refused(packet, error)
            pictures = []
        except av.FFmpegError as error:
            if self._nvdec is None:
                raise
            raise MediaError(f"NVDEC failed: {error.strerror}; decode on the processor: --decode cpu") from error
        for picture in pictures:
            frame = self._frame(picture)
            yield from self._held_until(frame.pts)
            self._held = frame
        if packet is None:
            self._lost_before(None)
            yield from self._held_until(None)

    def _held_until(self, pts: int | None) -> Iterator[Frame]:
        """The frame that waits to learn how long it is shown: until the next one, at `pts`.

        Packets say so in the order of decoding, which with B-frames is another picture's duration. The last
        frame (`pts` is None) has nothing better.
        """
        if self._held is not None:
            assert self._held.pts is not None
            duration = self._held.duration if pts is None else pts - self._held.pts
            yield replace(self._held, duration=duration or self._frame_ticks)
            self._held = None

    def _refused(self, packet: Packet[VideoStream] | None, error: av.FFmpegError) -> None:
        self.last_error = error.strerror
        if self._codec in _ONE_PICTURE_A_PACKET and (packet is None or packet.pts is not None):
            return  # the missing picture itself will be counted, at its exact time
        ticks = packet.pts if packet is not None and packet.pts is not None else self._last_pts
        self.damage.append(Damage((ticks or 0) * self._time_base, "undecodable packet skipped"))

    def _frame(self, picture: VideoFrame) -> Frame:
        pts = self._time(picture)
        if picture.interlaced_frame:
            self.interlaced += 1
        self._lost_before(pts)
        if picture.is_corrupt:
            self.damage.append(Damage(pts * self._time_base, "damaged picture kept"))
        original, picture = picture, self._in_first_shape(picture, pts)
        format = carrier(picture.format.name) if self._nvdec is None else self._nvdec.format(picture, self._context)
        card = None if self._nvdec is None else self._nvdec.card
        color = self._color(original)
        return Frame(
            planes=plane_views(carried(picture), format) if card is None else (),
            format=format,
            width=picture.width,
            height=picture.height,
            color=color,
            pts=pts,
            time_base=self._time_base,
            duration=picture.duration or 0,
            origin=picture,
            card=() if card is None else card.planes(picture),
        )

    def _time(self, picture: VideoFrame) -> int:
        """The picture's pts, made up from its predecessor where the container has none that can be used."""
        pts, last = picture.pts, self._last_pts
        if self._pts_are_in_coding_order and self._expected:
            pts = self._expected[0]
        if pts is None:
            self.untimed += 1
            step = self._last_duration or self._frame_ticks
            pts = last + step if last is not None else picture.dts or 0
        elif last is not None and pts <= last:
            if (last - pts) * self._time_base > _MAX_STEP_BACK:
                raise MediaError(
                    f"time runs backwards in the video: {float(pts * self._time_base):.3f} s comes after "
                    f"{float(last * self._time_base):.3f} s; rewrite it first, for example: "
                    "ffmpeg -i IN -c copy OUT.mkv"
                )
            self.untimed += 1
            pts = last + 1
        self._last_pts, self._last_duration = pts, picture.duration or 0
        return pts

    def _lost_before(self, pts: int | None) -> None:
        """Counts the packets whose pictures were due before `pts` (None = ever) and did not come."""
        while self._expected and (pts is None or self._expected[0] <= pts):
            due = heapq.heappop(self._expected)
            # The two fields of an interlaced picture may come in packets of their own.
            if due != pts and self._codec in _ONE_PICTURE_A_PACKET and not self.interlaced:
                self.damage.append(Damage(due * self._time_base, "picture lost"))

    def _in_first_shape(self, picture: VideoFrame, pts: int) -> VideoFrame:
        """The picture, scaled if the stream has changed its size or format since the first one."""
        aspect = fraction(self._context.sample_aspect_ratio) or Fraction(1)
        shape = Shape(picture.width, picture.height, picture.format.name, aspect)
        if self.shape is None:
            self.shape = self._latest_shape = shape
        if replace(shape, aspect=self.shape.aspect) == self.shape:
            return picture
        if self._nvdec is not None:
            same = (picture.width, picture.height) == (self.shape.width, self.shape.height)
            why = "gave up" if same else f"does not scale: the picture changes to {shape}"
            when = float(pts * self._time_base)
            raise MediaError(f"NVDEC {why} at {when:.3f} s; decode on the processor: --decode cpu")
        if shape != self._latest_shape:
            self.changes.append((pts * self._time_base, str(shape)))
            self._latest_shape = shape
        self._one_size = self._one_size or OneSize(self.shape)
        return self._one_size.fitted(picture, shape)

    def _color(self, picture: VideoFrame) -> ColorSpec:
        format = carrier(picture.format.name) if self._nvdec is None else self._nvdec.format(picture, self._context)
        tags = ColorTags.of_frame(picture).or_else(self.header_tags)
        if self._matrix is not None and format.family == "yuv":
            tags = tags.with_matrix(self._matrix)
        key = (tags, picture.format.name)
        if key not in self._colors:
            self._colors[key] = tags.interpret(
                format,
                picture.width,
                picture.height,
                self._codec,
                full_range_format=is_full_range(picture.format.name),
            )
            if (note := tags.siting_note()) is not None:
                self.notes.append(note)
        return self._colors[key]
