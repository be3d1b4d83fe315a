"""A card as FFmpeg and torch share it: NVDEC's pictures become tensors, tensors become NVENC's pictures.

No sample passes through the host. Both libraries work in torch's CUDA context of the card, and each is told where
the other's pictures lie by DLPack.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from av.video.frame import CudaContext, VideoFrame
from av.video.plane import VideoPlane

from rfdn_stream.frame import CardPlane, Layout, PixelFormat

if TYPE_CHECKING:
    import torch

FORMATS_ON_CARD = ("nv12", "p010le")
"""Pixel formats that DLPack carries between FFmpeg and torch on a card."""

TORCH_CONTEXT: dict[str, object] = {"primary_ctx": "0", "current_ctx": "1"}
"""What FFmpeg is told, so that it takes the context that torch has made current instead of one of its own."""

# NVENC reads rows; a pitch of whole 256-byte lines suits every card.
_PITCH = 256


class Card:
    """One CUDA card. torch is imported, and the card touched, at the first use of a method.

    Args:
        index: as CUDA counts the cards.
    """

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self._context: CudaContext | None = None

    @contextmanager
    def current(self) -> Iterator[None]:
        """Makes torch's context of the card the calling thread's; FFmpeg takes that one if it is asked inside."""
        import torch

        with torch.cuda.device(self.index):
            # A context comes into being with the first work. To wait for the card instead would hold up its streams,
            # and is an error while another thread records a graph.
            self._mark()
            yield

    def planes(self, picture: VideoFrame) -> tuple[CardPlane, ...]:
        """A decoded picture's planes, where they lie; they keep it alive."""
        ready = self._mark()
        return tuple(CardPlane(self._borrowed(plane), ready) for plane in picture.planes)

    def surface(self, layout: Layout) -> tuple[CardPlane, ...]:
        """Planes for a picture of `FORMATS_ON_CARD`, uninitialised, as NVENC wants them: one pitch, no gap between."""
        import torch

        itemsize, (luma, chroma) = layout.format.dtype.itemsize, layout.shapes
        pitch = -(-layout.width * itemsize // _PITCH) * _PITCH
        memory = self._empty(pitch * (luma[0] + chroma[0])).view(getattr(torch, layout.format.dtype.name))
        rows = memory.view(-1, pitch // itemsize)
        interleaved = rows[luma[0] :, : 2 * chroma[1]].view(chroma)
        return CardPlane(rows[: luma[0], : luma[1]]), CardPlane(interleaved)

    def picture(self, planes: tuple[CardPlane, ...], format: PixelFormat) -> VideoFrame:
        """A picture for NVENC out of a `surface`, which must stay as it is until its packet has come out.

        NVENC learns the address and the pitch of the first plane only, and remembers each address that it was given.
        """
        tensors = tuple(self._lent(plane.tensor) for plane in planes)
        if self._context is not None:
            return VideoFrame.from_dlpack(tensors, format=format.name, cuda_context=self._context)
        self._context = CudaContext(self.index, primary_ctx=False, current_ctx=True)
        with self.current():  # where the context is looked for, which happens at its first use
            return VideoFrame.from_dlpack(tensors, format=format.name, cuda_context=self._context)

    def _mark(self) -> Any:
        """An event behind what FFmpeg has enqueued so far: it uses the default stream."""
        import torch

        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.default_stream(self.index))
        return event

    def _borrowed(self, plane: VideoPlane) -> torch.Tensor:
        from torch.utils.dlpack import from_dlpack

        return from_dlpack(plane.__dlpack__())

    def _lent(self, tensor: torch.Tensor) -> Any:
        return tensor

    def _empty(self, nbytes: int) -> torch.Tensor:
        import torch

        return torch.empty(nbytes, dtype=torch.uint8, device=f"cuda:{self.index}")
