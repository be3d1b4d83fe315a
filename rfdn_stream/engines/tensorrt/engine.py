"""The engine on TensorRT: every network of the catalogue on NVIDIA cards, from the graph that `nets.onnx` writes.

A plan (TensorRT's word for a compiled network) is built for each size, and kept on disk. It has not run on a card yet.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import nn

from rfdn_stream.engines.base import EngineUnavailableError
from rfdn_stream.engines.graph import GraphEngine, Record, Shot
from rfdn_stream.engines.tensorrt.api import TensorRT, not_installed
from rfdn_stream.engines.tensorrt.plans import Plans
from rfdn_stream.engines.torch_engine import choose_precision
from rfdn_stream.nets.base import Network
from rfdn_stream.nets.catalogue import ModelSpec

log = logging.getLogger("rfdn_stream")

TOLERANCE = 4 / 255  # of full scale, at any sample
PRECISIONS = "fp16", "fp32"


class TensorRTEngine(GraphEngine):
    """A GraphEngine whose frames TensorRT runs; the first one of a size, for which it builds, takes a minute or more.

    What it makes of that frame is compared with what torch does; where they differ, that size goes on as in a
    GraphEngine, with a warning. Tiles run on plain torch.

    Args:
        cache: folder of plans; None = in the user's cache.
        others: as for GraphEngine.

    Raises:
        EngineUnavailableError: TensorRT is not there, or this precision or machine is not for it.
    """

    how = "TensorRT"
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
        cache: Path | None = None,
    ) -> None:
        _check_card(device)
        settled, why = choose_precision(precision, device, spec.precisions)
        if settled not in PRECISIONS:
            raise EngineUnavailableError(
                f"engine tensorrt computes in {' or '.join(PRECISIONS)}, not in {settled}; choose engine graph"
            )
        self._tensorrt = TensorRT(device)
        assert isinstance(network, Network)
        self._graph = _graph(network, settled)  # before the weights go to the card
        super().__init__(network, spec, device, precision, tile, multiple=multiple, record=record)
        self.description = f"TensorRT {self._tensorrt.version} {self.precision} ({why})"
        self._plans = Plans(cache or Path(platformdirs.user_cache_dir("rfdn-stream", appauthor=False)) / "tensorrt")

    def _recorded(self, rgb: torch.Tensor) -> Shot | None:
        shot = self._planned(rgb)
        shot.picture.copy_(rgb)
        shot.replay()
        difference = float((shot.result - self._whole(rgb).float()).abs().max())
        if difference <= TOLERANCE:  # false for NaN, too
            return shot
        log.warning("TensorRT's pictures differ from torch's by %.4f of 1; going on with those", difference)
        return super()._recorded(rgb)

    def _planned(self, rgb: torch.Tensor) -> Shot:
        """Pictures of this shape [N, 3, H, W] by TensorRT."""
        count, _, height, width = rgb.shape
        picture = torch.empty(rgb.shape, device=self._device)
        result = torch.empty(count, 3, self.scale * height, self.scale * width, device=self._device)
        return Shot(picture, result, self._tensorrt.runner(self._loaded(rgb.shape), input=picture, output=result))

    def _loaded(self, shape: torch.Size) -> Any:
        """TensorRT's engine for a shape: from disk, or built."""
        from rfdn_stream.nets.onnx import of_one_size

        graph = of_one_size(self._graph, shape, self.scale)
        tf32 = torch.backends.cudnn.allow_tf32
        card = torch.cuda.get_device_properties(self._device)
        key = {
            "graph": hashlib.sha256(graph).hexdigest(),  # weights, precision and size are in it
            "tensorrt": self._tensorrt.version,
            "card": f"{card.name} {card.major}.{card.minor} {card.multi_processor_count}",
            "tf32": tf32,
        }
        plan = self._plans.get(key)
        engine = None if plan is None else self._tensorrt.load(plan)
        if engine is None:
            log.info("TensorRT builds the network for %dx%d, which takes a minute or more", shape[3], shape[2])
            torch.cuda.empty_cache()  # it tries kernels in memory of the driver's
            plan = self._tensorrt.build(graph, tf32=tf32)
            self._plans.keep(key, plan)
            engine = self._tensorrt.load(plan)
        return engine

    def _give_back(self) -> None:
        self._wait()
        self._tensorrt.give_back()
        super()._give_back()


def _check_card(device: torch.device) -> None:
    if device.type != "cuda":
        raise EngineUnavailableError("engine tensorrt runs on NVIDIA cards; choose engine torch")


def _graph(network: Network, precision: str) -> Any:
    """The network as an `onnx.ModelProto`."""
    try:
        from rfdn_stream.nets.onnx import to_onnx
    except ModuleNotFoundError as failure:
        raise not_installed(str(failure.name)) from None
    return to_onnx(network, {}, fp16=precision == "fp16")
