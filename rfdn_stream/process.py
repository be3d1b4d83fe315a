"""Settings of the whole process, for programs that are about video and little else: threads and memory."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

LARGE_BLOCK = 8 << 20
KEPT_BLOCK, KEPT = 32 << 20, 64 << 20  # 32 MB is the most that glibc allows
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


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
    return _mallopt({_M_MMAP_THRESHOLD: size})


def keep_small_blocks(size: int = KEPT_BLOCK, kept: int = KEPT) -> bool:
    """From here on, freed blocks of less than `size` bytes stay for the next ones, up to `kept` bytes a heap.

    glibc gives back what is free at a heap's end, from 128 KB on, and gets it again for the next picture page by page:
    in a job of 500 frames to 1280x544 without a network 280,000 to 550,000 page faults instead of 30,000, 3 to 4 % of
    the processors' time.

    Returns:
        As `return_large_blocks`; of the two, the last one called says from which size on blocks go back.
    """
    return _mallopt({_M_MMAP_THRESHOLD: size, _M_TRIM_THRESHOLD: kept})


@contextmanager
def uninterrupted_children() -> Iterator[None]:
    """A process that is begun inside never gets Ctrl-C, which a terminal sends to all: it is for us to end it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # The first spawned process of all brings this one along, which lets Ctrl-C in again as it begins.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _mallopt(settings: dict[int, int]) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and all(mallopt(name, value) == 1 for name, value in settings.items())
