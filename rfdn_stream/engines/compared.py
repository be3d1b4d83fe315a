"""A small picture through an engine and through torch in fp32, before the engine is trusted: for a machine that nobody
has tried."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import nn

from rfdn_stream.engines.base import EngineUnavailableError

log = logging.getLogger("rfdn_stream")

SIZE = 45, 61  # rows and columns: whole tiles, parts of tiles, edges


@torch.inference_mode()
def compare(name: str, run: Callable[[torch.Tensor], torch.Tensor], network: nn.Module, least: float) -> None:
    """Has `run`, [3, H, W] to [3, scale*H, scale*W], enlarge a picture of waves and noise.

    Args:
        name: the engine's.
        network: folded for inference, float32 on the CPU.
        least: signal to noise that the engine must reach, in dB.

    Raises:
        EngineUnavailableError: it does not.
    """
    y, x = torch.meshgrid(*(torch.arange(size) for size in SIZE), indexing="ij")
    waves = torch.stack([torch.sin(x * a + y * b) for a, b in ((0.2, 0.1), (0.05, 0.3), (0.7, 0.02))])
    picture = 0.5 + 0.4 * waves + 0.1 * torch.rand(waves.shape, generator=torch.Generator().manual_seed(0))
    want = network(picture[None])[0]
    difference = run(picture) - want
    snr = float(10 * torch.log10(want.square().mean() / difference.square().mean().clamp_min(1e-30)))
    if snr >= least:
        log.debug("engine %s: %.1f dB to torch in fp32", name, snr)
        return
    if torch.isfinite(difference).all():  # else the weights are at fault: their maps leave the engine's numbers
        log.warning("engine %s is not used: it reaches %.1f dB of torch's fp32 here, not %.0f", name, snr, least)
    raise EngineUnavailableError(f"engine {name} reaches {snr:.1f} dB of fp32 here; choose engine torch")
