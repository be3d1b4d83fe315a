"""The engine on the project's own C++ code: RFDN on a CPU, faster than anything general."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from rfdn_stream.engines.base import EngineUnavailableError
from rfdn_stream.engines.compared import compare
from rfdn_stream.engines.tiling import SMALLEST, largest_tile, run_tiled
from rfdn_stream.engines.torch_engine import cpu_bytes
from rfdn_stream.engines.winograd.description import layers_of, options_of
from rfdn_stream.engines.winograd.library import Library, NoLibraryError, library
from rfdn_stream.errors import UsageError
from rfdn_stream.nets.catalogue import ModelSpec
from rfdn_stream.nets.fold import fold
from rfdn_stream.nets.rfdn import RFDN

PRECISION = "int16"
LEAST_SNR = 36.0  # dB; noise reaches 43 or more, any mistake in the arithmetic some 10


class WinogradEngine:
    """The Engine contract (see `base`) by Winograd convolutions in int16, on maps of half floats.

    Arguments as for TorchEngine; `precision` is ``auto``, or ``int16``, which is what this engine computes in.

    Args:
        threads: None = as many as torch has.
        code: the library; None = the installed one.

    Raises:
        EngineUnavailableError: this network, precision or machine is not for this engine.
        UsageError: a tile that is not possible.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: ModelSpec,
        device: torch.device,
        precision: str = "auto",
        tile: int | None = None,
        *,
        threads: int | None = None,
        code: Library | None = None,
    ) -> None:
        if device.type != "cpu":
            raise EngineUnavailableError("engine winograd runs on the CPU only; choose engine torch")
        if precision not in ("auto", PRECISION):
            raise EngineUnavailableError(f"engine winograd computes in int16, not in {precision}; choose engine torch")
        if not isinstance(network, RFDN):
            raise EngineUnavailableError(f"engine winograd runs RFDN, not {spec.architecture}; choose engine torch")
        if tile is not None and tile != 0 and tile < SMALLEST:
            raise UsageError(f"tile {tile} is too small; at least {SMALLEST} px, or 0 for whole frames")
        try:
            code = code or library()
        except NoLibraryError as failure:
            raise EngineUnavailableError(f"engine winograd is not there: {failure}; choose engine torch") from failure
        network = network if network.folded else fold(network)
        try:
            self._network = code.network(options_of(network), layers_of(network), threads or torch.get_num_threads())
        except UsageError as failure:
            raise EngineUnavailableError(f"engine winograd cannot hold these weights: {failure}") from failure
        self.scale, self.tile = spec.scale, tile
        self.precision = PRECISION
        self.description = f"winograd int16 on {code.isa_name} (the project's own code for this CPU)"
        self._minimum = spec.minimum_size
        self._result: torch.Tensor | None = None  # of the last size
        compare("winograd", self._whole, network, LEAST_SNR)

    @torch.inference_mode()
    def __call__(self, rgb: torch.Tensor) -> torch.Tensor:
        _, height, width = rgb.shape
        tile = self._tile_for(height, width) if self.tile is None else self.tile
        return run_tiled(self._whole, rgb, self.scale, tile) if tile else self._whole(rgb)

    def _whole(self, rgb: torch.Tensor) -> torch.Tensor:
        _, height, width = rgb.shape
        right, bottom = max(0, self._minimum - width), max(0, self._minimum - height)
        if right or bottom:
            rgb = F.pad(rgb[None], (0, right, 0, bottom), mode="replicate")[0]
        if rgb.stride(2) != 1:
            rgb = rgb.contiguous()
        _, rows, columns = rgb.shape
        size = 3, self.scale * rows, self.scale * columns
        if self._result is None or self._result.shape != size:
            self._result = torch.empty(size)
        strides = rgb.stride(0), rgb.stride(1)
        self._network.run(rgb.data_ptr(), strides, rows, columns, self._result.data_ptr())
        return self._result[:, : self.scale * height, : self.scale * width]

    def _tile_for(self, height: int, width: int) -> int:
        """The tile for frames of a size, by the same limit of memory as torch's engine."""
        taken = self._network.bytes(max(height, self._minimum), max(width, self._minimum))
        return largest_tile(height, width, int(height * width * cpu_bytes(height, width, self.scale) / taken))
