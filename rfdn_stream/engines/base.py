"""What an engine is: something that enlarges planar RGB on the device's compute stream."""

from __future__ import annotations

from typing import Protocol

import torch

from rfdn_stream.errors import UsageError


class EngineUnavailableError(UsageError):
    """An engine that is not for this network, precision or machine; ``auto`` goes on to the next one."""


class Engine(Protocol):
    """Runs one network at one precision on one device.

    Attributes:
        scale: output pixels per input pixel, each way.
        precision: ``fp32``, ``bf16``, ``fp16`` or ``int16``; what the network computes in.
        description: one line for people: which engine, which precision, and why.

    An engine whose attribute `batches` is true takes several pictures of one size at once, too; one whose
    attribute `prepares` is true takes long to get ready for each new size. It need not have either.
    """

    scale: int
    precision: str
    description: str

    def __call__(self, rgb: torch.Tensor) -> torch.Tensor:
        """Enlarges a picture, or each of a batch.

        Args:
            rgb: float32 [3, H, W] in [0, 1] on the engine's device; any size from 1x1. With `batches` [N, 3, H, W] too.

        Returns:
            [3, scale*H, scale*W], with N in front where it was, nominally in [0, 1] (not clamped), in any float dtype
            and any strides; it belongs to the caller until the next call.
        """
