"""Opening a video file as a source of frames: by NVDEC where it can, else on the processor."""

from __future__ import annotations

from pathlib import Path

from rfdn_stream.errors import UsageError
from rfdn_stream.media.card import Card
from rfdn_stream.media.hardware import DECODERS, NotKeptError, Nvdec, RefusedError, check_fitness
from rfdn_stream.media.probe import choose_video, open_input, says_interlaced
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

    Raises:
        MediaError: the file cannot be read, or holds no video that can be upscaled.
        UsageError: `start` lies behind the end of the video, or ``cuda`` is asked for and NVDEC refuses.
    """
    if decode not in DECODERS:
        raise UsageError(f"unknown --decode {decode!r}; choose one of {', '.join(DECODERS)}")
    # What is no file on a disk may not be there to be opened a second time.
    if decode == "cpu" or (decode == "auto" and (card is None or not Path(path).is_file())):
        return Source(path, start, duration, deinterlace=deinterlace)
    try:
        return _open_hardware(path, start, duration, card, deinterlace)
    except RefusedError as refusal:
        if decode == "cuda":
            raise UsageError(f"NVDEC cannot decode {path}: {refusal}; or use --decode cpu") from refusal
        source = Source(path, start, duration, deinterlace=deinterlace)
        source.decoding = f"decoded on the processor, as NVDEC cannot: {refusal}"
        return source


def _open_hardware(
    path: str | Path, start: float | None, duration: float | None, card: Card | None, deinterlace: str
) -> Source:
    with open_input(path) as container:
        video = choose_video(container, path)
        check_fitness(video)
        if deinterlace not in ("auto", "off") or (deinterlace == "auto" and says_interlaced(video)):
            raise RefusedError("it is deinterlaced on the processor; --deinterlace off leaves its lines")
    try:
        return Source(path, start, duration, Nvdec(path, card))
    except NotKeptError as refusal:
        assert card is not None
        source = Source(path, start, duration, Nvdec(path, index=card.index))
        source.decoding += f", as {refusal}"
        return source
