"""What keeps encoders from surprises: the same bits each time, and no place before everything else on the machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch
from av.video.codeccontext import VideoCodecContext

_THREADS = Path("/proc/self/task")


def x264_params() -> tuple[str, ...]:
    """``key=value`` pairs for x264 on this processor.

    Its code for AVX-512 does not give the same bits each time: on Zen 4 two of five 96x96 clips came out otherwise
    in another of three processes. Its code for AVX2 did each time, and gave what that for SSE4 gives.
    """
    return ("asm=avx2",) if torch.backends.cpu.get_cpu_capability().startswith("AVX512") else ()


def open_encoder(context: VideoCodecContext) -> None:
    """Opens an encoder.

    SVT-AV1, where it may, as root may, puts the thread that opens it and all of its own before every other program
    (SCHED_FIFO): a container would bring its machine to a halt. They are put back among the others.
    """
    if context.codec.name != "libsvtav1":
        context.open()
        return
    os.environ.setdefault("SVT_LOG", "1")  # its only way to be quiet: errors only
    before = _policies()
    context.open()
    for thread, policy in _policies().items():
        if policy != (usual := before.get(thread, os.SCHED_OTHER)):
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(thread, usual, os.sched_param(0))


def _policies() -> dict[int, int]:
    """The scheduling policy of each thread of this process; none where the system is not Linux."""
    policies = {}
    for path in _THREADS.iterdir() if _THREADS.is_dir() else ():
        with suppress(ProcessLookupError):
            policies[int(path.name)] = os.sched_getscheduler(int(path.name))
    return policies
