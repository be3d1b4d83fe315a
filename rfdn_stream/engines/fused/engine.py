"""The engine on the project's own kernels for NVIDIA cards, recorded into a CUDA graph for each size."""

from __future__ import annotations

import copy
import logging

import torch
from torch import nn

from rfdn_stream.engines.base import EngineUnavailableError
from rfdn_stream.engines.graph import GraphEngine, Network, Record
from rfdn_stream.engines.torch_engine import DTYPES, choose_precision, no_room_for_network, out_of_memory
from rfdn_stream.nets.catalogue import ModelSpec

log = logging.getLogger("rfdn_stream")

TOLERANCE = 4 / 255  # of full scale, at any sample; between fp16 and fp16 lie 0.0007, in bf16 0.004
LEAST_CAPABILITY = 8, 0  # what Triton supports


class FusedEngine(GraphEngine):
    """A GraphEngine whose network runs in kernels of the project's own, written in Triton: RFDN in 16 bits.

    What they make of the first frame of each size is compared with what torch does; where they differ, or do not run,
    torch goes on, with a warning. Their first frame in a process takes seconds, and some more where Triton has not
    compiled them on this machine before.

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
        why = _refusal(network, spec, device, precision)
        if why:
            raise EngineUnavailableError(f"engine fused {why}; choose engine graph or torch")
        from rfdn_stream.engines.fused.network import FusedNetwork

        untouched = copy.deepcopy(network)
        super().__init__(network, spec, device, precision, tile, multiple=multiple, record=record)
        self._plain, self._network = self._network, self._first
        try:
            self._fused = FusedNetwork(untouched, device, self._dtype)
            self._wait()
        except RuntimeError as failure:
            if not out_of_memory(failure):
                raise
            raise no_room_for_network(device) from failure
        self._bytes_per_pixel = max(self._bytes_per_pixel, self._fused.bytes_per_pixel)

    def _first(self, picture: torch.Tensor) -> torch.Tensor:
        """The network until a choice is made: of a tile, or of a frame that is not recorded."""
        return self._chosen(picture)(picture)

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
                self._network = self._fused
                return self._fused
            log.warning("the fused kernels differ from torch's by %.4f of 1; going on with those, slower", difference)
        self._network = self._plain
        return self._plain


def _refusal(network: nn.Module, spec: ModelSpec, device: torch.device, precision: str) -> str:
    """Why this engine is not for them; empty where it is."""
    if device.type != "cuda":
        return "runs on NVIDIA cards"
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY:
        least, has = (".".join(map(str, each)) for each in (LEAST_CAPABILITY, capability))
        return f"needs compute capability {least} or later, and {device} has {has}"
    if DTYPES[choose_precision(precision, device, spec.precisions)[0]].itemsize != 2:
        return "computes in fp16 or bf16"
    try:
        from rfdn_stream.engines.fused.network import refusal
    except ImportError as failure:
        return f"needs Triton, which does not load here ({failure})"
    return refusal(network)
