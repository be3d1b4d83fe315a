"""An image from opening to its result under a temporary name."""

from __future__ import annotations

from pathlib import Path

import cv2

from rfdn_stream.jobs.report import Reporter, log
from rfdn_stream.jobs.request import Request
from rfdn_stream.media.image import read_image, write_image


def upscale_image(path: Path, partial: Path, target: Path, request: Request, reporter: Reporter) -> tuple[int, int]:
    """Writes the enlarged image `path` to `partial`, in the format of `target`'s name, and reads it back.

    Transparency is carried by plain bicubic resampling: the network knows nothing of it.

    Returns:
        (width, height) of the result.
    """
    frame, alpha, metadata = read_image(path)
    with request.open_upscaler(frame.width, frame.height, purpose="image") as upscaler:
        width, height = upscaler.size_of(frame.width, frame.height)
        reporter.note(f"{frame.width}x{frame.height} to {width}x{height}: {upscaler.description}")
        big = upscaler.submit(frame).result()
    if alpha is not None:
        alpha = cv2.resize(alpha, (big.width, big.height), interpolation=cv2.INTER_CUBIC)
    for note in write_image(partial, big, alpha, metadata, extension=target.suffix):
        log.warning(note)
    return big.width, big.height
