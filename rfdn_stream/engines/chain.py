"""Several networks in sequence as one engine: x8 from x2 and x4."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from rfdn_stream.engines.base import Engine, takes_batches


class Chain:
    """See `Engine`. What lies between two networks stays on the device, in float32: it is clamped, never quantised.

    Args:
        engines: two or more on one device, in their order.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.engines = tuple(engines)
        self.scale = math.prod(engine.scale for engine in engines)
        self.precision = ", ".join(dict.fromkeys(engine.precision for engine in engines))
        self.description = ", then ".join(dict.fromkeys(engine.description for engine in engines))
        self.batches = all(map(takes_batches, engines))
        self.prepares = any(getattr(engine, "prepares", False) for engine in engines)

    def __call__(self, rgb: torch.Tensor) -> torch.Tensor:
        first, *others = self.engines
        result = first(rgb)
        for engine in others:
            result = engine(result.float().clamp(0, 1).contiguous())
        return result
