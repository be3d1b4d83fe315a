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

    An engine whose attribute `batches` is true takes several pictures of one size at once, too; it need not have one.
    Any other gets them one after the other (`enlarge`). One whose attribute `prepares` is true takes long to get ready
    for each new size.
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


def takes_batches(engine: Engine) -> bool:
    """Whether it takes several pictures at once."""
    return bool(getattr(engine, "batches", False))


def enlarge(engine: Engine, rgb: torch.Tensor) -> torch.Tensor:
    """A batch [N, 3, H, W] by any engine; one picture as if it were alone. Returns what the engine does, N in front."""
    if len(rgb) == 1:
        return engine(rgb[0])[None]
    return engine(rgb) if takes_batches(engine) else one_by_one(engine, rgb)


def one_by_one(engine: Engine, rgb: torch.Tensor) -> torch.Tensor:
    """[N, 3, H, W] by an engine that is to have one picture at a time; float32 [N, 3, scale*H, scale*W], new."""
    count, _, height, width = rgb.shape
    results = rgb.new_empty(count, 3, engine.scale * height, engine.scale * width)
    for result, picture in zip(results, rgb):
        result.copy_(engine(picture))
    return results
