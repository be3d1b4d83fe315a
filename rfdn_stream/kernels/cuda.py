"""The colour kernels of CUDA: `colour.cu`, built by NVRTC through CuPy at the first call, then cached on disk.

A call fills one struct of parameters and launches one kernel on torch's current stream: it allocates no device
memory, copies nothing and waits for nothing. Filling knows nothing of CuPy, so the tests drive the same source,
built for the CPU, by the same code. Floating-point pictures, which are little more than copied, are left to torch.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch

from rfdn_stream.errors import DeviceError, UsageError
from rfdn_stream.frame import ColorSpec, PixelFormat
from rfdn_stream.kernels import cpu
from rfdn_stream.kernels.base import ColorKernels
from rfdn_stream.kernels.colour import Resampling, components, conversion

log = logging.getLogger("rfdn_stream")

SOURCE = Path(__file__).with_name("colour.cu")
OPTIONS = ("-std=c++17",)
# A warp takes 32 neighbours of a row, so that its accesses coalesce.
BLOCK = (32, 8, 1)


def _struct(*fields: tuple[Any, ...]) -> np.dtype[Any]:
    return np.dtype(list(fields), align=True)


PLANE = _struct(("address", "u8"), ("row", "i8"), ("column", "i8"))
IMAGE = _struct(("address", "u8"), ("channel", "i8"), ("row", "i8"), ("column", "i8"))
AXIS = _struct(("luma", "i4"), ("chroma", "i4"), ("subsampling", "i4"), ("first", "i4", 2), ("taps", "f4", 4))
PARAMS = _struct(
    ("component", PLANE, 3),
    ("rgb", IMAGE),
    ("components", "i4"),
    ("shift", "i4"),
    ("dither", "i4"),
    ("code_max", "f4"),
    ("offset", "f4", 3),
    ("scale", "f4", 3),
    ("matrix", "f4", (3, 3)),
    ("x", AXIS),
    ("y", AXIS),
)
"""The structs of colour.cu, field by field; what they mean is said there."""

_CODES = {torch.uint8: "u8", torch.uint16: "u16"}
_FLOATS = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}

Size = tuple[int, int, int]


class Launch(Protocol):
    """Whatever runs kernels of colour.cu."""

    def __call__(self, name: str, grid: Size, block: Size, params: npt.NDArray[Any]) -> None:
        """Enqueues kernel `name`; `params` is one element of dtype PARAMS, passed by value."""


def pre(
    planes: Sequence[torch.Tensor],
    format: PixelFormat,
    color: ColorSpec,
    out: torch.Tensor,
    *,
    launch: Launch | None = None,
) -> None:
    """Fills `out` with the RGB of a picture, clamped to [0, 1]; within 1e-6 and half a step of `reference.to_rgb`.

    Args:
        planes: uint8 or uint16 codes in the shapes of `format.plane_shapes`, any strides, on the device of `out`.
        format, color: what the planes hold.
        out: float32, float16 or bfloat16 [3, H, W], any strides.
        launch: runs the kernel; None = CuPy, on torch's current stream of the device.

    Raises:
        MediaError: the planes do not fit `out`, or the colour does not fit the format.
        UsageError: a dtype or device that the kernels do not take, or no CuPy that fits torch.
        DeviceError: NVRTC or the driver refuses the kernels.
    """
    if format.floating:
        cpu.pre(planes, format, color, out)
        return
    _run("pre", planes, format, color, out, dither=False, launch=launch)


def post(
    rgb: torch.Tensor,
    planes: Sequence[torch.Tensor],
    format: PixelFormat,
    color: ColorSpec,
    *,
    dither: bool = False,
    launch: Launch | None = None,
) -> None:
    """Fills planes with the codes of an RGB picture, rounded half up; as near to the reference as `cpu.post`.

    Args:
        rgb: float32, float16 or bfloat16 [3, H, W], any strides; clamped to [0, 1], NaN counts as 0; left as it is.
        planes: uint8 or uint16, in the shapes of `format.plane_shapes`, any strides, on the device of `rgb`.
        format, color: what the planes shall hold.
        dither: ordered dither (`colour.bayer`) instead of rounding.
        launch, and what it raises: as for `pre`.
    """
    if format.floating:
        cpu.post(rgb, planes, format, color)
        return
    _run("post", planes, format, color, rgb, dither=dither, launch=launch)


def choose(device: torch.device) -> ColorKernels:
    """These kernels, if they can be built for the device; else torch's own, with a warning that says why."""
    if missing := what_is_missing(device):
        log.warning("colour runs on plain torch, which is slower: %s", missing)
        return cpu
    return cast(ColorKernels, sys.modules[__name__])


def what_is_missing(device: torch.device) -> str:
    """Why these kernels cannot be built for the device, and what to do; empty where they can."""
    try:
        _on_cupy(device).kernel("pre_u8_f32")
    except (UsageError, DeviceError) as failure:
        return str(failure)
    return ""


def _run(
    stage: str,
    planes: Sequence[torch.Tensor],
    format: PixelFormat,
    color: ColorSpec,
    rgb: torch.Tensor,
    *,
    dither: bool,
    launch: Launch | None,
) -> None:
    """What `pre` and `post` share: everything but the name of the kernel."""
    channels, height, width = rgb.shape
    if channels != 3 or rgb.dtype not in _FLOATS:
        names = ", ".join(str(dtype) for dtype in _FLOATS)
        raise UsageError(f"got {rgb.dtype} {list(rgb.shape)} for RGB; the kernels take [3, H, W] of {names}")
    views = components(planes, format, width, height)
    dtype = torch.uint8 if format.dtype.itemsize == 1 else torch.uint16
    if any(view.dtype != dtype or view.device != rgb.device for view in views):
        got = ", ".join(f"{plane.dtype} on {plane.device}" for plane in planes)
        raise UsageError(f"{format.name} takes planes of {dtype} on {rgb.device}, got {got}")
    strides = tuple(view.stride() for view in views)
    params = _params(stage, format, color, width, height, strides, rgb.stride(), dither).copy()
    params["component"]["address"][0, : len(views)] = [view.data_ptr() for view in views]
    params["rgb"]["address"] = rgb.data_ptr()
    threads = (width, height) if stage == "pre" else format.chroma_size(width, height)
    grid = (-(-threads[0] // BLOCK[0]), -(-threads[1] // BLOCK[1]), 1)
    (launch or _on_cupy(rgb.device))(f"{stage}_{_CODES[dtype]}_{_FLOATS[rgb.dtype]}", grid, BLOCK, params)


@lru_cache(maxsize=64)
def _params(
    stage: str,
    format: PixelFormat,
    color: ColorSpec,
    width: int,
    height: int,
    strides: tuple[tuple[int, ...], ...],
    rgb_strides: tuple[int, ...],
    dither: bool,
) -> npt.NDArray[Any]:
    """All of the parameters but the addresses, which are 0."""
    numbers, count, to_rgb = conversion(format, color), len(strides), stage == "pre"
    matrix = np.array(numbers.to_rgb if to_rgb else numbers.from_rgb)
    params = np.zeros(1, PARAMS)
    params["component"]["row"][0, :count], params["component"]["column"][0, :count] = np.transpose(strides)
    for name, stride in zip(("channel", "row", "column"), rgb_strides, strict=True):
        params["rgb"][name] = stride
    params["components"], params["shift"] = count, numbers.shift
    params["dither"], params["code_max"] = dither, numbers.code_max
    params["offset"][0, :count] = numbers.offset
    params["scale"][0, :count] = np.reciprocal(numbers.span) if to_rgb else numbers.span
    params["matrix"][0, : matrix.shape[0], : matrix.shape[1]] = matrix
    chroma = format.chroma_size(width, height)
    params["x"] = _axis(numbers.x, width, chroma[0], up=to_rgb)
    params["y"] = _axis(numbers.y, height, chroma[1], up=to_rgb)
    return params


def _axis(taps: Resampling, luma: int, chroma: int, *, up: bool) -> tuple[Any, ...]:
    return luma, chroma, taps.factor.bit_length() - 1, taps.up_first, sum(taps.up, ()) if up else taps.down


class _CupyLaunch:
    """Launches on one device."""

    def __init__(self, device: torch.device) -> None:
        if device.type != "cuda":
            raise UsageError(f"the CUDA kernels take tensors on a CUDA device, got them on {device}")
        self._cupy = _import_cupy()
        self._device = device
        self._module = self._cupy.RawModule(code=SOURCE.read_text(encoding="ascii"), options=OPTIONS)
        self._kernels: dict[str, Any] = {}

    def __call__(self, name: str, grid: Size, block: Size, params: npt.NDArray[Any]) -> None:
        with torch.cuda.device(self._device), self._cupy.cuda.Stream.from_external(torch.cuda.current_stream()):
            self.kernel(name)(grid, block, (params,))

    def kernel(self, name: str) -> Any:
        """The kernel of that name, built at the first call."""
        if name not in self._kernels:
            try:
                with torch.cuda.device(self._device):
                    self._kernels[name] = self._module.get_function(name)
            except Exception as failure:  # CuPy, NVRTC and the driver each have their own classes
                raise DeviceError(
                    f"the colour kernels cannot be built for {self._device}: {_first_line(failure)}; "
                    f"update the driver, or install what torch was built for: pip install {_extra()}"
                ) from failure
        return self._kernels[name]


@cache
def _on_cupy(device: torch.device) -> _CupyLaunch:
    return _CupyLaunch(device)


def _import_cupy() -> Any:
    """CuPy, if it is built for the CUDA of torch."""
    try:
        import cupy
    except ImportError as failure:
        raise UsageError(f"CuPy is missing ({_first_line(failure)}); pip install {_extra()}") from failure
    built = cupy.cuda.runtime.runtimeGetVersion() // 1000
    if str(built) != _cuda_of_torch():
        raise UsageError(
            f"CuPy is built for CUDA {built}, torch for {torch.version.cuda}; "
            f"pip uninstall cupy-cuda{built}x, then pip install {_extra()}"
        )
    return cupy


def _cuda_of_torch() -> str:
    return (torch.version.cuda or "13").partition(".")[0]


def _extra() -> str:
    return f"'rfdn-stream[cuda{_cuda_of_torch()}]'"


def _first_line(failure: BaseException) -> str:
    return (str(failure).strip() or type(failure).__name__).splitlines()[0]
