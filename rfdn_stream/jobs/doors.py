"""What IN and OUT are: files, image sequences, animations, pipes, addresses; and how each is opened."""

from __future__ import annotations

import contextlib
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import UsageError
from rfdn_stream.frame import Matrix
from rfdn_stream.jobs.report import Reporter, log
from rfdn_stream.media.animation import AnimationSink
from rfdn_stream.media.card import Card
from rfdn_stream.media.crop import Crop, find_crop, lumas_of_images, lumas_of_video
from rfdn_stream.media.image import EXTENSIONS, is_animation
from rfdn_stream.media.naming import Images, Pattern, find_images, is_pattern
from rfdn_stream.media.output import OutputPlan, plan_output
from rfdn_stream.media.plain import plan_plain
from rfdn_stream.media.probe import STDIN, RawVideo, is_address
from rfdn_stream.media.reader import open_source
from rfdn_stream.media.sequence import RATE, ImageSequence
from rfdn_stream.media.source import Source
from rfdn_stream.media.stills import StillsSink, all_or_none, settle_pattern
from rfdn_stream.media.target import settle_target, whole_or_nothing
from rfdn_stream.media.writer import VideoFileSink
from rfdn_stream.media.y4m import STDOUT, Y4mSink

_MATRICES: dict[str, Matrix] = {"bt601": "bt601", "bt709": "bt709", "bt2020": "bt2020"}
_ANIMATIONS = {".gif": "gif", ".apng": "apng", ".webp": "webp", ".png": "apng"}


PlainSink = StillsSink | AnimationSink | Y4mSink
"""One that holds pictures only, and looks itself whether they are there (`check`)."""


@dataclass(frozen=True)
class Reading:
    """How a source is read.

    Args:
        start, duration: the part of it, in seconds; None = all.
        decode, deinterlace: as for `open_source`.
        crop: ``auto`` = without the black bars that are found, ``L:T:W:H`` = that part of each picture; None = all.
        matrix: what its colours mean, whatever it says; None = what it says, or what players guess.
        raw: it is bare samples: ``WxH,FORMAT,RATE``.
        fps: of an image sequence, such as ``24`` or ``24000/1001``; None = 25.

    Raises:
        UsageError: a value that is not understood.
    """

    start: float | None = None
    duration: float | None = None
    decode: str = "auto"
    deinterlace: str = "auto"
    crop: str | None = None
    matrix: str | None = None
    raw: str | None = None
    fps: str | None = None

    def __post_init__(self) -> None:
        if self.matrix not in (None, *_MATRICES):
            raise UsageError(f"unknown --matrix {self.matrix!r}; choose {', '.join(_MATRICES)}")
        if self.crop not in (None, "auto"):
            Crop.parse(self.crop or "")
        if self.raw is not None:
            RawVideo.parse(self.raw)

    @property
    def rate(self) -> Fraction:
        """Of an image sequence."""
        try:
            rate = RATE if self.fps is None else Fraction(self.fps)
        except (ValueError, ZeroDivisionError):
            raise UsageError(f"--fps {self.fps!r} is not understood; write a number such as 24 or 24000/1001") from None
        if not 0 < rate <= 1000:
            raise UsageError(f"--fps {self.fps} is outside its range; choose a number above 0, up to 1000")
        return rate


@dataclass(frozen=True)
class Doors:
    """Where a job comes from and where it goes.

    Args:
        source: a path, an address, ``-`` or the files of an image sequence.
        target: a path, ``-``, or the pattern of an image sequence's names.
        plain: the muxer of an output that holds pictures only (`plain.LABELS`); "" = a video file, or one image.
        one_image: both are single images.
    """

    source: str | Images
    target: Path | Pattern
    plain: str = ""
    one_image: bool = False

    @property
    def path(self) -> Path:
        """The target's."""
        return self.target.path if isinstance(self.target, Pattern) else self.target

    @property
    def origin(self) -> str:
        """The source as plans name it: by its absolute path, or, where it is no file, as the user did."""
        name = self.source.name if isinstance(self.source, Images) else self.source
        return name if name == STDIN or is_address(name) else os.path.abspath(name)

    def open(self, reading: Reading, card: Card | None, reporter: Reporter) -> Source:
        """The source, at its first frame.

        Raises:
            UsageError: the source is not one that can be read so.
            MediaError: it cannot be read.
        """
        start, duration, images = reading.start, reading.duration, self.source
        if not isinstance(images, Images):
            if reading.fps is not None:
                raise UsageError("--fps is for image sequences; a video has times of its own")
            return open_source(
                images,
                start,
                duration,
                decode=reading.decode,
                card=card,
                deinterlace=reading.deinterlace,
                crop=self._crop(reading, reporter),
                matrix=_MATRICES.get(reading.matrix or ""),
                raw=RawVideo.parse(reading.raw) if reading.raw else None,
            )
        if reading.matrix or reading.raw or {reading.decode, reading.deinterlace} != {"auto"}:
            raise UsageError("--decode, --deinterlace, --matrix and --raw are for videos, not for image sequences")
        for note in images.notes:
            log.warning(note)
        return ImageSequence(images, reading.rate, start, duration, crop=self._crop(reading, reporter))

    def _crop(self, reading: Reading, reporter: Reporter) -> Crop | None:
        """What is cut off, and told."""
        if reading.crop is None:
            return None
        if reading.crop != "auto":
            return Crop.parse(reading.crop)
        if reading.raw is not None:
            raise UsageError("--crop auto does not go with --raw; name the part: L:T:W:H")
        images = self.source
        found = find_crop(lumas_of_images(images.paths) if isinstance(images, Images) else lumas_of_video(images))
        if found is None:
            reporter.note("no black bars were found")
        else:
            reporter.note(f"black bars are cut off: {found.width}x{found.height} is left (--crop {found})")
        return found

    def writing(self, *, overwrite: bool) -> AbstractContextManager[Path]:
        """Where to write, until the block succeeds: then what was written takes its name, else it is removed."""
        if isinstance(self.target, Pattern):
            return all_or_none(self.target, overwrite=overwrite)
        if str(self.target) == STDOUT:
            return contextlib.nullcontext(self.target)
        return whole_or_nothing(self.target, overwrite=overwrite)

    def plan(self, source: Source, encode: EncodeOptions, card: Card | None, streams: str | None) -> OutputPlan:
        """As `plan_output`."""
        if self.plain:
            if streams is not None:
                raise UsageError(f"--streams is for video files; {self.target} holds pictures only")
            return plan_plain(source, self.plain, self.path.suffix.lower(), encode)
        return plan_output(source, self.path, encode, card, streams)

    def sink(self, partial: Path, source: Source, plan: OutputPlan, size: tuple[int, int]) -> VideoFileSink | PlainSink:
        """What writes to `partial`."""
        if isinstance(self.target, Pattern):
            return StillsSink(partial, source, plan, size, self.target)
        if not self.plain:
            return VideoFileSink(partial, source, plan, size)
        return (Y4mSink if self.plain == "y4m" else AnimationSink)(partial, source, plan, size)


def settle_doors(source: str | Path, target: str | Path, *, overwrite: bool) -> Doors:
    """Finds out what the two are, and whether one may become the other; nothing is written.

    Raises:
        UsageError: the target cannot or must not be written, or holds something else than the source.
        MediaError: an image sequence that is empty or has a hole.
    """
    target = Path(target)
    images = find_images(source)
    if is_pattern(target):
        pattern = Pattern(target)
        settle_pattern(images, pattern, overwrite=overwrite)
        if images is None and Path(source).suffix.lower() in EXTENSIONS and not is_animation(source):
            raise UsageError(f"{source} is one image by its name, and {target} a sequence; name one image")
        return Doors(images or str(source), pattern, "images")
    if str(target) == STDOUT:
        plain = "y4m"
    else:
        local = None if images or str(source) == STDIN or is_address(source) else Path(source)
        settle_target(local, target, overwrite=overwrite)
        if images is not None and images.would_hold(target):
            raise UsageError(f"the output {target} would be a part of the input {images.name}; choose another folder")
        plain = _plain(source, images, target)
    one_image = not plain and target.suffix.lower() in EXTENSIONS
    return Doors(images or str(source), target, plain, one_image)


def _plain(source: str | Path, images: Images | None, target: Path) -> str:
    """The muxer of a target that holds pictures only, "" = none. Names that are an image's may be an animation's."""
    extension, from_one = target.suffix.lower(), Path(source).suffix.lower() in EXTENSIONS
    if extension == ".y4m":
        return "y4m"
    animated = is_animation(source)
    still = images is None and from_one and not animated
    if extension in _ANIMATIONS and not still and (extension != ".png" or animated):
        return _ANIMATIONS[extension]
    elsewhere = str(source) == STDIN or is_address(source)
    if still and elsewhere:
        raise UsageError(f"{source} is an image by its name, and images are read from files; download it first")
    if still != (extension in EXTENSIONS) and (images or elsewhere or Path(source).exists()):
        name = "standard input" if str(source) == STDIN else images.name if images else Path(source).name
        kinds = ["an image" if one else "a video" for one in (still, extension in EXTENSIONS)]
        raise UsageError(
            f"{name} is {'a sequence' if images else kinds[0]} by its name and {target.name} {kinds[1]}; "
            f"images go into images ({', '.join(sorted(EXTENSIONS))}), videos into videos (.mkv, .mp4, .mov, ...), "
            "animations (.gif, .apng, .webp) or sequences (frame_%05d.png)"
        )
    return ""
