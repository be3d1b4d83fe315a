"""The numbers of colour, against published values and against the continuous kernel they stand for."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from pictures import CODED, DEEP, FLOATING
from rfdn_stream.errors import MediaError
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Matrix, PixelFormat, Range, Siting
from rfdn_stream.kernels import colour, reference

YCBCR = [matrix for matrix in get_args(Matrix) if matrix != "rgb"]


@pytest.mark.parametrize(
    ("matrix", "cr_to_r", "cb_to_g", "cr_to_g", "cb_to_b"),
    [
        ("bt601", 1.402, -0.344136, -0.714136, 1.772),
        ("bt709", 1.5748, -0.187324, -0.468124, 1.8556),
        ("bt2020", 1.4746, -0.164553, -0.571353, 1.8814),
    ],
)
def test_published_matrices(matrix: Matrix, cr_to_r: float, cb_to_g: float, cr_to_g: float, cb_to_b: float) -> None:
    numbers = colour.conversion(FORMATS["yuv444p"], ColorSpec(matrix))
    want = [[1, 0, cr_to_r], [1, cb_to_g, cr_to_g], [1, cb_to_b, 0]]
    np.testing.assert_allclose(numbers.to_rgb, want, atol=1e-6)


@pytest.mark.parametrize("matrix", YCBCR)
def test_matrices_are_inverse_and_grey_has_no_chroma(matrix: Matrix) -> None:
    numbers = colour.conversion(FORMATS["yuv444p"], ColorSpec(matrix))
    to_rgb, from_rgb = np.array(numbers.to_rgb), np.array(numbers.from_rgb)
    np.testing.assert_allclose(to_rgb @ from_rgb, np.eye(3), atol=1e-15)
    np.testing.assert_allclose(from_rgb @ [1, 1, 1], [1, 0, 0], atol=1e-15)


def test_gray_is_luma_alone_and_rgb_is_itself() -> None:
    gray = colour.conversion(FORMATS["gray"], ColorSpec("bt601"))
    assert gray.to_rgb == ((1,), (1,), (1,))
    np.testing.assert_allclose(gray.from_rgb, [[0.299, 0.587, 0.114]])
    rgb = colour.conversion(FORMATS["gbrp"], RGB_FULL)
    assert rgb.to_rgb == rgb.from_rgb
    np.testing.assert_array_equal(rgb.to_rgb, np.eye(3))


@pytest.mark.parametrize(
    ("name", "range", "offset", "span"),
    [
        ("yuv420p", "limited", (16, 128, 128), (219, 224, 224)),
        ("yuv420p", "full", (0, 128, 128), (255, 255, 255)),
        ("p010le", "limited", (64, 512, 512), (876, 896, 896)),
        ("yuv444p12le", "full", (0, 2048, 2048), (4095, 4095, 4095)),
        ("gray10le", "limited", (64,), (876,)),
        ("rgb24", "limited", (16, 16, 16), (219, 219, 219)),
        ("gbrp16le", "limited", (4096, 4096, 4096), (56064, 56064, 56064)),
        ("gbrp16le", "full", (0, 0, 0), (65535, 65535, 65535)),
    ],
)
def test_ranges(name: str, range: Range, offset: tuple[int, ...], span: tuple[int, ...]) -> None:
    numbers = colour.conversion(FORMATS[name], ColorSpec("rgb" if FORMATS[name].family == "rgb" else "bt709", range))
    assert (numbers.offset, numbers.span) == (offset, span)


@pytest.mark.parametrize(
    ("format", "range", "offset", "span", "code_max"),
    [
        (DEEP[0], "limited", (32, 256, 256), (438, 448, 448), 511),
        (DEEP[1], "full", (0, 8192, 8192), (16383, 16383, 16383), 16383),
        (DEEP[2], "limited", (4096, 32768, 32768), (56064, 57344, 57344), 65535),
        (FLOATING[0], "limited", (0, 0, 0), (1, 1, 1), None),
        (FLOATING[-1], "limited", (0, 0, 0), (1, 1, 1), None),
    ],
    ids=str,
)
def test_ranges_of_formats_that_files_have_not(
    format: PixelFormat, range: Range, offset: tuple[int, ...], span: tuple[int, ...], code_max: int | None
) -> None:
    numbers = colour.conversion(format, ColorSpec("rgb" if format.family == "rgb" else "bt709", range))
    assert (numbers.offset, numbers.span, numbers.code_max) == (offset, span, code_max)


@pytest.mark.parametrize("siting", get_args(Siting))
@pytest.mark.parametrize(
    "format", [*map(FORMATS.get, ("yuv420p", "yuv422p", "yuv444p")), DEEP[1]], ids=lambda f: f.name
)
def test_taps_are_the_continuous_triangle(format: PixelFormat, siting: Siting) -> None:
    """Each table, laid out over a picture's interior, is a row of the reference's matrix."""
    numbers = colour.conversion(format, ColorSpec(siting=siting))
    for taps, co_sited in zip((numbers.x, numbers.y), colour.CO_SITED[siting], strict=True):
        up = reference.up_matrix(16, taps.factor, co_sited)
        for i in (6, 7):
            want = np.zeros(up.shape[1] + 1)
            first, weights = taps.up_first[i % taps.factor], taps.up[i % taps.factor]
            want[i // taps.factor + first :][:2] = weights
            np.testing.assert_array_equal(up[i], want[:-1])
        down = reference.down_matrix(16, taps.factor, co_sited)
        want = np.zeros(16)
        want[taps.factor * 3 - 1 :][:4] = taps.down
        np.testing.assert_array_equal(down[3], want)


@pytest.mark.parametrize("length", [1, 2, 3, 8])
@pytest.mark.parametrize("co_sited", [True, False])
def test_resampling_keeps_a_constant(length: int, co_sited: bool) -> None:
    for factor in (1, 2):
        np.testing.assert_allclose(reference.up_matrix(length, factor, co_sited).sum(1), 1)
        np.testing.assert_allclose(reference.down_matrix(length, factor, co_sited).sum(1), 1)


def test_bayer_thresholds_are_every_64th_once() -> None:
    thresholds = colour.bayer()
    np.testing.assert_array_equal(np.sort(thresholds, axis=None), (np.arange(64) + 0.5) / 64)
    np.testing.assert_array_equal(thresholds[:2, :2] * 64 - 0.5, [[0, 32], [48, 16]])


def test_conversion_refuses_what_a_frame_refuses() -> None:
    with pytest.raises(MediaError, match="yuv420p does not go with matrix rgb"):
        colour.conversion(FORMATS["yuv420p"], RGB_FULL)
    with pytest.raises(MediaError, match="rgb24 does not go with matrix bt709"):
        colour.conversion(FORMATS["rgb24"], ColorSpec())


@pytest.mark.parametrize("format", [*CODED, *FLOATING], ids=lambda f: f.name)
def test_components_are_views_of_one_size_each(format: PixelFormat) -> None:
    planes = [np.zeros(shape, format.dtype) for shape in format.plane_shapes(7, 5)]
    views = colour.components(planes, format, 7, 5)
    chroma = tuple(reversed(format.chroma_size(7, 5)))
    assert [view.shape for view in views] == [(5, 7), chroma, chroma][: len(views)]
    for value, view in enumerate(views, 1):
        view[...] = value
    assert all(plane.all() for plane in planes)
    with pytest.raises(MediaError, match=f"{format.name} 7x6 takes planes"):
        colour.components(planes, format, 7, 6)
