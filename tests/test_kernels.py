"""The colour kernels: facts that hold for every twin, and each fast twin against the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import get_args

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pictures import CODED, DEEP, FLOATING, YCBCR, Array, assert_codes, colors_of, random_planes, random_rgb
from rfdn_stream.errors import MediaError
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, PixelFormat, Plane, Range, Siting
from rfdn_stream.kernels import cpu, reference
from rfdn_stream.kernels.base import ColorKernels
from rfdn_stream.kernels.colour import components, conversion

FLOATS = [torch.float32, torch.bfloat16, torch.float16]


@dataclass(frozen=True)
class Twin:
    """One implementation, called with and answering in NumPy."""

    to_rgb: Callable[[Sequence[Plane], PixelFormat, ColorSpec], Array]
    from_rgb: Callable[[Array, PixelFormat, ColorSpec], Sequence[Plane]]


def reference_from_rgb(rgb: Array, format: PixelFormat, color: ColorSpec) -> Sequence[Plane]:
    return reference.quantise(reference.from_rgb(rgb, format, color), format)


def fast_to_rgb(kernels: ColorKernels, planes: Sequence[Plane], format: PixelFormat, color: ColorSpec) -> Array:
    out = torch.full((3, *planes[0].shape[:2]), torch.nan)
    kernels.pre([torch.from_numpy(p) for p in planes], format, color, out)
    return out.numpy()


def fast_from_rgb(kernels: ColorKernels, rgb: Array, format: PixelFormat, color: ColorSpec) -> Sequence[Plane]:
    planes = empty_planes(format, rgb.shape[2], rgb.shape[1])
    kernels.post(torch.from_numpy(rgb.astype(np.float32)), [torch.from_numpy(p) for p in planes], format, color)
    return planes


# On CPU tensors: torch; colour.cu built by g++ (see cuda_shim); colour.cu on a real device.
FAST = ["cpu", "shim", pytest.param("card", marks=pytest.mark.gpu)]


@pytest.fixture(scope="session", params=FAST)
def kernels(request: pytest.FixtureRequest) -> ColorKernels:
    return fast(request)


@pytest.fixture(params=["reference", *FAST])
def twin(request: pytest.FixtureRequest) -> Twin:
    if request.param == "reference":
        return Twin(reference.to_rgb, reference_from_rgb)
    return Twin(partial(fast_to_rgb, fast(request)), partial(fast_from_rgb, fast(request)))


def fast(request: pytest.FixtureRequest) -> ColorKernels:
    return cpu if request.param == "cpu" else request.getfixturevalue(request.param)


def empty_planes(format: PixelFormat, width: int, height: int) -> list[Plane]:
    return [np.zeros(shape, format.dtype) for shape in format.plane_shapes(width, height)]


CASES = [
    pytest.param(format, color, id=f"{format.name}-{color.matrix}-{color.range}")
    for format in (*FORMATS.values(), *DEEP[1:3])
    for color in colors_of(format)
]


def solid(rgb: Sequence[float], width: int = 5, height: int = 3) -> Array:
    return np.broadcast_to(np.array(rgb, np.float32)[:, None, None], (3, height, width))


# Facts


@pytest.mark.parametrize(("format", "color"), CASES)
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_black_and_white_have_their_codes_and_come_back(
    twin: Twin, format: PixelFormat, color: ColorSpec, level: float
) -> None:
    planes = twin.from_rgb(solid([level] * 3), format, color)
    numbers = conversion(format, color)
    for k, codes in enumerate(components(planes, format, 5, 3)):
        value = level if k == 0 or format.family == "rgb" else 0.0
        assert (codes == int(value * numbers.span[k] + numbers.offset[k]) << format.shift).all()
    np.testing.assert_allclose(twin.to_rgb(planes, format, color), level, atol=1e-6)


@pytest.mark.parametrize(("format", "color"), [c for c in CASES if c.values[0].family != "rgb"])
def test_grey_codes_give_grey(twin: Twin, format: PixelFormat, color: ColorSpec) -> None:
    planes = empty_planes(format, 9, 4)
    numbers = conversion(format, color)
    luma, *chroma = components(planes, format, 9, 4)
    codes = np.linspace(0, format.code_max, 36).astype(np.int64).reshape(4, 9)
    luma[...] = codes << format.shift
    for plane in chroma:
        plane[...] = int(numbers.offset[1]) << format.shift
    want = np.clip((codes - numbers.offset[0]) / numbers.span[0], 0, 1)
    np.testing.assert_allclose(twin.to_rgb(planes, format, color), [want] * 3, atol=1e-6)


@pytest.mark.parametrize(
    ("rgb", "bt709", "bt601"),
    [
        ((1, 1, 1), (180, 128, 128), (180, 128, 128)),
        ((1, 1, 0), (168, 44, 136), (162, 44, 142)),
        ((0, 1, 1), (145, 147, 44), (131, 156, 44)),
        ((0, 1, 0), (133, 63, 52), (112, 72, 58)),
        ((1, 0, 1), (63, 193, 204), (84, 184, 198)),
        ((1, 0, 0), (51, 109, 212), (65, 100, 212)),
        ((0, 0, 1), (28, 212, 120), (35, 212, 114)),
    ],
)
def test_colour_bars_of_75_percent(
    twin: Twin, rgb: tuple[int, ...], bt709: tuple[int, ...], bt601: tuple[int, ...]
) -> None:
    format, picture = FORMATS["yuv420p"], solid([0.75 * v for v in rgb])
    assert [int(p[0, 0]) for p in twin.from_rgb(picture, format, ColorSpec("bt709"))] == list(bt709)
    assert [int(p[0, 0]) for p in twin.from_rgb(picture, format, ColorSpec("bt601"))] == list(bt601)


@pytest.mark.parametrize("format", [f for f in FORMATS.values() if f.family != "gray"], ids=lambda f: f.name)
def test_planes_mean_to_swscale_what_they_mean_here(twin: Twin, format: PixelFormat) -> None:
    """Order, alignment and scale of the planes, from a hand that is not ours."""
    rgb = np.array([200, 80, 30], np.uint8)
    # One thread: of a picture as narrow as this, swscale's several leave a row grey now and then.
    frame = av.VideoFrame.from_ndarray(np.tile(rgb, (4, 6, 1)), "rgb24").reformat(format=format.name, threads=1)
    planes = [
        np.frombuffer(plane, format.dtype).reshape(shape[0], -1)[:, : int(np.prod(shape[1:]))].reshape(shape)
        for plane, shape in zip(frame.planes, format.plane_shapes(6, 4), strict=True)
    ]
    color = RGB_FULL if format.family == "rgb" else ColorSpec("bt601")
    got = twin.to_rgb([p.copy() for p in planes], format, color)
    np.testing.assert_allclose(got, solid(rgb / 255, 6, 4), atol=0.02)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("siting", "lies_at"), [("left", (0.5, 0)), ("center", (0.5, 0.5)), ("topleft", (0, 0))])
def test_a_ramp_shows_where_chroma_lies(twin: Twin, siting: Siting, lies_at: tuple[float, float], axis: int) -> None:
    """`lies_at` is the place of the first chroma sample, in luma rows and columns."""
    format, color = FORMATS["yuv420p12le"], ColorSpec(siting=siting)
    place = 2 * np.arange(10) + lies_at[axis]
    turn = np.transpose if axis == 0 else np.asarray

    blue = np.zeros((3, 20, 20), np.float32)
    blue[2] = turn(np.tile(np.arange(20) / 19, (20, 1)))
    cb = turn(twin.from_rgb(blue, format, color)[1])[1:-1, 1:-1]
    np.testing.assert_allclose(cb, np.tile(2048 + 3584 * 0.5 * place[1:-1] / 19, (8, 1)), atol=0.51)

    planes = [np.full((20, 20), 2000, "<u2"), np.full((10, 10), 2048, "<u2"), np.full((10, 10), 2048, "<u2")]
    planes[1] += turn(np.tile(16 * np.arange(10), (10, 1))).astype("<u2")
    rgb = twin.to_rgb(planes, format, color)
    got = turn((rgb[2] - rgb[0]) / 1.8556 * 3584)[2:-2, 2:-2]
    np.testing.assert_allclose(got, np.tile(8 * (np.arange(20) - lies_at[axis]), (20, 1))[2:-2, 2:-2], atol=0.01)


@pytest.mark.parametrize(("format", "color"), CASES)
def test_codes_inside_the_rgb_cube_return(twin: Twin, format: PixelFormat, color: ColorSpec) -> None:
    """All of them, but for subsampled chroma, which is filtered on the way."""
    rng, numbers = np.random.default_rng(0), conversion(format, color)
    planes = empty_planes(format, 11, 7)
    views = components(planes, format, 11, 7)
    for k, codes in enumerate(views):
        low, high = (0.3, 0.7) if k == 0 or format.family == "rgb" else (-0.1, 0.1)
        values = rng.uniform(low, high, codes.shape) * numbers.span[k] + numbers.offset[k]
        codes[...] = values.astype(np.int64) << format.shift
    back = components(twin.from_rgb(twin.to_rgb(planes, format, color), format, color), format, 11, 7)
    for k in range(1 if any(format.subsampling) else len(views)):
        np.testing.assert_array_equal(back[k], views[k])


def test_dither_keeps_the_mean_that_rounding_loses(kernels: ColorKernels) -> None:
    format, rgb = FORMATS["gray"], torch.full((3, 8, 8), (16.25 - 16) / 219)
    plane = torch.zeros(8, 8, dtype=torch.uint8)
    kernels.post(rgb, [plane], format, ColorSpec())
    assert (plane == 16).all()
    kernels.post(rgb, [plane], format, ColorSpec(), dither=True)
    assert plane.float().mean() == 16.25


# Each fast twin against the reference


@st.composite
def pictures(
    draw: st.DrawFn, formats: Sequence[PixelFormat] = CODED
) -> tuple[PixelFormat, ColorSpec, int, int, np.random.Generator]:
    """Format, colour, width, height, and the source of the samples."""
    format = draw(st.sampled_from(formats))
    matrix = draw(st.sampled_from(["rgb"] if format.family == "rgb" else YCBCR))
    color = ColorSpec(matrix, draw(st.sampled_from(get_args(Range))), draw(st.sampled_from(get_args(Siting))))
    width, height = draw(st.integers(1, 21)), draw(st.integers(1, 21))
    return format, color, width, height, np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


@settings(max_examples=300)
@given(pictures(), st.integers(0, 3), st.booleans())
def test_pre_equals_the_reference(
    kernels: ColorKernels,
    picture: tuple[PixelFormat, ColorSpec, int, int, np.random.Generator],
    pitch: int,
    packed: bool,
) -> None:
    format, color, width, height, rng = picture
    planes, _ = random_planes(format, width, height, rng, pitch)
    if format.shift:  # unused bits may hold anything
        planes = [p | rng.integers(0, 1 << format.shift, p.shape, np.uint16) for p in planes]
    out = torch.full((height, width, 3), torch.nan).permute(2, 0, 1) if packed else torch.full((3, height, width), 7.0)
    kernels.pre([torch.from_numpy(p) for p in planes], format, color, out)
    np.testing.assert_allclose(out.numpy(), reference.to_rgb(planes, format, color), rtol=0, atol=1e-6)


@settings(max_examples=300)
@given(pictures(), st.integers(0, 3), st.booleans(), st.booleans(), st.sampled_from(FLOATS))
def test_post_equals_the_reference(
    kernels: ColorKernels,
    picture: tuple[PixelFormat, ColorSpec, int, int, np.random.Generator],
    pitch: int,
    packed: bool,
    dither: bool,
    dtype: torch.dtype,
) -> None:
    format, color, width, height, rng = picture
    rgb = random_rgb(width, height, rng, dtype, packed)
    planes, whole = random_planes(format, width, height, rng, pitch)
    given_rgb, given_whole = rgb.clone(), [w.copy() for w in whole]
    kernels.post(rgb, [torch.from_numpy(p) for p in planes], format, color, dither=dither)
    exact = reference.from_rgb(rgb.double().numpy(), format, color, dither=dither)
    assert_codes(planes, exact, format)
    torch.testing.assert_close(rgb, given_rgb, rtol=0, atol=0, equal_nan=True)
    for now, before, plane in zip(whole, given_whole, planes, strict=True):
        np.testing.assert_array_equal(now[:, plane.shape[1] :], before[:, plane.shape[1] :])


@settings(max_examples=60)
@given(pictures(FLOATING), st.sampled_from(FLOATS))
def test_floating_point_is_neither_clamped_nor_rounded(
    kernels: ColorKernels,
    picture: tuple[PixelFormat, ColorSpec, int, int, np.random.Generator],
    dtype: torch.dtype,
) -> None:
    format, color, width, height, rng = picture
    planes, _ = random_planes(format, width, height, rng, pitch=1)
    out = torch.full((3, height, width), torch.nan)
    kernels.pre([torch.from_numpy(p) for p in planes], format, color, out)
    np.testing.assert_allclose(out.numpy(), reference.to_rgb(planes, format, color), rtol=1e-6, atol=2e-6)
    if format.family == "rgb":
        np.testing.assert_array_equal(out.numpy(), np.stack([planes[2], planes[0], planes[1]]))

    rgb = torch.from_numpy(rng.uniform(-1, 2, (3, height, width))).to(dtype)
    kernels.post(rgb, [torch.from_numpy(p) for p in planes], format, color, dither=True)
    step = np.finfo(format.dtype).eps
    for got, want in zip(planes, reference.from_rgb(rgb.double().numpy(), format, color), strict=True):
        np.testing.assert_allclose(got, want, rtol=step, atol=2e-6)


def test_planes_that_do_not_fit_are_refused(kernels: ColorKernels) -> None:
    format, planes = FORMATS["yuv420p"], [torch.zeros(4, 6, dtype=torch.uint8)] * 3
    with pytest.raises(MediaError, match="yuv420p 6x4 takes planes"):
        kernels.pre(planes, format, ColorSpec(), torch.empty(3, 4, 6))
    with pytest.raises(MediaError, match="yuv420p 6x4 takes planes"):
        kernels.post(torch.empty(3, 4, 6), planes, format, ColorSpec())


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv444p10le", "nv12", "gray", "rgb24"])
@pytest.mark.parametrize("dither", [False, True])
@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
def test_bands_of_rows_leave_no_seam(monkeypatch, name, dither, siting):
    format, (width, height) = FORMATS[name], (11, 53)
    color = RGB_FULL if format.family == "rgb" else ColorSpec(siting=siting)
    rgb = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    results = []
    for band in (16, 32, 1000):
        monkeypatch.setattr(cpu, "BAND", band)
        planes = [
            torch.zeros(s, dtype=torch.uint8 if format.bits == 8 else torch.uint16)
            for s in format.plane_shapes(width, height)
        ]
        cpu.post(rgb, planes, format, color, dither=dither)
        results.append(planes)
    for planes in results[:2]:
        assert all(torch.equal(a, b) for a, b in zip(planes, results[2]))
