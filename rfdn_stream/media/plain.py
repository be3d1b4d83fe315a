"""Outputs that hold pictures and nothing else: image sequences, animations, y4m."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import UsageError
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, PixelFormat
from rfdn_stream.media.alpha import has_alpha
from rfdn_stream.media.encoders import Encoding
from rfdn_stream.media.output import OutputPlan
from rfdn_stream.media.passthrough import describe_stream
from rfdn_stream.media.source import Source
from rfdn_stream.media.turn import Turn
from rfdn_stream.media.y4m import SPACES

LABELS = {"images": "an image sequence", "gif": "GIF", "apng": "APNG", "webp": "WebP", "y4m": "y4m"}
"""By muxer, as `plan_plain` calls them."""
_SQUARE = Fraction(1, 50)  # how far from square nobody sees
_HDR = (16, 18)  # PQ, HLG
_ALTERNATIVES = {"nv12": "yuv420p", "p010le": "yuv420p10le", "rgb24": "yuv444p", "gbrp": "yuv444p",
                 "gbrp10le": "yuv444p10le", "gbrp12le": "yuv444p12le", "gbrp16le": "yuv444p12le"}  # fmt: skip


def plan_plain(source: Source, muxer: str, extension: str, options: EncodeOptions) -> OutputPlan:
    """Decides how `source` becomes an output that holds pictures only, a key of `LABELS`.

    Args:
        extension: of the images.

    Raises:
        UsageError: an option does not fit.
    """
    label = LABELS[muxer]
    if replace(options, pix_fmt=None) != EncodeOptions() or (options.pix_fmt and muxer != "y4m"):
        raise UsageError(f"--codec, --crf, --preset and --pix-fmt are for videos, not for {label}")
    format, notes = source.info.format, []
    if muxer == "y4m":
        wanted = _in_y4m(format, options.pix_fmt)
    else:
        wanted = FORMATS["gbrp16le" if format.bits > 8 and extension in (".png", ".tif", ".tiff") else "rgb24"]
        if format.bits > 8 and wanted.bits == 8:
            notes.append(f"{label} of {extension or muxer} holds 8 bits: the source's {format.bits} are rounded")
    color = source.info.color
    if wanted.family == "rgb":
        color = replace(RGB_FULL, primaries=color.primaries, transfer=color.transfer)
    elif format.family == "rgb":
        color = ColorSpec("bt709", "limited", "left", color.primaries, color.transfer)
    codec = extension.removeprefix(".") if muxer == "images" else muxer
    encoding = Encoding(codec, wanted, replace(color, guessed=()), {}, alpha="")
    return OutputPlan(muxer, encoding, dropped=tuple(_dropped(source, muxer)), notes=tuple(notes))


def _in_y4m(format: PixelFormat, asked: str | None) -> PixelFormat:
    name = asked or _ALTERNATIVES.get(format.name, format.name)
    if name not in SPACES:
        raise UsageError(f"y4m cannot hold pixel format {name!r}; it holds {', '.join(SPACES)}")
    return FORMATS[name]


def _dropped(source: Source, muxer: str) -> list[tuple[str, str]]:
    why = f"{LABELS[muxer]} holds pictures only; .mkv holds it"
    lost = [describe_stream(stream) for stream in source.container.streams if stream.index != source.video.index]
    if source.chapters:
        lost.append(f"{len(source.chapters)} chapters")
    turn = Turn.of_picture(source.first.origin)
    if turn is None:
        lost.append(f"rotation by {source.info.rotation} degrees")
    elif turn and muxer == "y4m":
        lost.append(str(turn))
    if muxer != "y4m" and abs(source.info.sample_aspect_ratio - 1) > _SQUARE:
        lost.append(f"the pixel aspect ratio {source.info.sample_aspect_ratio}")
    dropped = [(what, why) for what in lost]
    if source.info.color.transfer in _HDR:
        dropped.append(("the HDR transfer function", f"{LABELS[muxer]} does not say it: looks flat; .mkv says it"))
    if muxer == "y4m" and has_alpha(source.first.origin):
        dropped.append(("transparency", "y4m gets none; ffv1 in .mkv, .png and .webp keep it"))
    return dropped
