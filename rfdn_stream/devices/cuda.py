"""A CUDA card as a device: torch's streams, events, pinned memory and allocator.

The host waits for the card in `CudaEvent.synchronize` and `close` alone. Each buffer knows the streams that use
it (`record_stream`), so that its memory is not given to another one before they have passed; torch's allocators
keep what is freed, so that after the first frames nothing is asked of the driver any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rfdn_stream.devices.base import Buffer, Event, NoDeviceError, Stream
from rfdn_stream.errors import DeviceError, RfdnError, UsageError
from rfdn_stream.kernels import cuda
from rfdn_stream.kernels.base import ColorKernels


class CudaBuffer:
    """Bytes on the card, or page-locked ones of the host (`pinned`)."""

    def __init__(self, tensor: torch.Tensor, name: str, pinned: bool) -> None:
        self.tensor, self.nbytes, self.name, self.pinned = tensor, tensor.numel(), name, pinned


class CudaEvent:
    """A mark that threads sleep for: a spinning one would take a core from the encoder."""

    def __init__(self, device: CudaDevice, name: str) -> None:
        self.name = name
        self.event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        self._device = device

    def done(self) -> bool:
        with self._device.watched():
            return bool(self.event.query())  # type: ignore[no-untyped-call]

    def synchronize(self) -> None:
        with self._device.watched():
            self.event.synchronize()


class CudaStream:
    """A queue of the card's."""

    def __init__(self, device: CudaDevice, name: str) -> None:
        self.name = name
        self.stream = torch.cuda.Stream(device.torch_device)  # type: ignore[no-untyped-call]
        self._device = device

    def record(self, event: Event) -> None:
        assert isinstance(event, CudaEvent)
        with self._device.watched():
            event.event.record(self.stream)

    def wait(self, event: Event) -> None:
        assert isinstance(event, CudaEvent)
        with self._device.watched():
            self.stream.wait_event(event.event)


class CudaDevice:
    """The Device contract (see `base`) on a card. Work that is launched runs on the calling thread, and enqueues.

    Args:
        index: as CUDA counts the cards; None = 0.

    Raises:
        NoDeviceError: no card, no driver, or a torch without CUDA.
        UsageError: no card of that number, or a driver that is too old for torch.
        DeviceError: the card is there, but does not compute.
    """

    engines: tuple[str, ...] = ("fused", "graph", "torch", "compile", "tensorrt")
    fills = 300_000  # as measured on an H200; see docs/gpu.md

    def __init__(self, index: int | None = None) -> None:
        self.torch_device = find_card(index)
        self.name = str(self.torch_device)
        self.kernels: ColorKernels = cuda.choose(self.torch_device)
        self.failure: BaseException | None = None
        self._streams: dict[str, CudaStream] = {}

    def stream(self, name: str) -> CudaStream:
        if name not in self._streams:
            self._streams[name] = CudaStream(self, name)
        return self._streams[name]

    def event(self, name: str) -> CudaEvent:
        return CudaEvent(self, name)

    def pinned(self, nbytes: int, name: str) -> CudaBuffer:
        return CudaBuffer(self._allocate(nbytes, "page-locked memory", pin_memory=True), name, pinned=True)

    def empty(self, nbytes: int, name: str) -> CudaBuffer:
        return CudaBuffer(self._allocate(nbytes, "memory", device=self.torch_device), name, pinned=False)

    def copy(self, dst: Buffer, src: Buffer, nbytes: int, stream: Stream) -> None:
        with self._on(stream) as current:
            source, target = _used(src, current), _used(dst, current)
            target[:nbytes].copy_(source[:nbytes], non_blocking=True)

    def launch(
        self,
        work: Callable[..., None],
        stream: Stream,
        reads: Sequence[Buffer],
        writes: Sequence[Buffer],
        *args: Any,
    ) -> None:
        with self._on(stream) as current:
            work(*(_used(buffer, current) for buffer in (*reads, *writes)), *args)

    def host(self, buffer: Buffer, *, write: bool) -> npt.NDArray[np.uint8]:
        assert isinstance(buffer, CudaBuffer)
        if not buffer.pinned:
            raise DeviceError(f"the host cannot touch device buffer {buffer.name}; copy it to a pinned one")
        self.raise_pending()
        array: npt.NDArray[np.uint8] = buffer.tensor.numpy()
        return array

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def seconds(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        return float(start.elapsed_time(end)) / 1e3

    def publish(self) -> Any:
        return None

    def observe(self, token: Any) -> None: ...

    def close(self, *, abandon: bool = False) -> None:
        if abandon:
            # A card cannot be stopped, but what runs there ends by itself; its memory stays until then.
            self.fail(DeviceError("the device was closed before its work was done"))
            return
        with self.watched():
            for stream in self._streams.values():
                stream.stream.synchronize()

    def fail(self, failure: BaseException) -> None:
        """Makes `failure` the device's pending error, unless there is one."""
        self.failure = self.failure or failure

    def raise_pending(self) -> None:
        """Raises what failed earlier."""
        if self.failure is not None:
            raise self.failure

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raises what failed earlier, and keeps what fails inside."""
        self.raise_pending()
        try:
            yield
        except Exception as failure:
            told = failure
            if not isinstance(failure, RfdnError):
                told = DeviceError(f"{self.name} failed: {_first_line(failure)}; run again, and report it if it stays")
            self.fail(told)
            if told is failure:
                raise
            raise told from failure

    @contextmanager
    def _on(self, stream: Stream) -> Iterator[torch.cuda.Stream]:
        assert isinstance(stream, CudaStream)
        with self.watched(), torch.cuda.stream(stream.stream):
            yield stream.stream

    def _allocate(self, nbytes: int, what: str, **where: Any) -> torch.Tensor:
        self.raise_pending()
        try:
            return torch.empty(nbytes, dtype=torch.uint8, **where)
        except RuntimeError as failure:
            raise DeviceError(
                f"{self.name} got no {nbytes / 1e6:.0f} MB of {what} for a frame: {_first_line(failure)}; "
                "end other programs that use it, or choose --device cpu"
            ) from failure


_REFUSALS: tuple[tuple[str, type[RfdnError], str], ...] = (
    ("not compiled with CUDA", NoDeviceError, "for an NVIDIA card install one with it: https://pytorch.org"),
    ("no NVIDIA driver", NoDeviceError, "if it has an NVIDIA card, install its driver"),
    ("No CUDA GPUs", NoDeviceError, "see what nvidia-smi lists and whether CUDA_VISIBLE_DEVICES hides it"),
    ("too old", UsageError, f"update it for CUDA {torch.version.cuda}, or install a torch built for an older CUDA"),
)
"""Words of torch's, the error that they become, and what to do."""


def start_cuda() -> None:
    """Starts CUDA in this process; raises as `CudaDevice`."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as failure:
        said = _first_line(failure).partition(". ")[0]
        for words, error, remedy in _REFUSALS:
            if words in said:
                raise error(f"{said}; {remedy}") from failure
        raise DeviceError(f"CUDA does not start: {said}; see what nvidia-smi says, or choose --device cpu") from failure


def find_card(index: int | None = None) -> torch.device:
    """The card of that number (None = 0), which computes; raises as `CudaDevice`."""
    start_cuda()
    index, count = index or 0, torch.cuda.device_count()
    if index >= count:
        cards = ", ".join(f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(count))
        raise UsageError(f"there is no cuda:{index}; there is {cards}")
    device = torch.device("cuda", index)
    probe(device)
    return device


def probe(device: torch.device) -> None:
    """Runs one kernel: what is_available() and the driver's version promise is not always kept."""
    try:
        torch.zeros(1, device=device).add_(1).item()
    except RuntimeError as failure:
        said, remedy = _first_line(failure), "see what nvidia-smi says, or choose --device cpu"
        if "out of memory" in said:
            remedy = "end other programs that use it, or choose --device cpu"
        elif "no kernel image" in said:
            major, minor = torch.cuda.get_device_capability(device)
            built = ", ".join(torch.cuda.get_arch_list())
            remedy = f"it is sm_{major}{minor} and this torch is built for {built}: install one that has it"
        raise DeviceError(f"{device} does not compute: {said}; {remedy}") from failure


def _used(buffer: Buffer, stream: torch.cuda.Stream) -> torch.Tensor:
    """The buffer's bytes, marked as used by work on the stream."""
    assert isinstance(buffer, CudaBuffer)
    if not buffer.pinned:
        buffer.tensor.record_stream(stream)
    return buffer.tensor


def _first_line(failure: BaseException) -> str:
    return (str(failure).strip() or type(failure).__name__).splitlines()[0]
