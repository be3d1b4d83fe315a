"""Opening a video file and saying what is in it, or in one line why not."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.codec.hwaccel import HWAccel
from av.container.input import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import Frame, VideoInfo
from rfdn_stream.media.frames import carrier, fraction
from rfdn_stream.media.onesize import MAX_SIDE

STDIN = "-"
"""The path that means standard input."""
ADDRESS_OPTIONS = {"reconnect": "1", "reconnect_streamed": "1", "reconnect_delay_max": "8"}
"""HTTP goes on where a connection broke, for so many seconds at most."""
TIMEOUT = 30.0
"""Seconds without an answer after which an address has failed."""
VIDEOS = frozenset(
    {".3gp", ".avi", ".dv", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv"}
    | {".ts", ".vob", ".webm", ".wmv", ".y4m"}
)
"""Extensions of videos, by which they are found in folders; a file that is named is read whatever it has."""
_LARGEST = (1 << 31) - 1  # of a display matrix; a damaged one may be as large before it is scaled
_DEFAULT_RATE = Fraction(25)
_BROADCASTS = frozenset({"mpegts", "mpeg", "hls"})  # formats whose clocks began anywhere
_INTERLACED_FIELD_ORDERS = frozenset({2, 3, 4, 5})


@contextmanager
def media_errors(doing: str) -> Iterator[None]:
    """Turns what FFmpeg raises into a MediaError that says what was being done."""
    try:
        yield
    except av.FFmpegError as error:
        raise MediaError(f"{doing}: {error.strerror}") from error


@dataclass(frozen=True)
class RawVideo:
    """What bare samples do not say of themselves.

    Args:
        width, height: in pixels.
        format: FFmpeg's name of the pixel format.
        rate: frames a second.
    """

    width: int
    height: int
    format: str
    rate: Fraction

    @classmethod
    def parse(cls, text: str) -> RawVideo:
        """Of ``1920x1080,yuv420p,25``; the rate may be ``30000/1001``.

        Raises:
            UsageError: it is not written so, or a value is outside its range.
        """
        try:
            size, format, rate = text.split(",")
            width, height = map(int, size.split("x"))
            raw = cls(width, height, format, Fraction(rate))
        except (ValueError, ZeroDivisionError):
            raise UsageError(
                f"raw {text!r} is not understood; write WxH,FORMAT,RATE such as 1920x1080,yuv420p,25"
            ) from None
        if not (0 < raw.width <= MAX_SIDE and 0 < raw.height <= MAX_SIDE and raw.rate > 0):
            raise UsageError(f"raw {text!r} is outside its range; sides are 1 to {MAX_SIDE} pixels, the rate above 0")
        try:
            carrier(format)
        except MediaError as error:
            raise UsageError(f"raw {text!r}: {error}") from None
        return raw

    def options(self) -> dict[str, str]:
        """FFmpeg's."""
        return {
            "video_size": f"{self.width}x{self.height}",
            "pixel_format": self.format,
            "framerate": f"{self.rate.numerator}/{self.rate.denominator}",
        }


def open_input(path: str | Path, accelerator: HWAccel | None = None, *, raw: RawVideo | None = None) -> InputContainer:
    """Opens a media file, an address, or standard input as ``-``, its video to be decoded by `accelerator`, if any.

    Args:
        raw: it is bare samples, of this kind.

    Raises:
        MediaError: it is missing, a folder, empty, cut off, or no media file.
    """
    local, from_pipe = Path(path), str(path) == STDIN
    if not from_pipe and not is_address(path):
        if not local.exists():
            raise MediaError(f"{path} does not exist")
        if local.is_dir():
            raise MediaError(f"{path} is a folder; name a video file in it")
        if local.is_file() and local.stat().st_size == 0:
            raise MediaError(f"{path} is empty")
    name = "standard input" if from_pipe else path
    options = raw.options() if raw else {}
    if is_address(path):
        options |= ADDRESS_OPTIONS
    try:
        container = av.open(
            "pipe:" if from_pipe else ffmpeg_name(path),
            format="rawvideo" if raw else None,
            options=options,
            timeout=TIMEOUT if is_address(path) else None,
            hwaccel=accelerator,
        )
    except (av.InvalidDataError, av.EOFError):
        raise MediaError(f"{name} {_why_unreadable(local)}") from None
    except (av.FFmpegError, UnicodeDecodeError) as error:
        raise MediaError(f"cannot open {name}: {getattr(error, 'strerror', error)}") from error
    if container.format.name == "tty":  # FFmpeg plays any text as ANSI art
        container.close()
        raise MediaError(f"{name} is a text file")
    return container


def ffmpeg_name(path: str | Path) -> str:
    """An address or a path as FFmpeg is to get it: absolute, as it takes ``Alien: 2.mkv`` for a protocol's."""
    return str(path) if is_address(path) else os.path.abspath(path)


def is_address(path: str | Path) -> bool:
    """Whether FFmpeg fetches it from elsewhere."""
    return "://" in str(path)


def is_pipe(path: str | Path) -> bool:
    """Whether the source can be read only once, from its beginning."""
    return str(path) == STDIN or Path(path).is_fifo()


def _why_unreadable(path: Path) -> str:
    if path.is_file():
        with path.open("rb") as file:
            if file.read(12)[4:8] == b"ftyp":
                return "is an MP4 without its index (moov): the recording or the download was cut off"
    return "is not a video file that FFmpeg can read, or it is damaged"


def is_attached_picture(stream: Stream) -> bool:
    """Whether a video stream is cover art or a thumbnail."""
    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def choose_video(container: InputContainer, path: str | Path, *, any_format: bool = False) -> VideoStream:
    """The first video stream that is not cover art, its size checked before anything is decoded.

    Args:
        any_format: also one whose pixel format the engine does not carry.

    Raises:
        MediaError: there is none, nothing decodes it, or its size is absurd.
    """
    video = next((stream for stream in container.streams.video if not is_attached_picture(stream)), None)
    if video is None:
        others = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise MediaError(f"{path} has no video stream; it holds {others}")
    context = video.codec_context
    if context is None:
        raise MediaError(f"{path}: this FFmpeg has no decoder for its video stream")
    if not (0 < context.width <= MAX_SIDE and 0 < context.height <= MAX_SIDE):
        raise MediaError(
            f"{path}: the video is {context.width}x{context.height}; "
            f"each side must be 1 to {MAX_SIDE} pixels (a damaged header?)"
        )
    if context.pix_fmt is not None and not context.is_hwaccel and not any_format:
        with _named(path):
            carrier(context.pix_fmt)
    return video


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    try:
        yield
    except MediaError as error:
        raise MediaError(f"{path}: {error}") from None


def display_matrix(stream: VideoStream) -> tuple[int, ...] | None:
    """The stream's 3 x 3 display matrix as FFmpeg lays it out (16.16 and 2.30 fixed point), if it has one."""
    raw = stream.codec_context.coded_side_data.get("display_matrix")
    return struct.unpack("=9i", raw) if raw else None


def scaled_matrix(matrix: tuple[int, ...], horizontally: Fraction, vertically: Fraction) -> list[int]:
    """A display matrix for a scaled picture: its translation is in pixels."""
    a, b, u, c, d, v, x, y, w = matrix
    if b and not a:  # a quarter turn: the picture's rows become columns
        horizontally, vertically = vertically, horizontally
    moved = (max(-_LARGEST, min(_LARGEST, round(value))) for value in (x * horizontally, y * vertically))
    return [a, b, u, c, d, v, *moved, w]


def origin(container: InputContainer) -> Fraction:
    """The first time in the file, in seconds: what ``ffmpeg -ss`` counts from."""
    starts = [
        stream.start_time * (fraction(stream.time_base) or 0)
        for stream in container.streams
        if stream.type in ("video", "audio") and stream.start_time is not None and not is_attached_picture(stream)
    ]
    return Fraction(min(starts, default=Fraction(container.start_time or 0, 1_000_000)))


def clock_start(container: InputContainer, video: VideoStream) -> Fraction:
    """What all times of a file are to be reckoned from, in seconds, when all of it is taken.

    The clock of a broadcast began anywhere, and many players take MP4's times before 0 for what is not to be shown;
    all other times mean something.
    """
    if container.format.name in _BROADCASTS:
        return origin(container)
    return min(Fraction(0), (video.start_time or 0) * (fraction(video.time_base) or Fraction(0)))


def describe(container: InputContainer, video: VideoStream, first: Frame, rotation: int) -> VideoInfo:
    """What the header says, with size, format and colour as the first decoded frame has them.

    `rotation` is the first picture's counter-clockwise turn in degrees, as FFmpeg gives it.
    """
    time_base = fraction(video.time_base) or Fraction(1, 1_000_000)
    doubled = round(time_base / first.time_base)  # where each field became a frame
    duration: float | None = None
    if video.duration:
        duration = float(video.duration * time_base)
    elif container.duration:
        duration = container.duration / 1_000_000
    return VideoInfo(
        width=first.width,
        height=first.height,
        format=first.format,
        color=first.color,
        codec=video.codec_context.codec.canonical_name,
        time_base=first.time_base,
        rate=guess_rate(video) * doubled,
        start_pts=video.start_time,
        duration=duration,
        frames_from_header=video.frames * doubled,
        sample_aspect_ratio=fraction(video.sample_aspect_ratio)
        or fraction(video.codec_context.sample_aspect_ratio)  # which alone knows where a stream was joined midway
        or Fraction(1),
        rotation=-rotation % 360,
        interlaced=first.origin.interlaced_frame or says_interlaced(video),
    )


def says_interlaced(video: VideoStream) -> bool:
    """Whether the stream's header says that its pictures are interlaced."""
    return video.codec_context.field_order in _INTERLACED_FIELD_ORDERS


def guess_rate(video: VideoStream) -> Fraction:
    """Frames a second, for encoders that ask; never a base for timestamps.

    FFmpeg's guess is the rate in which all times fit; of a variable rate it can be a thousand, which some
    encoders refuse.
    """
    guessed, average = fraction(video.guessed_rate), fraction(video.average_rate)
    if guessed and average and guessed > 2 * average:
        return average
    return guessed or average or _DEFAULT_RATE
