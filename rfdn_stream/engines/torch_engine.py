"""The engine on plain torch: every network of the catalogue, every device that torch has."""

from __future__ import annotations

import logging

import torch
from torch import nn
from torch.nn import functional as F

from rfdn_stream.engines.tiling import SMALLEST, largest_tile, run_tiled
from rfdn_stream.errors import DeviceError, UsageError
from rfdn_stream.nets.catalogue import ModelSpec

log = logging.getLogger("rfdn_stream")

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# RAM on a CPU: a job stays below 3 GB, of which libraries take 0.6, and an encoder about 220 bytes for each
# pixel of its pictures (60 of them in its lookahead). The network gets the rest, or at least this much.
CPU_BYTES, CPU_LEAST_BYTES, ENCODER_BYTES_PER_PIXEL = 2_120_000_000, 300_000_000, 220


def choose_precision(asked: str, device: torch.device) -> tuple[str, str]:
    """Settles ``auto``: (precision, why). bf16 only where the CPU multiplies it in hardware."""
    if asked not in ("auto", *DTYPES):
        raise UsageError(f"unknown precision {asked!r}; choose auto, {', '.join(DTYPES)}")
    if device.type != "cpu":
        return ("fp16", "the fastest on a GPU") if asked == "auto" else (asked, "as asked")
    if asked == "fp16":
        raise UsageError("precision fp16 is for GPUs; on a CPU choose fp32, bf16 or auto")
    if asked != "auto":
        return asked, "as asked"
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
        return "bf16", "this CPU multiplies bf16 in hardware"
    return "fp32", "this CPU has no bf16 instructions"


class TorchEngine:
    """The Engine contract (see `base`) on eager torch, channels_last.

    Args:
        network: takes and returns [N, 3, H, W] in [0, 1]; already folded for inference.
        spec: the network's description: scale, minimum size.
        device: where it runs.
        precision: auto, fp32, bf16 or fp16.
        tile: side of the tiles in input pixels, 0 = whole frames, None = whole frames while they fit.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: ModelSpec,
        device: torch.device,
        precision: str = "auto",
        tile: int | None = None,
    ) -> None:
        if tile is not None and tile != 0 and tile < SMALLEST:
            raise UsageError(f"tile {tile} is too small; at least {SMALLEST} px, or 0 for whole frames")
        self.scale = spec.scale
        self.precision, why = choose_precision(precision, device)
        if self.precision not in spec.precisions:
            raise UsageError(
                f"model {spec.name} was not measured in {self.precision}; choose {' or '.join(spec.precisions)}"
            )
        self.description = f"torch {self.precision} channels_last ({why})"
        self.tile = tile
        self._minimum = spec.minimum_size
        self._dtype = DTYPES[self.precision]
        self._bytes_per_pixel = spec.activation_floats_per_pixel * self._dtype.itemsize
        self._network = network.eval().requires_grad_(False).to(device=device, dtype=self._dtype)
        self._network = self._network.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, rgb: torch.Tensor) -> torch.Tensor:
        _, height, width = rgb.shape
        tile = self.tile
        if tile is None:
            tile = largest_tile(height, width, self._max_pixels(rgb))
        while True:
            try:
                return run_tiled(self._whole, rgb, self.scale, tile) if tile else self._whole(rgb)
            except (torch.OutOfMemoryError, RuntimeError) as failure:
                if not _out_of_memory(failure):
                    raise
            # Outside the except clause: the traceback would keep the failed frame's tensors alive.
            tile = (tile or max(height, width)) // 2
            if tile < SMALLEST:
                raise DeviceError(
                    f"out of memory at {width}x{height} even in tiles of {SMALLEST} px; close other programs"
                )
            self.tile = tile
            log.warning("out of memory: going on with tiles of %d px from this frame on", tile)

    def _whole(self, rgb: torch.Tensor) -> torch.Tensor:
        _, height, width = rgb.shape
        x = rgb[None].to(dtype=self._dtype, memory_format=torch.channels_last)
        right, bottom = max(0, self._minimum - width), max(0, self._minimum - height)
        if right or bottom:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        result: torch.Tensor = self._network(x)[0, :, : self.scale * height, : self.scale * width]
        return result

    def _max_pixels(self, rgb: torch.Tensor) -> int:
        """How large a piece of this picture may be for its maps to fit into memory."""
        if rgb.device.type == "cpu":
            pixels = rgb.shape[1] * rgb.shape[2] * self.scale**2
            limit = max(CPU_LEAST_BYTES, CPU_BYTES - ENCODER_BYTES_PER_PIXEL * pixels)
        else:
            limit = torch.cuda.mem_get_info(rgb.device)[0] // 2
        return int(limit // self._bytes_per_pixel)


def _out_of_memory(failure: BaseException) -> bool:
    return isinstance(failure, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate" in str(failure)
