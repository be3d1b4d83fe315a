"""Pictures in plain arrays as frames, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rfdn_stream.errors import UsageError
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Frame

Array = npt.NDArray[Any]


def frame_of(image: Array) -> Frame:
    """A picture in an array (see `Upscaler.__call__`) as a frame; no copy."""
    if (
        image.ndim not in (2, 3)
        or (image.ndim == 3 and image.shape[2] != 3)
        or image.dtype not in (np.uint8, np.uint16)
    ):
        raise UsageError(
            f"got an array of {image.dtype} {list(image.shape)}; "
            "pictures are uint8 or uint16, RGB [H, W, 3] or grey [H, W]"
        )
    height, width = image.shape[:2]
    if image.dtype == np.uint16:
        red, green, blue = (image, image, image) if image.ndim == 2 else np.moveaxis(image, 2, 0)
        return Frame((green, blue, red), FORMATS["gbrp16le"], width, height, RGB_FULL)
    if image.ndim == 2:
        return Frame((image,), FORMATS["gray"], width, height, ColorSpec(range="full"))
    return Frame((image,), FORMATS["rgb24"], width, height, RGB_FULL)


def array_of(frame: Frame, like: Array) -> Array:
    """The way back from `frame_of`."""
    if len(frame.planes) == 1:
        return frame.planes[0]
    green, blue, red = frame.planes
    return green if like.ndim == 2 else np.stack((red, green, blue), axis=2)
