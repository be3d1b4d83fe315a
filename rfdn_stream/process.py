"""Settings of the whole process, for programs that are about video and little else: threads and memory."""

from __future__ import annotations

import ctypes
import os
import sys

LARGE_BLOCK = 8 << 20
_M_MMAP_THRESHOLD = -3  # malloc.h of glibc


def settle_environment() -> None:
    """Sets, where the user has not, what torch reads from the environment when it is imported. Call it before.

    OpenMP's threads spin at every barrier of torch; beside a decoder and an encoder that costs far more than
    sleeping. Maps of tens of MB are mapped anew for every layer, and touching them page by page took a third of
    the processor's time at 1280x720; huge pages (Linux, where it grants them on request) need 1/50 of the faults.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def return_large_blocks(size: int = LARGE_BLOCK) -> bool:
    """From here on, a freed block of `size` bytes or more goes back to the system at once.

    glibc maps such blocks apart at first, but each one that is freed raises its threshold, up to 32 MB; from then
    on they come from the heap, whose holes between pictures of several sizes add up to hundreds of MB. Costs a
    few per cent of time in page faults.

    Returns:
        Whether the allocator understood; False where it is not glibc's.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, size) == 1
