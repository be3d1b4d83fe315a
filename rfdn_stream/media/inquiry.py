"""Asks FFmpeg why a card refused: the same attempt again, in a process of its own, with FFmpeg's log switched on.

FFmpeg's errors are numbers, and one number has many causes; the cause stands in its log. In this process the log
must stay off: PyAV's log and decoders with threads can wait for each other for ever.

    python -m rfdn_stream.media.inquiry decode FILE CARD
    python -m rfdn_stream.media.inquiry encode CODEC FORMAT WIDTH HEIGHT [KEY=VALUE...]
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from fractions import Fraction

import av
from av.codec.context import CodecContext
from av.codec.hwaccel import HWAccel, HWDevice
from av.video.codeccontext import VideoCodecContext

from rfdn_stream.media.probe import choose_video, ffmpeg_name

_TIMEOUT = 30
_LINE = re.compile(r"^\[\S+ @ 0x[0-9a-f]+\] (.+)$", re.MULTILINE)


def ask(*attempt: str) -> list[str]:
    """What FFmpeg logs as warnings and errors during an attempt, line by line; [] where nothing can be learnt.

    Args:
        attempt: the arguments of the command above.
    """
    command = [sys.executable, "-m", __name__, *attempt]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return _LINE.findall(result.stderr)


def try_decoding(path: str, card: str) -> None:
    """Decodes the first picture of a file by NVDEC."""
    HWDevice("cuda", card)
    with av.open(ffmpeg_name(path), hwaccel=HWAccel("cuda", device=card)) as container:
        video = choose_video(container, path)
        video.codec_context.thread_count = 1
        next(container.decode(video), None)


def try_encoding(codec: str, format: str, width: str, height: str, *options: str) -> None:
    """Opens an encoder, and closes it again."""
    context = CodecContext.create(codec, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = int(width), int(height), format
    context.time_base = Fraction(1, 25)
    context.options = dict(option.split("=", 1) for option in options)
    context.open()


if __name__ == "__main__":
    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.WARNING)
    with contextlib.suppress(av.FFmpegError):
        (try_decoding if sys.argv[1] == "decode" else try_encoding)(*sys.argv[2:])
