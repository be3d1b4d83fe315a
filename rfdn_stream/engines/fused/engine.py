"""The engine on the project's own kernels for NVIDIA cards, recorded into a CUDA graph for each size."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from torch import nn

from rfdn_stream.engines.base import EngineUnavailableError
from rfdn_stream.engines.graph import GraphEngine, Network, Record
from rfdn_stream.engines.torch_engine import out_of_memory
from rfdn_stream.nets.catalogue import ModelSpec

if TYPE_CHECKING:
    from rfdn_stream.engines.fused.network import FusedNetwork

log = logging.getLogger("rfdn_stream")

TOLERANCE = 4 / 255  # of full scale, at any sample
LEAST_CAPABILITY = 8, 0


class FusedEngine(GraphEngine):
    """A GraphEngine whose network runs in kernels of the project's own, written in Triton: RFDN in 16 bits.

    What they make of the first frame of each size is compared with what torch does; where they differ, or do not run,
    torch goes on, with a warning.

    Args:
        others: as for GraphEngine.

    Raises:
        EngineUnavailableError: no Triton, or this network, precision or card is not for this engine.
    """

    how = "fused kernels"

    def __init__(
        self,
        network: nn.Module,
        spec: ModelSpec,
        device: torch.device,
        precision: str = "auto",
        tile: int | None = None,
        *,
        multiple: int | None = None,
        record: Record | None = None,
    ) -> None:
        _check_card(device)
        super().__init__(network, spec, device, precision, tile, multiple=multiple, record=record)
        self._plain: Network = self._network
        self._fused = _fused(network, device, self._dtype)
        self._network: Network = self._fused
        self._bytes_per_pixel = max(self._bytes_per_pixel, self._fused.bytes_per_pixel)

    def _chosen(self, picture: torch.Tensor) -> Network:
        if self._network is self._plain:
            return self._plain
        try:
            got = self._fused(picture)
        except Exception as failure:  # Triton, its compiler and the driver each have their own classes
            if out_of_memory(failure):
                raise
            said = (str(failure).strip() or type(failure).__name__).splitlines()[0]
            log.warning("the fused kernels do not run here: %s; going on with torch's, which are slower", said)
        else:
            difference = float((got.float() - self._plain(picture).float()).abs().max())
            if difference <= TOLERANCE:  # false for NaN, too
                return self._fused
            log.warning("the fused kernels differ from torch's by %.4f of 1; going on with those", difference)
        self._network = self._plain
        return self._plain


def _check_card(device: torch.device) -> None:
    if device.type != "cuda":
        raise EngineUnavailableError("engine fused runs on NVIDIA cards; choose engine torch")
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY:
        least, has = (".".join(map(str, each)) for each in (LEAST_CAPABILITY, capability))
        raise EngineUnavailableError(f"engine fused needs compute capability {least}, {device} has {has}; choose graph")


def _fused(network: nn.Module, device: torch.device, dtype: torch.dtype) -> FusedNetwork:
    try:
        from rfdn_stream.engines.fused.network import FusedNetwork
    except ImportError as failure:
        raise EngineUnavailableError(
            f"engine fused needs Triton, which is not there ({failure}); choose engine graph"
        ) from failure
    if dtype.itemsize != 2:
        raise EngineUnavailableError("engine fused computes in fp16 or bf16; choose engine graph")
    try:
        return FusedNetwork(network, device, dtype)
    except ValueError as failure:
        raise EngineUnavailableError(f"engine fused cannot run this model: {failure}; choose engine graph") from failure
