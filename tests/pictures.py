"""Random pictures for the colour kernels, and the verdict on what comes out of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch

from rfdn_stream.frame import FORMATS, ColorSpec, Matrix, PixelFormat, Plane, Range
from rfdn_stream.kernels import reference

Array = npt.NDArray[Any]
YCBCR = [matrix for matrix in get_args(Matrix) if matrix != "rgb"]
# What editors have and files have not: other depths, 4:4:0, floating point.
DEEP = [
    PixelFormat("yuv420p9le", "yuv", 9, subsampling=(1, 1)),
    PixelFormat("yuv440p14le", "yuv", 14, subsampling=(0, 1)),
    PixelFormat("yuv422p16le", "yuv", 16, subsampling=(1, 0)),
    PixelFormat("gray16le", "gray", 16),
    PixelFormat("gbrp14le", "rgb", 14),
]
FLOATING = [
    PixelFormat(f"{name}f{bits}le", family, bits, subsampling=subsampling, floating=True)
    for name, family, subsampling in (
        ("yuv420p", "yuv", (1, 1)),
        ("yuv440p", "yuv", (0, 1)),
        ("yuv444p", "yuv", (0, 0)),
        ("gray", "gray", (0, 0)),
        ("gbrp", "rgb", (0, 0)),
    )
    for bits in (16, 32)
]
CODED = [*FORMATS.values(), *DEEP]


def colors_of(format: PixelFormat, **other: Any) -> list[ColorSpec]:
    """Every matrix and range that the format can have."""
    matrices = ["rgb"] if format.family == "rgb" else YCBCR
    return [ColorSpec(matrix, range, **other) for matrix in matrices for range in get_args(Range)]


def assert_codes(got: Sequence[Plane], exact: Sequence[Array], format: PixelFormat) -> None:
    """Equal codes, but for those that float32 may round the other way."""
    _, wrong = reference.disagreements(got, exact, format)
    assert not wrong, f"{wrong} codes of {format.name} are wrong"


def random_planes(
    format: PixelFormat, width: int, height: int, rng: np.random.Generator, pitch: int
) -> tuple[list[Array], list[Array]]:
    """Planes of random samples, `pitch` of them between the rows, and the arrays they are views of."""

    def samples(shape: tuple[int, ...]) -> Array:
        if format.floating:
            return rng.uniform(-1, 2, shape).astype(format.dtype)
        return (rng.integers(0, format.code_max + 1, shape) << format.shift).astype(format.dtype)

    shapes = format.plane_shapes(width, height)
    whole = [samples((rows, columns + pitch, *rest)) for rows, columns, *rest in shapes]
    return [w[:, : shape[1]] for w, shape in zip(whole, shapes, strict=True)], whole


def random_rgb(width: int, height: int, rng: np.random.Generator, dtype: torch.dtype, packed: bool) -> torch.Tensor:
    """RGB that leaves [0, 1] at times, some of it NaN and infinite, planar or channels last."""
    rgb = rng.uniform(-0.1, 1.1, (3, height, width))
    special = rng.choice([np.nan, np.inf, -np.inf, 0.0, 1.0, 1e30, -1e30], rgb.shape)
    tensor = torch.from_numpy(np.where(rng.random(rgb.shape) < 0.1, special, rgb)).to(dtype)
    return tensor.permute(1, 2, 0).contiguous().permute(2, 0, 1) if packed else tensor
