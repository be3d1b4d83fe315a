"""The C library's memory allocator, told to give large blocks back."""

from __future__ import annotations

import ctypes
import sys

LARGE_BLOCK = 8 << 20
_M_MMAP_THRESHOLD = -3  # malloc.h of glibc


def return_large_blocks(size: int = LARGE_BLOCK) -> bool:
    """From here on, a freed block of `size` bytes or more goes back to the system at once; for this process.

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
