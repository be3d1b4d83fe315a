"""How frames reach an encoder: from the host's memory, or where they lie on a card."""

from __future__ import annotations

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation

from rfdn_stream.frame import CardPlane, Frame, Layout, PixelFormat
from rfdn_stream.media.card import Card
from rfdn_stream.media.frames import plane_views


class HostFeed:
    """Copies frames into memory of the encoder's own, cropped to its size.

    Args:
        format, size: what the encoder takes; (width, height).
        alpha: the pixel format with a further plane, which the pictures that the frames are made of fill.
    """

    def __init__(self, format: PixelFormat, size: tuple[int, int], alpha: str = "") -> None:
        self._size = size
        self._with_alpha = bool(alpha)
        self.pix_fmt = alpha or format.name

    def surface(self) -> tuple[CardPlane, ...]:
        """Where the next frame is to be made; () = in the host's memory, wherever."""
        return ()

    def picture(self, frame: Frame, pts: int) -> VideoFrame:
        """What the encoder is given for a frame that it is to show at `pts`, in its own time."""
        (width, height), origin = self._size, frame.origin
        resized = isinstance(origin, VideoFrame) and (origin.width, origin.height) != (width, height)
        if self._with_alpha:
            picture: VideoFrame = origin.reformat(width, height, self.pix_fmt, interpolation=Interpolation.LANCZOS)
        elif resized and origin.side_data.get(Type.A53_CC) is not None:
            # Only a picture made of the source's keeps its closed captions; its samples are overwritten.
            picture = origin.reformat(width, height, self.pix_fmt, interpolation=Interpolation.POINT)
        else:
            picture = VideoFrame(width, height, self.pix_fmt)
        for target, plane in zip(plane_views(picture, frame.format, writeable=True), frame.planes, strict=True):
            target[...] = plane[: target.shape[0], : target.shape[1]]
        return picture

    def done(self, pts: int) -> None:
        """The packet of the frame at `pts` has come out."""


class CardFeed:
    """Lends an encoder the surfaces on a card that frames were made in. See `HostFeed` for the methods.

    An encoder reads a surface until the frame's packet comes out; then it serves another frame. So there are as
    many as are in use at once, and after the first frames no more are made.
    """

    pix_fmt = "cuda"

    def __init__(self, format: PixelFormat, size: tuple[int, int], card: Card) -> None:
        self._layout, self._card = Layout(format, *size), card
        self._free: list[tuple[CardPlane, ...]] = []
        self._lent: dict[int, tuple[CardPlane, ...]] = {}

    def surface(self) -> tuple[CardPlane, ...]:
        return self._free.pop() if self._free else self._card.surface(self._layout)

    def picture(self, frame: Frame, pts: int) -> VideoFrame:
        self._lent[pts] = frame.card
        return self._card.picture(frame.card, self._layout.format)

    def done(self, pts: int) -> None:
        self._free.append(self._lent.pop(pts))
