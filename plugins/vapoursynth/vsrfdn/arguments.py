"""The filter's arguments as what the engine takes; refusals say what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from os import PathLike, fspath
from typing import Any

import vapoursynth as vs

from rfdn_stream import UsageError
from vsrfdn.pool import Options

OLDEST = 74
"""The first release of VapourSynth that has all that is used here."""
STREAMS = 3
TILE_PAD = 16
"""What the engine sees around a tile, in pixels."""
LONGEST_SIDE = 65536
"""The largest height or width: VapourSynth ends the process where memory for a frame cannot be had."""
MOST_STREAMS = 256


def check_host(clip: object) -> None:
    """UsageError where VapourSynth is too old, or `clip` is no clip."""
    release = vs.__version__[0]
    if release < OLDEST:
        raise UsageError(f"VapourSynth R{release} is too old; R{OLDEST} or newer is needed: pip install -U vapoursynth")
    if not isinstance(clip, vs.VideoNode):
        raise UsageError(f"clip must be a video node, such as a source filter gives; got {type(clip).__name__}")


def options(
    *,
    scale: int,
    model: str | PathLike[str] | None,
    model_path: str | PathLike[str] | None,
    device: str | None,
    device_index: int | None,
    num_streams: int | None,
    precision: str,
    tile: int | tuple[int, int],
    tile_pad: int,
    strength: float,
    engine: str,
    reuse: str,
) -> Options:
    """What the Upscaler is to be made with; what only it can know, such as its models, it refuses itself."""
    if model is not None and model_path is not None:
        raise UsageError(f"got both model {model!r} and model_path {str(model_path)!r}; give one of them")
    scale = _whole("scale", scale, 1)
    chosen = model if model_path is None else model_path
    if not isinstance(chosen, str | PathLike | None) or chosen == "":
        raise UsageError(f"model {chosen!r} is neither a model's name nor the path of a weights file")
    if not isinstance(strength, Real):
        raise UsageError(f"strength {strength!r} is not a number; give one from 0 to 1")
    if num_streams is not None:
        num_streams = _whole("num_streams", num_streams, 1, MOST_STREAMS)
    return Options(
        model=None if chosen is None else fspath(chosen),
        scale=scale if chosen is None else None,  # that of a model is told by the model
        device=_device(device, device_index),
        precision=precision,
        tile=_tile(tile, tile_pad),
        depth=num_streams or STREAMS,
        strength=float(strength),
        engine=engine,
        reuse=reuse,
    )


def target_size(clip: vs.VideoNode, scale: int, height: int | None, width: int | None) -> tuple[int, int] | None:
    """Width and height to resample the result to; None where the network's own size is wanted."""
    if height is None and width is None:
        return None
    if height is not None:
        height = _whole("height", height, 1, LONGEST_SIDE)
    if width is not None:
        width = _whole("width", width, 1, LONGEST_SIDE)
    known = clip.format.color_family != vs.UNDEFINED
    steps = (1 << clip.format.subsampling_w, 1 << clip.format.subsampling_h) if known else (1, 1)
    if not (clip.width or (width and height)):
        raise UsageError("the clip's size varies, and so does its shape; give both height and width, or neither")
    if height is None:
        assert width is not None
        height = _follow(clip.height * width / clip.width, steps[1])
    elif width is None:
        width = _follow(clip.width * height / clip.height, steps[0])
    for name, value, step in zip(("width", "height"), (width, height), steps, strict=True):
        if value % step:
            raise UsageError(f"{name} {value} does not fit {clip.format.name}; it must be a multiple of {step}")
    return None if (width, height) == (clip.width * scale, clip.height * scale) else (width, height)


def _follow(length: float, step: int) -> int:
    """The multiple of `step` that keeps the picture's shape best."""
    return max(1, round(length / step)) * step


def _whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        allowed = f"from {least} on" if most is None else f"from {least} to {most}"
        raise UsageError(f"{name} {value!r} is not allowed; give a whole number {allowed}")
    return int(value)


def _device(device: str | None, index: int | None) -> str:
    if not isinstance(device, str | None):
        raise UsageError(f"device {device!r} is not a name; give 'auto', 'cpu', 'cuda' or 'cuda:N'")
    if index is None:
        return device or "auto"
    _whole("device_index", index, 0)
    if device not in (None, "cuda"):
        raise UsageError(f"got both device {device!r} and device_index {index}; give one of them")
    return f"cuda:{index}"


def _tile(tile: int | tuple[int, int], pad: int) -> int | None:
    """The side of square tiles, None = whole frames while they fit."""
    sides = tuple(tile) if isinstance(tile, Sequence) else (tile, tile)
    if len(sides) != 2 or sides[0] != sides[1]:
        raise UsageError(f"tile {tile!r} is not square; give one number of pixels, or a pair of the same, 0 for none")
    side = _whole("tile", sides[0], 0)
    if pad != TILE_PAD:
        raise UsageError(f"tile_pad {pad!r} is not supported; tiles are seen with {TILE_PAD} pixels around them")
    return side or None
