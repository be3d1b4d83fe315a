"""How good the weights are on pictures that are never trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from rfdn_stream.evaluation.metrics import psnr_y
from rfdn_stream.evaluation.resize import bicubic
from rfdn_stream.nets.base import Network

Picture = npt.NDArray[np.uint8]

SIDE = 96
"""How much of a picture is looked at, in LR pixels a side: an evaluation costs a few steps."""

BEST_PSNR = 100.0  # dB, for a flat picture that comes out equal: a mean must stay finite


class HeldOut:
    """The middles of the held-out pictures.

    Args:
        pairs: (lr, hr) uint8 [H, W, 3] pictures, a few; may be empty.
        scale: enlargement.
    """

    def __init__(self, pairs: Sequence[tuple[Picture, Picture]], scale: int) -> None:
        self.scale = scale
        self.pairs = [_middle(lr, hr, scale) for lr, hr in pairs]
        self.bicubic = self._mean([bicubic(lr, *hr.shape[:2]) for lr, hr in self.pairs])

    def psnr(self, net: Network) -> float | None:
        """Mean PSNR-Y in dB (`metrics.psnr_y`) of the network, in float32 where it lies; None without pictures."""
        return self._mean([enlarge(net, lr) for lr, _ in self.pairs])

    def _mean(self, made: list[Picture]) -> float | None:
        if not made:
            return None
        values = [psnr_y(ours, hr, self.scale) for ours, (_, hr) in zip(made, self.pairs, strict=True)]
        return float(np.mean(np.minimum(values, BEST_PSNR)))


@torch.inference_mode()
def enlarge(net: Network, picture: Picture) -> Picture:
    """A uint8 [H, W, 3] picture through a network that takes and gives 0..1, rounded to 8 bits."""
    device = next(net.parameters()).device
    x = torch.from_numpy(np.ascontiguousarray(picture)).to(device).permute(2, 0, 1)[None].float() / 255
    y = net(x)[0].clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(y.permute(1, 2, 0).cpu().numpy())


def _middle(lr: Picture, hr: Picture, scale: int) -> tuple[Picture, Picture]:
    top, left = (max(0, (side - SIDE) // 2) for side in lr.shape[:2])
    part = lr[top : top + SIDE, left : left + SIDE]
    height, width = (scale * side for side in part.shape[:2])
    return part, hr[scale * top : scale * top + height, scale * left : scale * left + width]
