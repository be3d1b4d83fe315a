"""What every implementation of the colour kernels offers; a module with these two functions is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from rfdn_stream.frame import ColorSpec, PixelFormat


class ColorKernels(Protocol):
    """Codes to planar RGB, and back."""

    def pre(self, planes: Sequence[torch.Tensor], format: PixelFormat, color: ColorSpec, out: torch.Tensor) -> None:
        """Fills `out`, float32 (on CUDA also float16, bfloat16) [3, H, W], with RGB in [0, 1] from planes of codes.

        From planes of a floating-point format the values come as they are, outside of [0, 1] too.
        """

    def post(
        self,
        rgb: torch.Tensor,
        planes: Sequence[torch.Tensor],
        format: PixelFormat,
        color: ColorSpec,
        *,
        dither: bool = False,
    ) -> None:
        """Fills planes with codes from `rgb`, a float [3, H, W] of any strides, clamped to [0, 1].

        Planes of a floating-point format take the values unclamped.
        """
