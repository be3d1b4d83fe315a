"""Transparency: the network sees colours only; alpha goes beside it, plainly resampled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from av.codec.codec import Codec
from av.video.frame import VideoFrame

from rfdn_stream.frame import PixelFormat

if TYPE_CHECKING:
    from rfdn_stream.media.encoders import Encoding

# Encoders whose files players show with their transparency.
_ENCODERS = frozenset({"ffv1", "prores_ks"})
HINT = "ffv1 in .mkv and prores_ks in .mov keep it, at its own depth"
_EXACT = 12  # bits, up to which swscale fills those of packed RGB


def has_alpha(picture: VideoFrame) -> bool:
    """Whether the picture's pixel format has an alpha component."""
    return any(component.is_alpha for component in picture.format.components)


def format_with_alpha(encoding: Encoding, picture: VideoFrame) -> str:
    """The pixel format in which the encoder is given the colours with the picture's alpha; "" = it is lost."""
    if not has_alpha(picture) or encoding.codec not in _ENCODERS or encoding.format.arrangement != "planar":
        return ""
    name = _with_alpha(encoding.format)
    taken = {format.name: format for format in Codec(encoding.codec, "w").video_formats or []}
    if name == encoding.format.name or name not in taken:
        return ""
    before, after = picture.format.components[-1].bits, taken[name].components[-1].bits
    # From 8 bits to more, swscale makes opaque pixels a little transparent. Not those of packed RGB, whose other
    # values it keeps but for less than a code, too.
    exact = (before > 8) == (after > 8) or (_is_packed_rgb(picture) and after <= _EXACT)
    return name if exact else ""


def _is_packed_rgb(picture: VideoFrame) -> bool:
    return picture.format.is_rgb and not picture.format.is_planar


def _with_alpha(format: PixelFormat) -> str:
    """FFmpeg's name of a planar format with a further plane: yuv420p, yuva420p; gbrp, gbrap. Gray has none."""
    return format.name.replace("yuv", "yuva").replace("gbrp", "gbrap")
