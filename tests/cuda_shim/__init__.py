"""colour.cu without a GPU: built by g++, run in a process of its own, launched by the Python that serves a GPU."""

from __future__ import annotations

import ctypes
import hashlib
import os
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from rfdn_stream.frame import ColorSpec, PixelFormat
from rfdn_stream.kernels import cuda

REPLAY = Path(__file__).with_name("replay.cpp")
SANITIZERS = {
    "none": (),
    "asan+ubsan": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "tsan": ("-fsanitize=thread",),
}
# Leaks are not asked for: finding them needs ptrace, which containers forbid.
ENVIRONMENT = {"ASAN_OPTIONS": "detect_leaks=0", "TSAN_OPTIONS": "halt_on_error=1"}


class ShimError(Exception):
    """The shim died, and said why: a sanitizer's report, or the signal."""


def build(folder: Path, flags: Sequence[str] = (), source: Path = cuda.SOURCE) -> Path:
    """The shim's program, made in `folder` unless it is there."""
    key = hashlib.sha256(repr((flags, source.read_text())).encode()).hexdigest()[:16]
    program = folder / key
    if not program.exists():
        warnings = ("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas")
        command = ["g++", "-std=c++17", "-O1", *warnings, "-rdynamic", "-pthread", *flags, f'-DCOLOUR_CU="{source}"']
        subprocess.run([*command, str(REPLAY), "-ldl", "-o", str(program)], check=True)
    return program


def layout(program: Path) -> dict[str, tuple[int, int]]:
    """Offset and size, by the compiler's account, of each field of the structs and of Params itself."""
    answer = subprocess.run([str(program), "layout"], capture_output=True, text=True, check=True).stdout
    return {name: (int(offset), int(size)) for name, offset, size in map(str.split, answer.splitlines())}


class Shim:
    """A running shim. It has `pre` and `post` like every twin of the colour kernels, for tensors on the CPU.

    Args:
        program: from `build`.
        memory: ``heap``, or ``front`` or ``back``: every tensor ends flush at a guard page there.
        workers: real threads that share the CUDA threads of a launch.

    Each launch runs its CUDA threads in another order, the first in their natural one.

    Raises, from `pre` and `post`:
        ShimError: the process died.
    """

    def __init__(self, program: Path, *, memory: str = "heap", workers: int = 1) -> None:
        self._workers, self._seeds = workers, count()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`; a pipe could fill up
        self._process = subprocess.Popen(
            [str(program), memory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=os.environ | ENVIRONMENT,
        )

    def pre(self, planes: Sequence[torch.Tensor], format: PixelFormat, color: ColorSpec, out: torch.Tensor) -> None:
        cuda.pre(planes, format, color, out, launch=self._launch([*planes, out]))

    def post(
        self,
        rgb: torch.Tensor,
        planes: Sequence[torch.Tensor],
        format: PixelFormat,
        color: ColorSpec,
        *,
        dither: bool = False,
    ) -> None:
        cuda.post(rgb, planes, format, color, dither=dither, launch=self._launch([rgb, *planes]))

    def close(self) -> None:
        self._process.communicate()
        self._stderr.close()

    def __enter__(self) -> Shim:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _launch(self, tensors: Sequence[torch.Tensor]) -> cuda.Launch:
        """A Launch whose kernel may touch those tensors, to their last element, and nothing else."""
        memory = [(tensor.data_ptr(), _extent(tensor)) for tensor in tensors]

        def launch(name: str, grid: cuda.Size, block: cuda.Size, params: npt.NDArray[Any]) -> None:
            header = struct.pack("32s9I", name.encode(), *grid, *block, next(self._seeds), self._workers, len(memory))
            sent = [struct.pack("2Q", *extent) + ctypes.string_at(*extent) for extent in memory]
            try:
                assert self._process.stdin is not None
                self._process.stdin.write(b"".join([header, params.tobytes(), *sent]))
                self._process.stdin.flush()
            except BrokenPipeError:
                pass  # found dead below
            for address, size in memory:
                ctypes.memmove(address, self._receive(size), size)

        return launch

    def _receive(self, size: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if len(data) < size:
            code = self._process.wait()
            self._stderr.seek(0)
            raise ShimError(f"exit code {code}\n{self._stderr.read().decode()}")
        return data


def _extent(tensor: torch.Tensor) -> int:
    """Bytes from a tensor's first element to the end of its last."""
    last = sum((length - 1) * stride for length, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.itemsize


class Card:
    """`pre` and `post` on a real device, for tensors on the CPU: all of their memory goes there and back."""

    def pre(self, planes: Sequence[torch.Tensor], format: PixelFormat, color: ColorSpec, out: torch.Tensor) -> None:
        there = [_on_card(tensor) for tensor in (*planes, out)]
        cuda.pre(there[:-1], format, color, there[-1])
        _fetch(there, (*planes, out))

    def post(
        self,
        rgb: torch.Tensor,
        planes: Sequence[torch.Tensor],
        format: PixelFormat,
        color: ColorSpec,
        *,
        dither: bool = False,
    ) -> None:
        there = [_on_card(tensor) for tensor in (rgb, *planes)]
        cuda.post(there[0], there[1:], format, color, dither=dither)
        _fetch(there, (rgb, *planes))


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.as_strided((_extent(tensor) // tensor.itemsize,), (1,))


def _on_card(tensor: torch.Tensor) -> torch.Tensor:
    return _flat(tensor).cuda().as_strided(tensor.shape, tensor.stride(), 0)


def _fetch(there: Sequence[torch.Tensor], here: Sequence[torch.Tensor]) -> None:
    for source, target in zip(there, here, strict=True):
        _flat(target).copy_(_flat(source))
