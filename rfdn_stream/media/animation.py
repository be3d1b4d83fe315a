"""GIF, APNG and animated WebP as outputs: every frame with its time, and transparency."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import av
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from rfdn_stream.errors import MediaError
from rfdn_stream.frame import CardPlane, Frame
from rfdn_stream.media.alpha import has_alpha
from rfdn_stream.media.frames import plane_views
from rfdn_stream.media.image import Samples, check_size, turned
from rfdn_stream.media.output import OutputPlan
from rfdn_stream.media.probe import ffmpeg_name
from rfdn_stream.media.source import Source
from rfdn_stream.media.tags import ColorTags
from rfdn_stream.media.target import write_error
from rfdn_stream.media.turn import Turn
from rfdn_stream.media.verify import SinkReport, verify

if TYPE_CHECKING:
    from av.container.output import OutputContainer

# By muxer: the encoder, what it takes without and with transparency, its settings, the muxer's, and its clock. All
# are shown for ever, as FFmpeg does not tell how often the source was.
_KINDS = {
    "gif": ("gif", "pal8", "pal8", {}, {"loop": "0"}, Fraction(1, 100)),
    "apng": ("apng", "rgb24", "rgba", {"pred": "mixed"}, {"plays": "0"}, Fraction(1, 1000)),
    "webp": ("libwebp", "bgra", "bgra", {"quality": "90"}, {"loop": "0"}, Fraction(1, 1000)),
}
_BRISK = Fraction(1, 50)  # seconds; players show a GIF's frames that are to be shorter for a tenth of a second


class AnimationSink:
    """Writes one animation of rgb24 frames. See `VideoFileSink` for the methods.

    A GIF gets a palette of its own for each frame, so that nothing has to be known of later ones.

    Raises:
        UsageError: the frames are too large for WebP.
    """

    def __init__(self, path: str | Path, source: Source, plan: OutputPlan, size: tuple[int, int]) -> None:
        self._turn = Turn.of_picture(source.first.origin) or Turn()
        size = self._turn.size(size)
        check_size(size, f".{plan.muxer}")
        self.path, self._size = Path(path), size
        self.codec, opaque, clear, self._options, self._muxing, time_base = _KINDS[plan.muxer]
        self._alpha = has_alpha(source.first.origin)
        self._pix_fmt = clear if self._alpha else opaque
        self._rate = source.info.rate
        self._palette = _palette(size, self._alpha) if plan.muxer == "gif" else None
        self.report = SinkReport(plan.muxer, self.codec, size, ColorTags(), time_base)
        self.notes: list[str] = []
        self._brisk = 0
        self._durations: dict[int, int] = {}
        self._finished = False

    def __enter__(self) -> Self:
        try:
            self._output: OutputContainer = av.open(
                ffmpeg_name(self.path), "w", format=self.report.muxer, container_options=self._muxing
            )
            stream = self._output.add_stream(self.codec, rate=self._rate, options=dict(self._options))
            assert isinstance(stream, VideoStream)
            self._stream = stream
            context = self._stream.codec_context
            context.width, context.height, context.pix_fmt = *self._size, self._pix_fmt
            context.time_base = self._stream.time_base = self.report.time_base
        except (OSError, av.FFmpegError) as error:
            self._discard()
            raise write_error(self.path, error) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if not self._finished:
            self._discard()

    def surface(self) -> tuple[CardPlane, ...]:
        return ()

    def copy(self, copied: object) -> None:
        """Animations hold no other streams."""

    def write(self, frame: Frame) -> None:
        assert frame.pts is not None
        base, report = self.report.time_base, self.report
        pts, end = (round(t * frame.time_base / base) for t in (frame.pts, frame.pts + frame.duration))
        if report.first_pts is None:
            report.first_pts = pts
        elif pts <= report.last_pts:
            raise MediaError(
                f"frame {report.frames} comes less than {float(base):g} s after the one before it, which "
                f"{report.muxer.upper()} cannot say; choose .mkv"
            )
        self._brisk += report.muxer == "gif" and frame.duration * frame.time_base < _BRISK
        report.frames, report.last_pts, report.last_duration = report.frames + 1, pts, max(1, end - pts)
        self._durations[pts] = report.last_duration
        picture = self._picture(frame)
        picture.pts, picture.time_base = pts, base
        if self._palette is not None:
            self._palette.vpush(picture)
            picture = self._palette.vpull()
            picture.pts, picture.time_base = pts, base
        self._encode(picture)

    def _picture(self, frame: Frame) -> VideoFrame:
        """The frame with the alpha of the picture that it was made of, in the encoder's format."""
        alpha = alpha_of(frame.origin, frame.width, frame.height) if self._alpha else None
        if self._turn:
            frame, alpha = turned(frame, alpha, self._turn)
        colours = frame.planes[0]
        if alpha is None:
            picture = VideoFrame(*self._size, "rgb24")
            plane_views(picture, frame.format, writeable=True)[0][...] = colours
        else:
            picture = VideoFrame.from_ndarray(np.dstack([colours, alpha]), "rgba")
        return picture if self._palette is not None else picture.reformat(format=self._pix_fmt)

    def _encode(self, picture: VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(picture):
                packet.duration = self._durations.pop(packet.pts or 0, 1)
                self.report.video.add(packet, self.report.time_base)
                self._output.mux_one(packet)
        except av.FFmpegError as error:
            raise write_error(self.path, error) from error

    def finish(self) -> SinkReport:
        if not self.report.frames:
            raise MediaError("no frame was written")
        self._encode(None)
        if self._durations:
            raise MediaError(f"{len(self._durations)} frames went into {self.codec} and did not come out")
        try:
            self._output.close()
            if self.report.muxer == "apng":
                _set_last_delay(self.path, self.report.last_duration * self.report.time_base)
        except (av.FFmpegError, OSError) as error:
            raise write_error(self.path, error) from error
        if self._brisk:
            self.notes.append(f"{self._brisk} frames are shorter than 1/50 s; players show them longer in a GIF")
        self.report.bytes = self.path.stat().st_size
        self._finished = True
        return self.report

    def check(self) -> None:
        """Reads the file back."""
        verify(self.path, self.report)

    def _discard(self) -> None:
        if hasattr(self, "_output"):
            try:
                self._output.close()
            except (av.FFmpegError, ValueError):
                self._finished = False  # there is nothing to complete
        self.path.unlink(missing_ok=True)


def alpha_of(picture: VideoFrame, width: int, height: int) -> Samples:
    """A picture's transparency at another size, of 8 bits [height, width]."""
    resized = picture.reformat(width, height, "rgba", interpolation=Interpolation.LANCZOS)
    samples: Samples = resized.to_ndarray()[..., 3]
    return samples


def _palette(size: tuple[int, int], alpha: bool) -> Graph:
    """The filter that gives each picture 256 colours of its own."""
    graph, format = Graph(), "rgba" if alpha else "rgb24"
    source = graph.add("buffer", f"width={size[0]}:height={size[1]}:pix_fmt={format}:time_base=1/100")
    split, sink = graph.add("split"), graph.add("buffersink")
    found = graph.add("palettegen", f"stats_mode=single:reserve_transparent={int(alpha)}")
    # An ordered pattern stays where it is, so that what does not move does not flicker.
    used = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=3")
    source.link_to(split)
    split.link_to(used, 0, 0)
    split.link_to(found, 1, 0)
    found.link_to(used, 0, 1)
    used.link_to(sink)
    graph.configure()
    return graph


def _set_last_delay(path: Path, seconds: Fraction) -> None:
    """How long the last frame is shown; FFmpeg's muxer wants to know it before the first one."""
    delay = seconds.limit_denominator(65535)
    with path.open("r+b") as file:
        place, last = 8, 0  # behind the signature
        file.seek(place)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            last = place if kind == b"fcTL" else last
            place += 12 + length
            file.seek(place)
        if not last:  # of one frame FFmpeg makes a plain PNG, which has no delays
            return
        file.seek(last + 4)
        chunk = bytearray(file.read(4 + 26))
        struct.pack_into(">2H", chunk, 4 + 20, min(delay.numerator, 65535), delay.denominator)
        file.seek(last + 4)
        file.write(chunk + struct.pack(">I", zlib.crc32(chunk)))
