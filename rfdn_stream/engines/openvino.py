"""The engine on OpenVINO: every network of the catalogue on a CPU, from the graph that `nets.onnx` writes.

A graph is compiled for each of the last few sizes. One for any size would be as fast, but holds twice the memory: where
sizes are known, OpenVINO plans which maps can lie where others were.
"""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import nn
from torch.nn import functional as F

from rfdn_stream.engines.base import EngineUnavailableError
from rfdn_stream.engines.compared import compare
from rfdn_stream.engines.tiling import SMALLEST, largest_tile, run_tiled
from rfdn_stream.engines.torch_engine import cpu_bytes
from rfdn_stream.errors import DeviceError, UsageError
from rfdn_stream.nets.base import Network
from rfdn_stream.nets.catalogue import ModelSpec
from rfdn_stream.nets.fold import fold

log = logging.getLogger("rfdn_stream")

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}  # ours, and OpenVINO's names of them
LEAST_SNR = {"fp32": 80.0, "bf16": 25.0}  # dB, of a small picture; any mistake in the arithmetic leaves some 10
KEPT = 4  # sizes
FILES = 32  # compiled graphs on disk, about 2 MB each
# What it holds, as a multiple of torch's maps in float32: 1.3 to 1.4 measured for E-RFDN, 1.8 for IMDN.
HELD = 1.85


class OpenVinoEngine:
    """The Engine contract (see `base`) by OpenVINO's plugin for CPUs.

    Arguments as for TorchEngine; `precision` is ``auto``, ``fp32``, or ``bf16`` where the processor has it.

    Args:
        threads: None = as many as torch has.
        cache: folder of compiled graphs, which OpenVINO names after the graph, its weights, its options and its own
            version; None = in the user's cache.

    Raises:
        EngineUnavailableError: OpenVINO is not installed, or this network, precision or machine is not for it.
        UsageError: a tile that is not possible.
    """

    prepares = True

    def __init__(
        self,
        network: nn.Module,
        spec: ModelSpec,
        device: torch.device,
        precision: str = "auto",
        tile: int | None = None,
        *,
        threads: int | None = None,
        cache: Path | None = None,
    ) -> None:
        if device.type != "cpu":
            raise EngineUnavailableError("engine openvino runs on the CPU only; choose engine torch")
        if tile is not None and tile != 0 and tile < SMALLEST:
            raise UsageError(f"tile {tile} is too small; at least {SMALLEST} px, or 0 for whole frames")
        assert isinstance(network, Network)
        network = network if network.folded else fold(network)
        try:
            import openvino

            from rfdn_stream.nets.onnx import to_onnx
        except (ImportError, OSError) as failure:
            missing = failure.name if isinstance(failure, ModuleNotFoundError) else None
            why = f"the package {missing} is not installed" if missing else f"its package does not load ({failure})"
            raise EngineUnavailableError(
                f"engine openvino is not there: {why}; pip install 'rfdn-stream[openvino]', or choose engine torch"
            ) from None
        self._core = openvino.Core()
        self.precision, why = _choose_precision(precision, spec, self._core)
        self.scale, self.tile = spec.scale, tile
        version = openvino.__version__.partition("-")[0]
        self.description = f"openvino {version} {self.precision} ({why})"
        self._minimum = spec.minimum_size
        self._bytes_per_pixel = HELD * torch.float32.itemsize * spec.activation_floats_per_pixel
        self._graph: bytes = to_onnx(network, {}).SerializeToString()
        self._options = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[self.precision],
            "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # decoders, encoders and other programs want processors too
            **_cache_option(cache or Path(platformdirs.user_cache_dir("rfdn-stream", appauthor=False)) / "openvino"),
        }
        self._requests: OrderedDict[tuple[int, int], Any] = OrderedDict()
        compare("openvino", self._whole, network, LEAST_SNR[self.precision])

    @torch.inference_mode()
    def __call__(self, rgb: torch.Tensor) -> torch.Tensor:
        _, height, width = rgb.shape
        limit = int(cpu_bytes(height, width, self.scale) / self._bytes_per_pixel)
        tile = largest_tile(height, width, limit) if self.tile is None else self.tile
        return run_tiled(self._whole, rgb, self.scale, tile) if tile else self._whole(rgb)

    def _whole(self, rgb: torch.Tensor) -> torch.Tensor:
        _, height, width = rgb.shape
        x = rgb[None]
        right, bottom = max(0, self._minimum - width), max(0, self._minimum - height)
        if right or bottom:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        try:
            request = self._request(x.shape[2], x.shape[3])
            result = request.infer([x.contiguous().numpy()], share_inputs=True, share_outputs=True)[0]
        except RuntimeError as failure:  # OpenVINO's only class; its last line is the cause
            said = (str(failure).strip().splitlines() or ["no reason given"])[-1]
            raise DeviceError(
                f"OpenVINO failed at {width}x{height}: {said}; smaller tiles need less, or choose engine torch"
            ) from failure
        return torch.from_numpy(result)[0, :, : self.scale * height, : self.scale * width]

    def _request(self, height: int, width: int) -> Any:
        """What runs the network on pictures of that size, compiled when it is first asked for."""
        size = height, width
        if size not in self._requests:
            if len(self._requests) == KEPT:
                self._requests.popitem(last=False)
            model = self._core.read_model(model=self._graph)
            model.reshape([1, 3, height, width])
            self._requests[size] = self._core.compile_model(model, "CPU", self._options).create_infer_request()
        self._requests.move_to_end(size)
        return self._requests[size]


def _choose_precision(asked: str, spec: ModelSpec, core: Any) -> tuple[str, str]:
    """Settles ``auto``: (precision, why). bf16 only where the processor multiplies it, and the model was measured so.

    OpenVINO itself would quietly take float32 where bf16 is not there.
    """
    there = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if asked not in ("auto", *PRECISIONS):
        raise EngineUnavailableError(
            f"engine openvino computes in {' or '.join(PRECISIONS)}, not in {asked}; choose engine torch"
        )
    if asked == "bf16" and not there:
        raise EngineUnavailableError("engine openvino has no bf16 on this CPU; choose precision fp32, or engine torch")
    if asked != "auto" and asked not in spec.precisions:
        raise UsageError(f"model {spec.name} was not measured in {asked}; choose {' or '.join(spec.precisions)}")
    if asked != "auto":
        return asked, "as asked"
    if not there:
        return "fp32", "this CPU has no bf16 instructions"
    if "bf16" not in spec.precisions:
        return "fp32", "the model was measured in nothing faster"
    return "bf16", "this CPU multiplies bf16 in hardware"


def _cache_option(folder: Path) -> dict[str, str]:
    """Has compiled graphs kept in that folder, the newest of them; nothing where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = sorted(folder.glob("*.blob"), key=lambda file: file.stat().st_mtime, reverse=True)
    except OSError as failure:
        log.info("compiled graphs are not kept: %s: %s", folder, failure.strerror)
        return {}
    for file in files[FILES:]:
        with contextlib.suppress(OSError):  # another process has it open, or has removed it
            file.unlink()
    return {"CACHE_DIR": str(folder)}
