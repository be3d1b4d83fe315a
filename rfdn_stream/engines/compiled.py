"""torch.compile: layers fused by Inductor, so that fewer maps travel to memory and back; and then a CUDA graph."""

from __future__ import annotations

import logging

import torch
from torch import nn

from rfdn_stream.engines.graph import GraphEngine, Network, Record
from rfdn_stream.engines.torch_engine import out_of_memory
from rfdn_stream.errors import UsageError
from rfdn_stream.nets.catalogue import ModelSpec

log = logging.getLogger("rfdn_stream")

TOLERANCE = 2 / 255  # of full scale, at any sample


class CompiledEngine(GraphEngine):
    """A GraphEngine whose network is compiled for each size, which takes a minute or so at its first frame.

    What the compiled network makes of that frame is compared with what the plain one does; where they differ, the
    plain one goes on, with a warning.

    Args:
        backend: of torch.compile.
        others: as for GraphEngine.
    """

    how = "torch.compile"
    batches = False  # the last frames of a clip would be one more shape, and take a minute

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
        backend: str = "inductor",
    ) -> None:
        super().__init__(network, spec, device, precision, tile, multiple=multiple, record=record)
        self._compiled: Network = torch.compile(self._network, dynamic=False, backend=backend)

    def _chosen(self, picture: torch.Tensor) -> Network:
        try:
            got = self._compiled(picture)
        except Exception as failure:  # Inductor, Triton and the C++ compiler each have their own classes
            if out_of_memory(failure):
                raise
            # torch's first line tells which backend, the second what it said.
            said = " ".join((str(failure).strip() or type(failure).__name__).splitlines()[:2])
            raise UsageError(f"torch.compile does not work here: {said}; choose engine graph") from failure
        difference = float((got.float() - self._network(picture).float()).abs().max())
        if difference <= TOLERANCE:  # false for NaN, too
            return self._compiled
        log.warning("the compiled network differs from the plain one by %.4f of 1; going on with that one", difference)
        return super()._chosen(picture)
