"""The C++ library: found, checked, and its functions as Python's."""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rfdn_stream.engines.winograd.build import library_path
from rfdn_stream.errors import DeviceError, UsageError

ABI = 2  # RFDN_ABI of src/api.h
ISAS = 3  # the instruction sets of `enum rfdn_isa`, the best last
ERROR_SIZE = 512

Floats = npt.NDArray[np.float32]


class NoLibraryError(Exception):
    """The engine cannot run here: no library, an old one, or a processor that it has no code for."""


class Options(ctypes.Structure):
    """`rfdn_options`."""

    _fields_ = [(name, ctypes.c_int32) for name in (
        "channels", "distilled", "blocks", "scale", "inner", "esa", "residual", "distils",
    )]  # fmt: skip


class Tensor(ctypes.Structure):
    """`rfdn_tensor`."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("outputs", ctypes.c_int32),
        ("inputs", ctypes.c_int32),
        ("size", ctypes.c_int32),
    ]


@dataclass(frozen=True)
class Layer:
    """A convolution: its name, weight float32 [outputs, inputs, size, size] and bias float32 [outputs]."""

    name: str
    weight: Floats
    bias: Floats

    def tensor(self) -> Tensor:
        """For the library; valid as long as the layer."""
        outputs, inputs, size, _ = self.weight.shape
        return Tensor(self.name.encode(), self.weight.ctypes.data, self.bias.ctypes.data, outputs, inputs, size)


class Library:
    """The functions of one library file.

    Args:
        path: of the file.
        isa: a number of `enum rfdn_isa`; None = the best that works here.

    Raises:
        NoLibraryError: it cannot be used here, and why.
    """

    def __init__(self, path: Path, isa: int | None = None) -> None:
        if not path.exists():
            raise NoLibraryError("it was not built at installation, as there was no C++ compiler")
        try:
            self._c = c = ctypes.CDLL(str(path))
            found = c.rfdn_abi()
        except (OSError, AttributeError) as failure:
            raise NoLibraryError(f"{path.name} cannot be loaded: {failure}") from failure
        if found != ABI:
            raise NoLibraryError(f"{path.name} has interface {found}, not {ABI}; install rfdn-stream anew")
        pointer, i32, size = ctypes.c_void_p, ctypes.c_int32, ctypes.c_size_t
        c.rfdn_isa_name.argtypes, c.rfdn_isa_name.restype = [i32], ctypes.c_char_p
        c.rfdn_isa_works.argtypes = [i32]
        c.rfdn_create.argtypes = [pointer, pointer, i32, i32, i32, ctypes.c_char_p, size]
        c.rfdn_create.restype = pointer
        c.rfdn_destroy.argtypes, c.rfdn_destroy.restype = [pointer], None
        c.rfdn_bytes.argtypes, c.rfdn_bytes.restype = [pointer, i32, i32], size
        c.rfdn_run.argtypes = [pointer, pointer, ctypes.c_ssize_t, ctypes.c_ssize_t, i32, i32, pointer]
        c.rfdn_layer.argtypes = [pointer, ctypes.c_float, i32, pointer, i32, i32, pointer, ctypes.c_char_p, size]
        c.rfdn_operations.argtypes, c.rfdn_operations.restype = [i32, i32, i32], ctypes.c_double
        working = [n for n in range(ISAS) if c.rfdn_isa_works(n)]
        if not working or isa not in (None, *working):
            raise NoLibraryError("this processor lacks AVX2, FMA or F16C" if isa is None else f"no instructions {isa}")
        self.isa = working[-1] if isa is None else isa
        self.isa_name: str = c.rfdn_isa_name(self.isa).decode()

    def network(self, options: Options, layers: Sequence[Layer], threads: int) -> Network:
        """A network with its weights, which are copied.

        Raises:
            UsageError: layers and options that do not fit each other, or weights that the engine cannot hold.
        """
        tensors = (Tensor * len(layers))(*(layer.tensor() for layer in layers))
        error = ctypes.create_string_buffer(ERROR_SIZE)
        handle = self._c.rfdn_create(ctypes.byref(options), tensors, len(tensors), threads, self.isa, error, ERROR_SIZE)
        if not handle:
            raise UsageError(error.value.decode(errors="replace"))
        return Network(self._c, handle, options.scale)

    def layer(self, layer: Layer, slope: float, source: Floats) -> Floats:
        """One convolution of [inputs, H, W], with activation max(x, slope * x); on one thread, for tests.

        Raises:
            UsageError: as `network`.
        """
        source = np.ascontiguousarray(source)
        target = np.empty((len(layer.weight), *source.shape[1:]), np.float32)
        error = ctypes.create_string_buffer(ERROR_SIZE)
        tensor = layer.tensor()
        failed = self._c.rfdn_layer(
            ctypes.byref(tensor), slope, self.isa, source.ctypes.data, *source.shape[1:], target.ctypes.data,
            error, ERROR_SIZE,
        )  # fmt: skip
        if failed:
            raise UsageError(error.value.decode(errors="replace"))
        return target

    def operations(self, rounds: int, *, integers: bool) -> float:
        """Sums of products in int16 or float32, on this thread, as fast as it can; returns how many operations."""
        return float(self._c.rfdn_operations(self.isa, integers, rounds))


class Network:
    """A network in the library; its memory goes back when this object does, or at `close`."""

    def __init__(self, c: Any, handle: int, scale: int) -> None:
        self._c, self._handle, self._scale = c, handle, scale
        self.close = weakref.finalize(self, c.rfdn_destroy, handle)
        self.close.atexit = False  # a program that ends does not wait for a frame

    def bytes(self, height: int, width: int) -> int:
        """What maps take at that size."""
        return int(self._c.rfdn_bytes(self._handle, height, width))

    def run(self, picture: int, strides: tuple[int, int], height: int, width: int, result: int) -> None:
        """Enlarges a picture; other Python threads run meanwhile.

        Args:
            picture: the address of float32 [3, height, width], whose columns lie side by side.
            strides: floats from a plane to the next, and from a row to the next.
            result: the address of float32 [3, scale * height, scale * width], to be filled.

        Raises:
            DeviceError: no memory.
        """
        assert self.close.alive
        if self._c.rfdn_run(self._handle, picture, *strides, height, width, result):
            raise DeviceError(f"out of memory at {width}x{height}; end other programs; smaller tiles need less")


@functools.cache
def library() -> Library:
    """The installed library at its best here.

    Raises:
        NoLibraryError: as `Library`.
    """
    return Library(library_path())
