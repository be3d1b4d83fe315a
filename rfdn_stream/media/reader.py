"""Opening a video file as a source of frames: by NVDEC where it can, else on the processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rfdn_stream.errors import UsageError
from rfdn_stream.frame import Matrix
from rfdn_stream.media.card import Card
from rfdn_stream.media.crop import Crop
from rfdn_stream.media.hardware import DECODERS, NotKeptError, Nvdec, RefusedError, check_fitness
from rfdn_stream.media.probe import RawVideo, choose_video, open_input, says_interlaced
from rfdn_stream.media.source import CopiedPacket as CopiedPacket
from rfdn_stream.media.source import Source as Source


def open_source(
    path: str | Path,
    start: float | None = None,
    duration: float | None = None,
    *,
    decode: str = "auto",
    card: Card | None = None,
    deinterlace: str = "off",
    crop: Crop | None = None,
    matrix: Matrix | None = None,
    raw: RawVideo | None = None,
) -> Source:
    """Opens a video file for decoding, and finds its first frame.

    Args:
        path: a file, or an address that FFmpeg reads.
        start: seconds from the file's beginning; None = all, with the times that it has.
        duration: seconds; None = to the end.
        decode: one of `hardware.DECODERS`: ``cuda`` = by NVDEC, ``auto`` = by NVDEC if there is `card` and it can, else
            on the processor; `Source.decoding` says which it was, and why.
        card: the card that wants the frames in its own memory (`Frame.card`); None = they come to the host.
        deinterlace: one of `deinterlace.CHOICES`.
        crop: the part of each picture that is taken; None = all.
        matrix: of the video's colours, whatever it says of them; None = what it says, or what players guess.
        raw: what the file's bare samples are; None = it is a file that says so itself.

    Raises:
        MediaError: the file cannot be read, or holds no video that can be upscaled.
        UsageError: `start` lies behind the end of the video, or ``cuda`` is asked for and NVDEC refuses.
    """
    if decode not in DECODERS:
        raise UsageError(f"unknown --decode {decode!r}; choose one of {', '.join(DECODERS)}")
    options: dict[str, Any] = {"deinterlace": deinterlace, "crop": crop, "matrix": matrix, "raw": raw}
    # What is no file on a disk may not be there to be opened a second time.
    if decode == "cpu" or raw or (decode == "auto" and (card is None or not Path(path).is_file())):
        return Source(path, start, duration, **options)
    try:
        return _open_hardware(path, start, duration, card, options)
    except RefusedError as refusal:
        if decode == "cuda":
            raise UsageError(f"NVDEC cannot decode {path}: {refusal}; or use --decode cpu") from refusal
        source = Source(path, start, duration, **options)
        source.decoding = f"decoded on the processor, as NVDEC cannot: {refusal}"
        return source


def _open_hardware(
    path: str | Path, start: float | None, duration: float | None, card: Card | None, options: dict[str, Any]
) -> Source:
    deinterlace = options["deinterlace"]
    with open_input(path) as container:
        video = choose_video(container, path)
        check_fitness(video)
        if deinterlace not in ("auto", "off") or (deinterlace == "auto" and says_interlaced(video)):
            raise RefusedError("it is deinterlaced on the processor; --deinterlace off leaves its lines")
    options = {**options, "deinterlace": "off"}
    try:
        return Source(path, start, duration, Nvdec(path, card), **options)
    except NotKeptError as refusal:
        assert card is not None
        source = Source(path, start, duration, Nvdec(path, index=card.index), **options)
        source.decoding += f", as {refusal}"
        return source
