"""torch with a CUDA graph for each of the last few shapes: all kernels of a frame, or of a batch, are launched as one.

A graph replays the very kernels, on the very memory, that it was recorded with. So each shape has a picture that is
filled before and a result that is read after; no memory is asked for in between.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from rfdn_stream.engines.torch_engine import TorchEngine, out_of_memory
from rfdn_stream.nets.catalogue import ModelSpec

log = logging.getLogger("rfdn_stream")

KEPT = 4  # shapes, of which a batch is part
WARM_UPS = 2  # runs before recording, in which cuDNN chooses its kernels

Network = Callable[[torch.Tensor], torch.Tensor]


class Record(Protocol):
    """A way to record work."""

    def __call__(self, work: Callable[[], torch.Tensor], /) -> tuple[torch.Tensor, Callable[[], None]]:
        """Runs `work` on the current stream, and returns its result and what does it all again, into that result."""


class CudaGraphs:
    """Records CUDA graphs, which share the memory of what lies between picture and result: one runs at a time."""

    # torch's rule: one recording at a time in a process.
    _recording = threading.Lock()

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, work: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, Callable[[], None]]:
        """See `Record`; the current stream must not be the default one. Waits for the card."""
        stream, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
        with self._recording, searching():
            for _ in range(WARM_UPS):
                work()
            # Other threads may go on using CUDA meanwhile: thread_local.
            with torch.cuda.graph(graph, self._pool, stream, capture_error_mode="thread_local"):
                result = work()
        self._pool = graph.pool()
        return result, graph.replay


@contextmanager
def searching() -> Iterator[None]:
    """Has cuDNN try its kernels and take the fastest, where it meets a shape for the first time in this process.

    What it chose then, in whatever mode, it goes on with: each shape's first run has to be inside.
    """
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@dataclass(frozen=True)
class Shot:
    """A recorded shape."""

    picture: torch.Tensor
    result: torch.Tensor
    replay: Callable[[], None]


class GraphEngine(TorchEngine):
    """The Engine contract (see `base`) by recorded frames; tiles, and frames too small for the network, run plainly.

    Args:
        record: how; None = `CudaGraphs`.
        others: as for TorchEngine.
    """

    how = "CUDA graph"
    prepares = True

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
        super().__init__(network, spec, device, precision, tile, multiple=multiple)
        self._record = record or CudaGraphs()
        self._shots: OrderedDict[torch.Size, Shot | None] = OrderedDict()

    def _frames(self, rgb: torch.Tensor) -> torch.Tensor:
        shot = self._shot(rgb)
        if shot is None:
            return self._whole(rgb)
        shot.picture.copy_(rgb)
        shot.replay()
        return shot.result

    def _shot(self, rgb: torch.Tensor) -> Shot | None:
        """What was recorded for this shape [N, 3, H, W]; None where that is not possible."""
        if min(rgb.shape[2:]) < self._minimum:
            return None
        if rgb.shape not in self._shots:
            if len(self._shots) == KEPT:
                self._wait()  # it may still be running
                self._shots.popitem(last=False)
            self._shots[rgb.shape] = self._recorded(rgb)
        self._shots.move_to_end(rgb.shape)
        return self._shots[rgb.shape]

    def _recorded(self, rgb: torch.Tensor) -> Shot | None:
        picture = torch.empty(rgb.shape, dtype=self._dtype, device=self._device, memory_format=torch.channels_last)
        picture.copy_(rgb)
        with searching():
            network = self._chosen(picture)
        try:
            result, replay = self._record(lambda: network(picture))
        except RuntimeError as failure:
            if out_of_memory(failure):
                raise
            log.warning(
                "no CUDA graph for frames of %dx%d, going on without, which is slower: %s",
                rgb.shape[3],
                rgb.shape[2],
                str(failure).partition("\n")[0],
            )
            return None
        return Shot(picture, result, replay)

    def _chosen(self, picture: torch.Tensor) -> Network:
        """What is recorded for pictures of this shape [N, 3, H, W]."""
        return self._network

    def _give_back(self) -> None:
        self._wait()
        self._shots.clear()
        super()._give_back()
