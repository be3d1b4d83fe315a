"""The lighter precision that a ladder may go down to: only where the user asked for a heavier one than is usual."""

from __future__ import annotations

from collections.abc import Callable

import torch

from rfdn_stream.engines.base import Engine
from rfdn_stream.engines.torch_engine import choose_precision
from rfdn_stream.live.stepped import Twin
from rfdn_stream.nets.base import Network
from rfdn_stream.nets.catalogue import ModelSpec
from rfdn_stream.upscaler import Upscaler


def lighter_twin(upscaler: Upscaler, network: Callable[[], Network]) -> tuple[str, Twin] | None:
    """The precision that ``auto`` would have chosen, if it is lighter than the one in use, and what makes it.

    None for networks in sequence, too.

    Args:
        network: opens the same weights again.
    """
    used = upscaler.engine.precision
    usual, _ = choose_precision("auto", upscaler.device.torch_device, upscaler.model.precisions)
    if used != "fp32" or usual == used or len(upscaler.models) > 1:
        return None

    def make(engine: Engine, spec: ModelSpec, device: torch.device) -> Engine:
        made: Engine = type(engine)(network(), spec, device, usual, getattr(engine, "tile", None))  # type: ignore[call-arg]
        return made

    return usual, make
