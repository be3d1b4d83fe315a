"""An image sequence as an output: one image a frame, in a hidden folder until all are there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2

from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import CardPlane, Frame
from rfdn_stream.media.alpha import has_alpha
from rfdn_stream.media.animation import alpha_of
from rfdn_stream.media.image import ImageMetadata, check_size, turned, write_image
from rfdn_stream.media.naming import Images, Pattern
from rfdn_stream.media.output import OutputPlan
from rfdn_stream.media.sequence import ImageSequence
from rfdn_stream.media.source import Source
from rfdn_stream.media.tags import ColorTags
from rfdn_stream.media.target import partial_name
from rfdn_stream.media.turn import Turn
from rfdn_stream.media.verify import SinkReport


class StillsSink:
    """Writes each rgb24 or gbrp16le frame as an image. See `VideoFileSink` for the methods.

    The numbers are those of the source's images where it has some, else they count from 1.

    Args:
        folder: where to write; it must exist.
        pattern: the images' names in there.

    Raises:
        UsageError: the pictures are too large for the images' format.
    """

    def __init__(
        self, folder: str | Path, source: Source, plan: OutputPlan, size: tuple[int, int], pattern: Pattern
    ) -> None:
        self._folder, self._pattern = Path(folder), pattern
        self._images = source if isinstance(source, ImageSequence) else None
        if self._images is not None:
            self._images.keeps_metadata = True
        self._turn = Turn.of_picture(source.first.origin) or Turn()
        shown = self._turn.size(size)
        check_size(shown, pattern.path.suffix)
        self.report = SinkReport(plan.muxer, plan.encoding.codec, shown, ColorTags(), 1 / source.info.rate)
        self.notes: list[str] = []
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        return None

    def surface(self) -> tuple[CardPlane, ...]:
        return ()

    def copy(self, copied: object) -> None:
        """Images hold no other streams."""

    def write(self, frame: Frame) -> None:
        assert frame.pts is not None
        number, metadata = None, ImageMetadata()
        if self._images is not None:
            number, metadata = self._images.number(frame.pts), self._images.metadata(frame.pts)
        file = self._folder / self._pattern.file(self.report.frames + 1 if number is None else number).name
        alpha = alpha_of(frame.origin, frame.width, frame.height) if has_alpha(frame.origin) else None
        if alpha is not None and frame.format.bits > 8:
            alpha = alpha.astype("uint16") * 257
        if self._turn:
            frame, alpha = turned(frame, alpha, self._turn)
        for note in write_image(file, frame, alpha, metadata):
            if note not in self.notes:
                self.notes.append(note)
        self.report.bytes += file.stat().st_size
        self.report.frames += 1
        self._last = file.name

    def finish(self) -> SinkReport:
        if not self.report.frames:
            raise MediaError("no frame was written")
        return self.report

    def check(self) -> None:
        """Looks whether all images are there, whole, and reads the last one back."""
        sizes = [file.stat().st_size for file in self._folder.iterdir()]
        if (len(sizes), sum(sizes)) != (self.report.frames, self.report.bytes):
            raise MediaError(
                f"{self._pattern}: {len(sizes)} images of {sum(sizes)} bytes are there, "
                f"{self.report.frames} of {self.report.bytes} were written"
            )
        last = cv2.imread(str(self._folder / self._last), cv2.IMREAD_UNCHANGED)
        if last is None or (last.shape[1], last.shape[0]) != self.report.size:
            raise MediaError(f"{self._pattern}: the last image cannot be read back")


def settle_pattern(images: Images | None, pattern: Pattern, *, overwrite: bool) -> None:
    """UsageError if images of that name cannot or must not be written; `images` = the source, if it is a sequence."""
    folder = pattern.path.parent
    if not folder.is_dir():
        raise UsageError(f"the output's folder {folder} does not exist; create it first")
    if images is not None and any(images.would_hold(pattern.file(n)) for n in (1, *images.numbers[:1])):
        raise UsageError(
            f"the output {pattern} would be a part of the input {images.name}; choose another folder, or another name"
        )
    if (there := pattern.existing()) and not overwrite:
        raise UsageError(
            f"{len(there)} files {pattern} exist, such as {next(iter(there.values())).name}; "
            "pass --overwrite to replace them all, or choose another name"
        )


@contextmanager
def all_or_none(pattern: Pattern, *, overwrite: bool) -> Iterator[Path]:
    """A hidden folder beside the images, which take their names if the block succeeds; else it is removed.

    Images of the pattern that were there before are removed, so that none of them follows the new ones.

    Args:
        overwrite: replace what has come to lie under the images' names meanwhile.

    Raises:
        UsageError: the folder cannot be written into, another run is at work on the images, or has just made some.
    """
    old = set(pattern.existing().values())
    with partial_name(pattern.path) as folder:
        try:
            folder.mkdir()
        except OSError as failure:
            raise UsageError(
                f"cannot write into {pattern.path.parent}: {failure.strerror}; choose another folder"
            ) from None
        try:
            yield folder
            if (there := pattern.existing()) and not overwrite:
                raise UsageError(
                    f"{len(there)} files {pattern} have appeared meanwhile and are kept; the new images were removed"
                )
            made = {pattern.path.with_name(file.name): file for file in sorted(folder.iterdir())}
            for image, file in made.items():
                os.replace(file, image)
            for image in old - made.keys():
                image.unlink(missing_ok=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
