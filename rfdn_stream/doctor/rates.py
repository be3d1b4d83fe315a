"""What a device reaches, measured on it: copies up and down, its own memory, arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from rfdn_stream.devices.base import Device, Stream

ROUNDS, RUNS = 5, 4
"""The best of so many rounds counts, each of so many runs between two marks."""
COPIED = 256 << 20  # bytes: far more than any card's cache holds
CHANNELS = 4096


@dataclass(frozen=True)
class Rates:
    """What a device reaches.

    Args:
        up, down: bytes a second from page-locked memory of the host to the device, and back.
        memory: bytes a second that the device reads and writes in its own memory, both counted.
        arithmetic: operations a second in convolutions, a multiplication and an addition being two.
    """

    up: float
    down: float
    memory: float
    arithmetic: float


def measure_rates(device: Device, dtype: torch.dtype, *, nbytes: int = COPIED, channels: int = CHANNELS) -> Rates:
    """Measures a device that does nothing else meanwhile; takes a second or two, and 3 x `nbytes` of its memory.

    Args:
        dtype: what the arithmetic is done in.
        nbytes: of each copy.
        channels: of the convolution, which is a product of two matrices of channels x channels; a multiple of 64.
    """
    return Rates(
        up=nbytes / copy_seconds(device, nbytes, up=True),
        down=nbytes / copy_seconds(device, nbytes, up=False),
        memory=2 * nbytes / _memory_seconds(device, nbytes),
        arithmetic=2 * channels**3 / _convolution_seconds(device, dtype, channels),
    )


def copy_seconds(device: Device, nbytes: int, *, up: bool) -> float:
    """How long a copy of so many bytes takes from the host to the device (`up`), or back, by the device's clock."""
    here, there = device.pinned(nbytes, "pin"), device.empty(nbytes, "dev")
    device.host(here, write=True)[:] = 0  # memory that was never touched is not there yet
    source, target = (here, there) if up else (there, here)
    return seconds_of(device, lambda stream: device.copy(target, source, nbytes, stream))


def published_memory_rate(device: Device) -> float:
    """Bytes a second that the card's memory gives by its clock and its width; 0 where they are not known."""
    if device.torch_device.type != "cuda":
        return 0.0
    card = torch.cuda.get_device_properties(device.torch_device)
    if "MIG" in card.name:  # a slice of a card, and nobody says how much of its memory's rate it gets
        return 0.0
    kilohertz, bits = getattr(card, "memory_clock_rate", 0), getattr(card, "memory_bus_width", 0)
    return 2 * 1e3 * kilohertz * bits / 8  # two transfers a clock


def seconds_of(device: Device, enqueue: Callable[[Stream], None]) -> float:
    """How long what `enqueue` puts into a stream takes, by the device's clock: the best of ROUNDS, a mean of RUNS."""
    stream, event, marks = device.stream("measured"), device.event("measured"), []

    def mark() -> None:
        marks.append(device.mark())

    enqueue(stream)  # not counted: the first one wakes the device, and has its kernels chosen
    for _ in range(ROUNDS):
        device.launch(mark, stream, [], [])
        for _ in range(RUNS):
            enqueue(stream)
        device.launch(mark, stream, [], [])
    stream.record(event)
    event.synchronize()
    best = min(device.seconds(start, end) for start, end in zip(marks[::2], marks[1::2], strict=True))
    return max(best, 1e-9) / RUNS


def _memory_seconds(device: Device, nbytes: int) -> float:
    source, target = device.empty(nbytes, "source"), device.empty(nbytes, "target")
    return seconds_of(device, lambda stream: device.launch(_copy, stream, [source], [target]))


def _copy(source: torch.Tensor, target: torch.Tensor) -> None:
    target.copy_(source)


def _convolution_seconds(device: Device, dtype: torch.dtype, channels: int) -> float:
    """By the library and the settings that the networks are computed with, in the shape that suits them best."""
    operands: list[torch.Tensor] = []

    def multiply() -> None:
        with torch.inference_mode():
            if not operands:  # made on the very stream that uses them
                for shape in ((1, channels, max(1, channels // 64), 64), (channels, channels, 1, 1)):
                    values = torch.rand(shape, device=device.torch_device, dtype=dtype)
                    operands.append(values.contiguous(memory_format=torch.channels_last))
            picture, weight = operands
            F.conv2d(picture, weight)

    return seconds_of(device, lambda stream: device.launch(multiply, stream, [], []))
