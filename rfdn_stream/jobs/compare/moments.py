"""One picture out of a file: an image, or the frame of a video at a time or with a number."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rfdn_stream.errors import UsageError
from rfdn_stream.evaluation.shown import open_shown
from rfdn_stream.evaluation.small import frames_of
from rfdn_stream.frame import Frame
from rfdn_stream.jobs.compare.views import Picture, picture_of
from rfdn_stream.media.image import EXTENSIONS, read_image
from rfdn_stream.media.source import Source

_LEAD = 1.0  # seconds that are decoded before a deinterlaced picture; any number reaches the frame before it


@dataclass(frozen=True, eq=False)
class Moment:
    """A picture and where it was found.

    Args:
        path: the file.
        frame: as it is stored.
        turn: clockwise, in degrees, by which it is shown.
        seconds: from the video's beginning; None for an image.
        where: in words, such as ``frame 12``; "" for an image.
        half: half of how long it is shown, in seconds.
    """

    path: Path
    frame: Frame
    turn: int = 0
    seconds: float | None = None
    where: str = ""
    half: float = 0.0

    @property
    def picture(self) -> Picture:
        """Upright, in 8-bit RGB."""
        return picture_of(self.frame, self.turn)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the upright picture."""
        size = self.frame.width, self.frame.height
        return (size[1], size[0]) if self.turn in (90, 270) else size

    def stored(self, size: tuple[int, int]) -> tuple[int, int]:
        """Columns and rows as they are stored of an upright picture of `size`."""
        return (size[1], size[0]) if self.turn in (90, 270) else size


def is_image(path: str | Path) -> bool:
    """Whether a file is an image by its name."""
    return Path(path).suffix.lower() in EXTENSIONS


def find_moment(path: str | Path, at: float | None = None, number: int | None = None) -> Moment:
    """The picture of an image, or of a video the first that begins at `at` seconds or later, or the one with a number.

    With neither it is the one in the middle of the video.

    Raises:
        UsageError: there is no such frame.
        MediaError: the file cannot be read.
    """
    path = Path(path)
    if is_image(path):
        frame, _, _ = read_image(path)
        return Moment(path, frame)
    if number is not None:
        return _numbered(path, number)
    if at is None:
        with open_shown(path) as source:
            if not source.info.duration:
                return _moment(source, source.first, "the first frame")
            at = round(source.info.duration / 2, 3)
    return _beginning(path, at)


def same_moment(path: str | Path, other: Moment) -> Moment:
    """The picture that `path` has where another file has `other`: at the same time from the beginning."""
    if other.seconds is None or is_image(path):
        return find_moment(path)
    return find_moment(path, max(0.0, round(other.seconds - other.half, 6)))  # files round times


def _beginning(path: Path, at: float) -> Moment:
    """The first frame at `at` seconds or later, as it comes out of the whole video."""
    with open_shown(path, at) as source:
        if not source.deinterlaced:
            return _moment(source, source.first)
        wanted = _ticks(source, source.first)
    # What stands between fields is guessed from the frames before and after, too.
    with open_shown(path, max(0.0, round(at - _LEAD, 6))) as source:
        frame = next(frame for frame in frames_of(source) if _ticks(source, frame) >= wanted)
        return _moment(source, frame)


def _numbered(path: Path, number: int) -> Moment:
    with open_shown(path) as source:
        frame = next(islice(frames_of(source), number, None), None)
        if frame is None:
            raise UsageError(f"{path} has no frame {number}; it has {source.frames}, and the first one is frame 0")
        return _moment(source, frame, f"frame {number}")


def _moment(source: Source, frame: Frame, where: str = "") -> Moment:
    seconds = float(_ticks(source, frame) * frame.time_base) - (source.container.start_time or 0) / 1_000_000
    half = float(frame.duration * frame.time_base) / 2
    told = [where, f"{seconds:.3f} s", "deinterlaced" if source.deinterlaced else ""]
    return Moment(Path(source.path), frame, source.info.rotation, seconds, ", ".join(filter(None, told)), half)


def _ticks(source: Source, frame: Frame) -> int:
    """When the frame is shown by the file's own clock, whatever span it was found in."""
    return (frame.pts or 0) + round(source.span.shift / frame.time_base)
