"""The colour kernels of the CPU: torch, float32, a few whole-plane passes each. They run on any other device too.

Sums are written out instead of calling a matrix product or a convolution: torch may run those in bfloat16
(`torch.set_float32_matmul_precision`), and for 3 x 3 they are slower.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from rfdn_stream.frame import ColorSpec, Family, PixelFormat
from rfdn_stream.kernels.colour import Conversion, Resampling, Rows, bayer, components, conversion

# Rows that `post` converts at a time, so that what it holds besides depends on the width alone, and stays near the
# processor. A multiple of 16: the dither's 8 rows, in chroma of half the rows too.
BAND = 256


def pre(planes: Sequence[torch.Tensor], format: PixelFormat, color: ColorSpec, out: torch.Tensor) -> None:
    """Fills `out` with the RGB of a picture, clamped to [0, 1]; within 1e-6 of `reference.to_rgb`.

    Floating-point pictures are not clamped.

    Args:
        planes: in the dtype and the shapes of the format, any strides.
        format, color: what the planes hold.
        out: float32 [3, H, W], any strides.

    Raises:
        MediaError: the planes do not fit `out`, or the colour does not fit the format.
    """
    _, height, width = out.shape
    numbers = conversion(format, color)
    codes = components(planes, format, width, height)
    if format.family == "yuv":
        # What chroma adds to R, G and B is linear too, so it is mixed first, on the small planes.
        tint = _mix(tuple(row[1:] for row in numbers.to_rgb), _decode(codes[1:], numbers, 1))
        tint = functional.pad(tint, (1, 1, 1, 1), mode="replicate")
        tint = _upsample(_upsample(tint, numbers.y, 1, height), numbers.x, 2, width)
        torch.add(tint, _decode(codes[:1], numbers, 0), out=out)
    else:
        out.copy_(_decode(codes, numbers, 0))  # R, G, B; or Y, which is all three
    if not format.floating:
        out.clamp_(0.0, 1.0)


def post(
    rgb: torch.Tensor,
    planes: Sequence[torch.Tensor],
    format: PixelFormat,
    color: ColorSpec,
    *,
    dither: bool = False,
) -> None:
    """Fills planes with the codes of an RGB picture, rounded half up.

    Equal to `reference.quantise(reference.from_rgb(...))`, except where the exact value lies within 1e-4 of a
    rounding edge, or within four float32 steps at the format's largest code where those are coarser.

    Floating-point planes take the values, neither clamped nor rounded, within 1e-6 of the reference.

    Args:
        rgb: float32, bfloat16 or float16 [3, H, W], any strides; clamped to [0, 1], NaN counts as 0; left as it is.
        planes: in the dtype and the shapes of the format, any strides.
        format, color: what the planes shall hold.
        dither: ordered dither (`colour.bayer`) instead of rounding.

    Raises:
        MediaError: the planes do not fit `rgb`, or the colour does not fit the format.
    """
    _, height, width = rgb.shape
    numbers = conversion(format, color)
    targets = components(planes, format, width, height)
    for top in range(0, height, BAND):
        bottom = min(top + BAND, height)
        rows = [(top, bottom)] + [(top // numbers.y.factor, -(-bottom // numbers.y.factor))] * 2
        if format.family == "rgb":
            rows = rows[:1] * 3
        band = [target[first:last] for target, (first, last) in zip(targets, rows)]
        padded = _with_neighbours(rgb, top, bottom)
        if not format.floating:
            padded.nan_to_num_(nan=0.0).clamp_(0.0, 1.0)
        _post_band(padded, numbers, format.family, dither, band)


def _with_neighbours(rgb: torch.Tensor, top: int, bottom: int) -> torch.Tensor:
    """Rows top - 1 to bottom + 2 in float32, those outside the picture repeated from its border."""
    _, height, width = rgb.shape
    first, last = max(top - 1, 0), min(bottom + 2, height)
    padded = torch.empty(3, bottom - top + 3, width, dtype=torch.float32, device=rgb.device)
    inside = padded[:, first - top + 1 : last - top + 1]
    inside.copy_(rgb[:, first:last])
    padded[:, : first - top + 1] = inside[:, :1]
    padded[:, last - top + 1 :] = inside[:, -1:]
    return padded


def _post_band(
    padded: torch.Tensor, numbers: Conversion, family: Family, dither: bool, targets: Sequence[torch.Tensor]
) -> None:
    """Rows of RGB, one more before and two after, into the rows of the target components that belong to them."""
    values = padded[:, 1:-2]
    if family == "rgb":
        _encode(values, numbers, 0, dither, targets)
        return
    _encode(_mix(numbers.from_rgb[:1], values), numbers, 0, dither, targets[:1])
    if family == "yuv":
        chroma = _mix(numbers.from_rgb[1:], _downsample(padded, numbers.y, 1))
        chroma = _downsample(functional.pad(chroma, (1, 2), mode="replicate"), numbers.x, 2)
        _encode(chroma, numbers, 1, dither, targets[1:])


def _decode(codes: Sequence[torch.Tensor], numbers: Conversion, k: int) -> torch.Tensor:
    """The values [n, h, w] of components of one size, the first of which is component k."""
    values = torch.empty(len(codes), *codes[0].shape, dtype=torch.float32, device=codes[0].device)
    for value, code in zip(values, codes):
        value.copy_(code)
    if numbers.shift:  # torch has no shift of uint16; in float32 this one is exact
        values.mul_(2.0**-numbers.shift).floor_()
    return values.sub_(numbers.offset[k]).div_(numbers.span[k])


def _encode(values: torch.Tensor, numbers: Conversion, k: int, dither: bool, targets: Sequence[torch.Tensor]) -> None:
    """Values [n, h, w], which are used up, into the planes of components of one scale, the first component k."""
    if numbers.code_max is None:
        for target, value in zip(targets, values):
            target.copy_(value)
        return
    offset = numbers.offset[k] if dither else numbers.offset[k] + 0.5
    torch.add(torch.tensor(offset, dtype=torch.float32), values, alpha=numbers.span[k], out=values)
    if dither:
        width = values.shape[2]
        thresholds = torch.tensor(bayer(), dtype=torch.float32, device=values.device)
        thresholds = thresholds.repeat(1, -(-width // 8))[:, :width]
        for row in range(8):
            values[:, row::8].add_(thresholds[row])
    values.clamp_(max=numbers.code_max)
    for target, value in zip(targets, values):
        # No value is below 0, so conversion to integer, which cuts, is floor. To uint8 it is faster in two steps.
        codes = value.to(torch.int32)
        if numbers.shift:
            codes <<= numbers.shift
        target.copy_(codes)


def _mix(weights: Rows, values: torch.Tensor) -> torch.Tensor:
    """`weights` [m][n] times `values` [n, h, w], a new [m, h, w]."""
    out = values.new_empty(len(weights), *values.shape[1:])
    for mixed, row in zip(out, weights):
        torch.mul(values[0], row[0], out=mixed)
        for k in range(1, len(row)):
            mixed.add_(values[k], alpha=row[k])
    return out


def _upsample(values: torch.Tensor, taps: Resampling, dim: int, length: int) -> torch.Tensor:
    """Chroma, padded by a sample at both ends of axis `dim`, at the `length` luma samples of that axis."""
    if taps.factor == 1:
        return values.narrow(dim, 1, length)
    shape = list(values.shape)
    shape[dim] = length
    out = values.new_empty(shape)
    for parity, (first, (_, weight)) in enumerate(zip(taps.up_first, taps.up)):
        target = out.transpose(dim, -1)[..., parity::2].transpose(dim, -1)
        low, high = (values.narrow(dim, 1 + first + k, target.shape[dim]) for k in (0, 1))
        torch.lerp(low, high, weight, out=target)
    return out


def _downsample(values: torch.Tensor, taps: Resampling, dim: int) -> torch.Tensor:
    """Full-size samples, padded by one before and two after along axis `dim`, at the chroma samples of that axis."""
    length = values.shape[dim] - 3
    if taps.factor == 1:
        return values.narrow(dim, 1, length)
    samples = values.transpose(dim, -1)
    out = samples[..., 0:length:2] * taps.down[0]
    for k, weight in enumerate(taps.down[1:], 1):
        out.add_(samples[..., k : k + length : 2], alpha=weight)
    return out.transpose(dim, -1)
