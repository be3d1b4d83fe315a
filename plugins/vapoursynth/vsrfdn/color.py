"""What a frame's properties say of its colour, read and guessed as the file door does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from rfdn_stream import ColorSpec, ColorTags, PixelFormat, UsageError

_RGB, _UNSPECIFIED = 0, 2


@dataclass(frozen=True)
class Meaning:
    """What the codes of a frame mean.

    Args:
        color: for the engine.
        props: what the enlarged frame says of it.
        notes: what to tell the user.
    """

    color: ColorSpec
    props: Mapping[str, int]
    notes: tuple[str, ...]


def meaning(props: Mapping[str, Any], format: PixelFormat, width: int, height: int) -> Meaning:
    """Reads `_Matrix`, `_Range`, `_ChromaLocation`, `_Primaries` and `_Transfer`.

    Raises:
        RfdnError: a matrix that the engine cannot convert, or of RGB on YUV.
    """
    location = props.get("_ChromaLocation")
    range_ = props.get("_Range")
    tags = ColorTags(
        matrix=int(props.get("_Matrix", _UNSPECIFIED)),
        range=0 if range_ is None else int(range_) + 1,  # VapourSynth: 0 limited, 1 full; H.273 as FFmpeg has it: 1, 2
        siting=0 if location is None else int(location) + 1,  # one less than FFmpeg's
        primaries=int(props.get("_Primaries", _UNSPECIFIED)),
        transfer=int(props.get("_Transfer", _UNSPECIFIED)),
    )
    return _meaning(tags, format, width, height)


@lru_cache(maxsize=256)
def _meaning(tags: ColorTags, format: PixelFormat, width: int, height: int) -> Meaning:
    if format.family == "rgb":
        return Meaning(ColorSpec("rgb", "limited" if tags.range == 1 else "full", "center"), {}, ())
    if format.family == "gray":
        tags = replace(tags, matrix=_UNSPECIFIED)  # that of the picture whose plane this may be; here it means nothing
    elif tags.matrix == _RGB:
        raise UsageError(
            "_Matrix 0 says RGB, which a YUV clip cannot be; say what it is, as in clip.std.SetFrameProps(_Matrix=1)"
        )
    # Grey is limited unless it says otherwise, as in VapourSynth's own resizers; so it is in H.264.
    color = tags.interpret(format, width, height, codec="h264")
    said = ColorTags.of_color(color, format, tags)
    props = {} if format.floating else {"_Range": said.range - 1}
    if format.family == "yuv":
        props["_Matrix"] = said.matrix
    if said.siting:
        props["_ChromaLocation"] = said.siting - 1
    return Meaning(color, props, tuple(_notes(color, tags, format, width, height)))


def _notes(color: ColorSpec, tags: ColorTags, format: PixelFormat, width: int, height: int) -> list[str]:
    means = {"matrix": color.matrix, "range": color.range, "siting": color.siting}
    if format.family == "gray":
        del means["matrix"]
    if format.floating:
        del means["range"]
    notes = []
    guesses = ", ".join(f"{name} {means[name]}" for name in color.guessed if name in means)
    if guesses:
        notes.append(
            f"{width}x{height} {format.name} does not say how its colour is meant; taken as players take it: {guesses}"
        )
    note = tags.siting_note()
    return notes if note is None else [*notes, note]
