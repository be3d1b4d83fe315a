"""The CPU as a device: really asynchronous, one worker thread a stream, so that ordering is real.

`CpuDevice(check=True)` also proves each order by vector clocks (`happens_before`); the tests of everything
that schedules work run on it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rfdn_stream.devices.base import Buffer, Event, Stream
from rfdn_stream.devices.happens_before import Clock, HappensBefore
from rfdn_stream.errors import DeviceError, UsageError
from rfdn_stream.kernels import cpu
from rfdn_stream.kernels.base import ColorKernels


class CpuBuffer:
    """Bytes in RAM; `pinned` only says which side of the contract they play."""

    def __init__(self, nbytes: int, name: str, pinned: bool) -> None:
        self.tensor = torch.empty(nbytes, dtype=torch.uint8)
        self.nbytes, self.name, self.pinned = nbytes, name, pinned


class CpuEvent:
    """A mark; each `record` makes a new generation of it, as in CUDA."""

    def __init__(self, device: CpuDevice, name: str) -> None:
        self.name = name
        self.mark: threading.Event | None = None
        self.clock: Clock = {}
        self._device = device

    def done(self) -> bool:
        self._device.raise_pending()
        return self.mark is None or self.mark.is_set()

    def synchronize(self) -> None:
        if self.mark is not None:
            self.mark.wait()
        if self._device.order is not None:
            self._device.order.join(HappensBefore.thread(), self.clock)
        self._device.raise_pending()


class CpuStream:
    """A worker thread that runs what is put into its queue, in order."""

    def __init__(self, device: CpuDevice, name: str) -> None:
        self.name = name
        self._device = device
        self._queue: queue.SimpleQueue[tuple[Callable[[], Any], bool] | None] = queue.SimpleQueue()
        # A daemon: Ctrl-C must not wait for a network that computes for seconds.
        self._thread = threading.Thread(target=self._run, name=f"stream-{name}", daemon=True)
        self._thread.start()

    def record(self, event: Event) -> None:
        assert isinstance(event, CpuEvent)
        event.mark = mark = threading.Event()
        if self._device.order is not None:
            event.clock = self._device.order.snapshot(self.name)
        self.put(mark.set, even_after_failure=True)

    def wait(self, event: Event) -> None:
        assert isinstance(event, CpuEvent)
        if event.mark is not None:
            if self._device.order is not None:
                self._device.order.join(self.name, event.clock)
            self.put(event.mark.wait, even_after_failure=True)

    def put(self, work: Callable[[], Any], *, even_after_failure: bool = False) -> None:
        """Enqueues work; marks and waits run even after a failure, so that nobody waits for ever."""
        self._device.raise_pending()
        self._queue.put((work, even_after_failure))

    def finish(self, *, join: bool) -> None:
        """Ends the thread after what is enqueued."""
        self._queue.put(None)
        if join:
            self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            work, even_after_failure = item
            if self._device.failure is not None and not even_after_failure:
                continue
            try:
                work()
            except BaseException as failure:  # noqa: BLE001 - raised again by the next call on the device
                self._device.fail(failure)


class CpuDevice:
    """The Device contract (see `base`) on host memory and threads.

    Args:
        index: the CPU has none; anything but None is refused.
        check: prove the order of all accesses; raises RaceError at the first that nothing orders.
    """

    name = "cpu"
    torch_device = torch.device("cpu")
    kernels: ColorKernels = cpu
    engines: tuple[str, ...] = ("winograd", "openvino", "torch")
    fills = 1

    def __init__(self, index: int | None = None, *, check: bool = False) -> None:
        if index is not None:
            raise UsageError(f"there is one CPU device, got 'cpu:{index}'; use 'cpu'")
        self.order = HappensBefore() if check else None
        self.failure: BaseException | None = None
        self._streams: dict[str, CpuStream] = {}

    def stream(self, name: str) -> CpuStream:
        if name not in self._streams:
            self._streams[name] = CpuStream(self, name)
        return self._streams[name]

    def event(self, name: str) -> CpuEvent:
        return CpuEvent(self, name)

    def pinned(self, nbytes: int, name: str) -> CpuBuffer:
        return CpuBuffer(nbytes, name, pinned=True)

    def empty(self, nbytes: int, name: str) -> CpuBuffer:
        return CpuBuffer(nbytes, name, pinned=False)

    def copy(self, dst: Buffer, src: Buffer, nbytes: int, stream: Stream) -> None:
        def work() -> None:
            _tensor(dst)[:nbytes].copy_(_tensor(src)[:nbytes])

        self._enqueue("h2d copy" if src.pinned else "d2h copy", work, stream, [src], [dst])

    def launch(
        self,
        work: Callable[..., None],
        stream: Stream,
        reads: Sequence[Buffer],
        writes: Sequence[Buffer],
        *args: Any,
    ) -> None:
        tensors = [_tensor(b) for b in (*reads, *writes)]
        self._enqueue(getattr(work, "__name__", "launch"), lambda: work(*tensors, *args), stream, reads, writes)

    def host(self, buffer: Buffer, *, write: bool) -> npt.NDArray[np.uint8]:
        if not buffer.pinned:
            raise DeviceError(f"the host cannot touch device buffer {buffer.name}; copy it to a pinned one")
        self.raise_pending()
        if self.order is not None:
            self.order.access(HappensBefore.thread(), buffer, buffer.name, "host access", write=write)
        array: npt.NDArray[np.uint8] = _tensor(buffer).numpy()
        return array

    def mark(self) -> float:
        return time.perf_counter()

    def seconds(self, start: float, end: float) -> float:
        return end - start

    def publish(self) -> Any:
        return None if self.order is None else self.order.snapshot(HappensBefore.thread())

    def observe(self, token: Any) -> None:
        if self.order is not None and token is not None:
            self.order.join(HappensBefore.thread(), token)

    def close(self, *, abandon: bool = False) -> None:
        if abandon:
            self.fail(DeviceError("the device was closed before its work was done"))
        for stream in self._streams.values():
            stream.finish(join=not abandon)
        self._streams.clear()
        if not abandon:
            self.raise_pending()

    def fail(self, failure: BaseException) -> None:
        """Makes `failure` the device's pending error, unless there is one."""
        self.failure = self.failure or failure

    def raise_pending(self) -> None:
        """Raises what failed earlier."""
        if self.failure is not None:
            raise self.failure

    def _enqueue(
        self, what: str, work: Callable[[], None], stream: Stream, reads: Sequence[Buffer], writes: Sequence[Buffer]
    ) -> None:
        assert isinstance(stream, CpuStream)
        if self.order is not None:
            # Enqueued work happens after everything that the enqueueing thread did.
            self.order.join(stream.name, self.order.snapshot(HappensBefore.thread()))
            for buffer in reads:
                self.order.access(stream.name, buffer, buffer.name, what, write=False)
            for buffer in writes:
                self.order.access(stream.name, buffer, buffer.name, what, write=True)
        stream.put(work)


def _tensor(buffer: Buffer) -> torch.Tensor:
    assert isinstance(buffer, CpuBuffer)
    return buffer.tensor
