"""An image from opening to its result under a temporary name."""

from __future__ import annotations

from pathlib import Path

import cv2

from rfdn_stream.jobs.dry_run import with_image_estimate
from rfdn_stream.jobs.outlook import Outlook, of_image
from rfdn_stream.jobs.proof import Proof
from rfdn_stream.jobs.report import Reporter, log
from rfdn_stream.jobs.request import Request
from rfdn_stream.media.image import check_image, check_size, read_image, write_image


def upscale_image(
    path: Path,
    partial: Path,
    target: Path,
    request: Request,
    reporter: Reporter,
    *,
    verify: str = "fast",
    dry_run: bool = False,
) -> tuple[tuple[int, int], Outlook, Proof]:
    """Writes the enlarged image `path` to `partial`, in the format of `target`'s name, and reads it back.

    Transparency is carried by plain bicubic resampling: the network knows nothing of it.

    Args:
        verify: ``off`` = it is not read back.
        dry_run: nothing is written, and a part is timed.

    Returns:
        (width, height) of the result; what was planned, with an estimate of a dry run; what was proven.

    Raises:
        UsageError: the result is too large for its format.
        MediaError: the image cannot be read or written, or what was written is not what was made.
    """
    frame, alpha, metadata = read_image(path)
    with request.open_upscaler(frame.width, frame.height, purpose="image") as upscaler:
        width, height = upscaler.size_of(frame.width, frame.height)
        check_size((width, height), target.suffix)
        names = str(path), str(target), (path.suffix, target.suffix)
        outlook = of_image(frame, (width, height), upscaler, *names)
        if dry_run:
            return (width, height), with_image_estimate(outlook, frame, upscaler), Proof("off")
        reporter.event("plan", outlook.facts())
        reporter.note(f"{frame.width}x{frame.height} to {width}x{height}: {upscaler.description}")
        big = upscaler.submit(frame).result()
    if alpha is not None:
        alpha = cv2.resize(alpha, (big.width, big.height), interpolation=cv2.INTER_CUBIC)
    notes = write_image(partial, big, alpha, metadata, extension=target.suffix)
    for note in notes:
        log.warning(note)
    if verify != "off":
        check_image(partial, big, alpha, metadata, target.suffix)
    proof = Proof(verify, (f"enlarged from {frame.width}x{frame.height} to {big.width}x{big.height}", *notes))
    proof.tell(reporter)
    return (big.width, big.height), outlook, proof
