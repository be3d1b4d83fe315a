"""What users choose, as frozen values: built by the command line or the API, never read from globals."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EncodeOptions:
    """How the output video is encoded; None leaves the choice to the program.

    Args:
        codec: FFmpeg's name of an encoder, such as ``libx265`` or ``ffv1``.
        crf: constant quality on the encoder's own scale, lower is better; only encoders that have one take it.
        preset: the encoder's name or number for its trade of speed against size.
        pix_fmt: FFmpeg's name of the output pixel format; the default keeps the source's depth and sampling.
    """

    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    pix_fmt: str | None = None
