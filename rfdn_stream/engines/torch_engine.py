"""The engine on plain torch: every network of the catalogue, every device that torch has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from rfdn_stream.engines.base import one_by_one
from rfdn_stream.engines.padding import pad_channels
from rfdn_stream.engines.tiling import SMALLEST, largest_tile, run_tiled
from rfdn_stream.errors import DeviceError, UsageError
from rfdn_stream.nets.catalogue import ModelSpec

log = logging.getLogger("rfdn_stream")

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# RAM on a CPU: a job stays below 3 GB, of which libraries take 0.6, and an encoder about 220 bytes for each
# pixel of its pictures (60 of them in its lookahead). The network gets the rest, or at least this much.
CPU_BYTES, CPU_LEAST_BYTES, ENCODER_BYTES_PER_PIXEL = 2_120_000_000, 300_000_000, 220
# The part of a card's free memory that maps may take; convolutions want workspace besides, and padded maps are larger.
GPU_SHARE = 0.6
PADDED_TO = 8  # channels; what tensor cores take at a time in 16 bits


def cpu_bytes(height: int, width: int, scale: int) -> int:
    """What the network may take of a CPU's memory for frames of that size."""
    return max(CPU_LEAST_BYTES, CPU_BYTES - ENCODER_BYTES_PER_PIXEL * height * width * scale**2)


def choose_precision(asked: str, device: torch.device, measured: Sequence[str] = tuple(DTYPES)) -> tuple[str, str]:
    """Settles ``auto``: (precision, why), among those that the model was measured in.

    bf16 only where the processor or the card multiplies it in hardware.
    """
    if asked not in ("auto", *DTYPES):
        raise UsageError(f"unknown precision {asked!r}; choose auto, {', '.join(DTYPES)}")
    if device.type == "cpu" and asked == "fp16":
        raise UsageError("precision fp16 is for GPUs; on a CPU choose fp32, bf16 or auto")
    if asked != "auto":
        # torch's own setting for convolutions: 10 bits of each factor, where the card has the units for it.
        tf32 = device.type == "cuda" and asked == "fp32" and torch.backends.cudnn.allow_tf32
        return asked, "as asked, multiplied in TF32" if tf32 else "as asked"
    if device.type == "cpu":
        return _best_on_cpu() if "bf16" in measured else ("fp32", "the model was measured in nothing faster")
    if "fp16" in measured:
        return "fp16", "the fastest on a GPU"
    if "bf16" in measured and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16", "the model was not measured in fp16"
    return "fp32", "the model was measured in nothing faster that this card has"


def _best_on_cpu() -> tuple[str, str]:
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
        return "bf16", "this CPU multiplies bf16 in hardware"
    return "fp32", "this CPU has no bf16 instructions"


class TorchEngine:
    """The Engine contract (see `base`) on eager torch, channels_last.

    Args:
        network: takes and returns [N, 3, H, W] in [0, 1]; already folded for inference. It is the engine's own
            from then on: its weights are brought to the device and the precision.
        spec: the network's description: scale, minimum size.
        device: where it runs.
        precision: auto, fp32, bf16 or fp16.
        tile: side of the tiles in input pixels, 0 = whole frames, None = whole frames while they fit.
        multiple: what the channels are padded to a multiple of (`padding`); None = 8 for 16 bits on a GPU, else 1.

    Raises:
        UsageError: a precision or tile that is not possible.
        DeviceError: no memory for the network.
    """

    how = "torch"
    batches = True

    def __init__(
        self,
        network: nn.Module,
        spec: ModelSpec,
        device: torch.device,
        precision: str = "auto",
        tile: int | None = None,
        *,
        multiple: int | None = None,
    ) -> None:
        if tile is not None and tile != 0 and tile < SMALLEST:
            raise UsageError(f"tile {tile} is too small; at least {SMALLEST} px, or 0 for whole frames")
        self.scale = spec.scale
        self.precision, why = choose_precision(precision, device, spec.precisions)
        if self.precision not in spec.precisions:
            raise UsageError(
                f"model {spec.name} was not measured in {self.precision}; choose {' or '.join(spec.precisions)}"
            )
        self.description = f"{self.how} {self.precision} channels_last ({why})"
        self.tile = tile
        self._minimum = spec.minimum_size
        self._dtype = DTYPES[self.precision]
        self._bytes_per_pixel = spec.activation_floats_per_pixel * self._dtype.itemsize
        self._device = device
        self._tiles: dict[tuple[int, int, int], int] = {}
        self._alone = False  # whether memory was too small for a batch
        if multiple is None:
            multiple = PADDED_TO if device.type == "cuda" and self._dtype.itemsize == 2 else 1
        network = pad_channels(network, multiple).eval().requires_grad_(False)
        try:
            network = network.to(device=device, dtype=self._dtype)
            self._network: Callable[[torch.Tensor], torch.Tensor] = network.to(memory_format=torch.channels_last)
            self._wait()  # the weights may be used on any stream from now on
        except RuntimeError as failure:
            if not out_of_memory(failure):
                raise
            raise no_room_for_network(device) from failure

    @torch.inference_mode()
    def __call__(self, rgb: torch.Tensor) -> torch.Tensor:
        if rgb.ndim == 4:
            return self._batch(rgb)
        _, height, width = rgb.shape
        tile = self._tile_for(height, width) if self.tile is None else self.tile
        while True:
            try:
                if tile:
                    return run_tiled(lambda piece: self._whole(piece[None])[0], rgb, self.scale, tile)
                return self._frames(rgb[None])[0]
            except RuntimeError as failure:
                if not out_of_memory(failure):
                    raise
            # Outside the except clause: the traceback would keep the failed frame's tensors alive.
            self._give_back()
            tile = (tile or max(height, width)) // 2
            if tile < SMALLEST:
                raise DeviceError(
                    f"out of memory at {width}x{height} even in tiles of {SMALLEST} px; close other programs"
                )
            self.tile = tile
            log.warning("out of memory: going on with tiles of %d px from this frame on", tile)

    def _batch(self, rgb: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] at once, or one after the other where they do not fit into memory together."""
        count, _, height, width = rgb.shape
        tile = self._tile_for(height, width, count) if self.tile is None else self.tile
        if not (tile or self._alone):
            try:
                return self._frames(rgb)
            except RuntimeError as failure:
                if not out_of_memory(failure):
                    raise
            self._give_back()
            self._alone = True
            log.warning("out of memory: going on with one frame at a time")
        return one_by_one(self, rgb)

    def _frames(self, rgb: torch.Tensor) -> torch.Tensor:
        """Whole frames [N, 3, H, W], where they fit into memory."""
        return self._whole(rgb)

    def _whole(self, rgb: torch.Tensor) -> torch.Tensor:
        *_, height, width = rgb.shape
        x = rgb
        right, bottom = max(0, self._minimum - width), max(0, self._minimum - height)
        if right or bottom:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        x = x.to(dtype=self._dtype, memory_format=torch.channels_last)
        result: torch.Tensor = self._network(x)[..., : self.scale * height, : self.scale * width]
        return result

    def _tile_for(self, height: int, width: int, count: int = 1) -> int:
        """The tile for so many frames of a size at once, settled once: later much of the memory in use is our own."""
        size = count, height, width
        if size not in self._tiles:
            self._tiles[size] = largest_tile(height, width, self._max_pixels(height, width) // count)
        return self._tiles[size]

    def _max_pixels(self, height: int, width: int) -> int:
        """How large a piece of a picture may be for its maps to fit into memory."""
        if self._device.type == "cpu":
            limit = cpu_bytes(height, width, self.scale)
        else:
            kept = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
            limit = int(GPU_SHARE * (torch.cuda.mem_get_info(self._device)[0] + kept))
        return int(limit // self._bytes_per_pixel)

    def _give_back(self) -> None:
        """Frees what is only kept for speed."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _wait(self) -> None:
        """Waits for the current stream of a card. Not for every frame.

        Never for the whole card: that is an error while another thread records a graph.
        """
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()


def no_room_for_network(device: torch.device) -> DeviceError:
    """The error of a device whose memory is full before the first frame."""
    return DeviceError(
        f"{device} has no memory left for the network; end other programs that use it, or choose --device cpu"
    )


_NO_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")


def out_of_memory(failure: BaseException) -> bool:
    """Whether torch, the driver, cuDNN or cuBLAS found no memory."""
    return isinstance(failure, torch.OutOfMemoryError) or any(words in str(failure) for words in _NO_MEMORY)
