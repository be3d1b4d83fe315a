"""The same part of one picture in several ways: nearest, Lanczos, our models, another file, and its reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import lcm
from pathlib import Path

from rfdn_stream.errors import UsageError
from rfdn_stream.evaluation.metrics import WINDOW, decibels, luma, similarity, squared_error
from rfdn_stream.evaluation.names import distinct
from rfdn_stream.jobs.compare.moments import Moment, find_moment, is_image, same_moment
from rfdn_stream.jobs.compare.sheet import Column, draw_sheet
from rfdn_stream.jobs.compare.views import Crop, Picture, at_size, common_size, detailed_crop, picture_of, repeated
from rfdn_stream.upscaler import Upscaler

DETAIL = (256, 192)
"""Size of the part that is chosen by itself, in pixels of what is compared."""
SHOWN = 480
"""Pixels of the sheet's columns, about; pixels of pictures are shown as whole squares."""


@dataclass(frozen=True, eq=False)
class Way:
    """A picture as it comes out one way.

    Args:
        name, detail: what it is.
        picture: the whole of it, RGB.
    """

    name: str
    detail: str
    picture: Picture


@dataclass(frozen=True, eq=False)
class Stills:
    """What is compared, before it is drawn.

    Args:
        what: the file and the moment, in words.
        ways: the pictures, each a whole multiple of the first file's size or all of one size.
        crops: the parts to show, in pixels of a picture of `size`.
        size: (width, height) that `crops` belong to.
        chosen: whether the program has chosen the part.
    """

    what: str
    ways: tuple[Way, ...]
    crops: tuple[Crop, ...]
    size: tuple[int, int]
    chosen: bool

    @property
    def crop_told(self) -> str:
        """Which part is shown, in words."""
        each = " and ".join(map(str, self.crops))
        return f"crop {each}" + (" (the most detailed part)" if self.chosen else "")

    @cached_property
    def sheet(self) -> Picture:
        """Everything beside each other, RGB."""
        factors = [way.picture.shape[1] / self.size[0] for way in self.ways]
        unit = lcm(*(int(factor) for factor in factors)) if all(f.is_integer() for f in factors) else max(factors)
        times = max(1, round(SHOWN / (max(crop.width for crop in self.crops) * unit)))
        columns = []
        for way in self.ways:
            y, x = way.picture.shape[0] / self.size[1], way.picture.shape[1] / self.size[0]
            pictures = []
            for crop in self.crops:
                whole = crop.scaled(unit, unit)  # of one size in all columns
                part = crop.scaled(x, y).of(way.picture)
                pictures.append(repeated(part, whole.height * times, whole.width * times))
            columns.append(Column(way.name, way.detail, tuple(pictures)))
        pixels = f"each of its pixels as {unit * times:g}x{unit * times:g}"
        return draw_sheet(columns, f"{self.what}, {self.crop_told}, {pixels}")


def still_of(
    source: str | Path,
    models: Sequence[str | Path] = (),
    *,
    at: float | None = None,
    number: int | None = None,
    crops: Sequence[Crop] = (),
    reference: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Stills:
    """Enlarges one picture: nearest, Lanczos, and by each model, as `upscale` does before it encodes.

    Args:
        source: an image or a video.
        models: names of the catalogue or weights files; none = the default for what the source is.
        at, number: which frame of a video, see `find_moment`.
        crops: in pixels of the source; none = the most detailed part.
        reference: the source at the models' size, shown too, and each way measured against it.
        device, precision: as for `Upscaler`.

    Raises:
        UsageError: there is no such frame or crop, or the reference has not the models' size.
        RfdnError: a file cannot be read, or a model not be used.
    """
    moment = _found(source, at, number)
    for crop in crops:
        crop.check(moment.size)
    original = None if reference is None else same_moment(reference, moment)
    asked: Sequence[str | Path | None] = models or (None,)
    ways, scales = [], []
    for model in asked:
        purpose = "image" if is_image(source) else "video"
        with Upscaler(model, device=device, precision=precision, purpose=purpose) as upscaler:
            device = upscaler.device.name  # found once, for all of them
            if original is not None:
                _check_reference(original, moment, upscaler.scale)
            big = upscaler.submit(moment.frame).result()
            ways.append(Way(upscaler.model.name, f"x{upscaler.scale}", picture_of(big, moment.turn)))
            scales.append(upscaler.scale)
    names = distinct([way.name for way in ways], asked)
    ways = [replace(way, name=name) for way, name in zip(ways, names, strict=True)]
    small, scale = moment.picture, max(scales)
    size = moment.size[0] * scale, moment.size[1] * scale
    nearest = Way("nearest", f"x{scale}", repeated(small, size[1], size[0]))
    plain = at_size(moment.frame, moment.stored(size), "lanczos")
    lanczos = Way("Lanczos", f"x{scale}", picture_of(plain, moment.turn))
    part = DETAIL[0] // scale, DETAIL[1] // scale
    return Stills(
        _told(moment),
        tuple(_measured([nearest, lanczos, *ways], original)),
        tuple(crops) or (detailed_crop(small, *part),),
        moment.size,
        not crops,
    )


def stills_of_two(
    first: str | Path,
    second: str | Path,
    *,
    at: float | None = None,
    number: int | None = None,
    crops: Sequence[Crop] = (),
    reference: str | Path | None = None,
    way: str = "lanczos",
) -> Stills:
    """The same moment of two files, the smaller enlarged by one of `views.WAYS`.

    Arguments and errors as for `still_of`; crops are in pixels of the first file, and the reference has the size of
    the larger. In the second file and the reference, the frame is taken that is shown at the same time.
    """
    one = _found(first, at, number, second)
    two = same_moment(second, one)
    size = common_size([one.size, two.size], [str(first), str(second)])
    for crop in crops:
        crop.check(one.size)
    original = None if reference is None else same_moment(reference, one)
    if original is not None:
        check_size(original.path, original.size, size)
    names = told_apart(first, second)
    ways = [_enlarged(moment, name, size, way) for moment, name in zip((one, two), names, strict=True)]
    share = one.size[0] / size[0]
    part = round(DETAIL[0] * share), round(DETAIL[1] * share)
    chosen = tuple(crops) or (detailed_crop(one.picture, *part),)
    return Stills(_told(one), tuple(_measured(ways, original)), chosen, one.size, not crops)


def told_apart(first: str | Path, second: str | Path) -> tuple[str, str]:
    """Names for two files: without their folders, unless they are the same then."""
    one, two = distinct([Path(first).name, Path(second).name], [first, second])
    return one, two


def check_size(path: str | Path, got: tuple[int, int], wanted: tuple[int, int]) -> None:
    """UsageError where a reference is not as large as what is measured against it."""
    if got != wanted:
        raise UsageError(
            f"the reference {path} is {got[0]}x{got[1]}, and what is compared {wanted[0]}x{wanted[1]}; "
            "it must be the original at that size"
        )


def _found(source: str | Path, at: float | None, number: int | None, other: str | Path | None = None) -> Moment:
    files = [source] if other is None else [source, other]
    if (at, number) != (None, None) and any(map(is_image, files)):
        image = next(filter(is_image, files))
        raise UsageError(f"--at and --frame choose a frame of a video, and {image} is an image; leave them out")
    return find_moment(source, at, number)


def _check_reference(original: Moment, moment: Moment, scale: int) -> None:
    check_size(original.path, original.size, (moment.size[0] * scale, moment.size[1] * scale))


def _enlarged(moment: Moment, name: str, size: tuple[int, int], way: str) -> Way:
    detail = f"{moment.size[0]}x{moment.size[1]}"
    if moment.size == size:
        return Way(name, detail, moment.picture)
    if way == "nearest":
        return Way(name, f"{detail}, nearest", repeated(moment.picture, size[1], size[0]))
    big = at_size(moment.frame, moment.stored(size), way)
    return Way(name, f"{detail}, Lanczos", picture_of(big, moment.turn))


def _measured(ways: Sequence[Way], original: Moment | None) -> list[Way]:
    """With PSNR and SSIM in each way's detail, on luma of 8-bit RGB, over the whole picture; and the original."""
    if original is None:
        return list(ways)
    sharp = luma(original.picture)
    found = []
    for way in ways:
        ours = luma(way.picture)
        figures = f"{decibels(squared_error(ours, sharp)):.2f} dB"
        if min(ours.shape) >= WINDOW:
            figures += f", SSIM {similarity(ours, sharp):.4f}"
        found.append(replace(way, detail=f"{way.detail}, {figures}"))
    return [*found, Way("reference", f"{original.size[0]}x{original.size[1]}", original.picture)]


def _told(moment: Moment) -> str:
    return f"{moment.path.name}, {moment.where}" if moment.where else moment.path.name
