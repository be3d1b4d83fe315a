"""The CPU as a device: really asynchronous, one worker thread a stream, so that ordering is real.

`CpuDevice(check=True)` also proves each order by vector clocks (`happens_before`); the tests of everything
that schedules work run on it.
"""

from __future__ import annotations

import atexit
import queue
import threading
import time
import weakref
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
        try:
            self.tensor = torch.empty(nbytes, dtype=torch.uint8)
        except RuntimeError as failure:  # all that torch has to say of its allocator for RAM
            raise DeviceError(
                f"cpu got no {nbytes / 1e6:.0f} MB of memory for a frame; end other programs, or take smaller pictures"
            ) from failure
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
    """A queue of work, and the thread that does it."""

    def __init__(self, device: CpuDevice, name: str) -> None:
        self.name = name
        self._device = device
        self._thread = _Worker(name, device.pending)
        self._thread.start()
        # An Upscaler that nobody closed leaves no threads behind. At exit there is `_end_workers`.
        weakref.finalize(self, self._thread.put_end).atexit = False

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
        self._thread.queue.put((work, even_after_failure))

    def finish(self, *, join: bool) -> None:
        """Ends the thread after what is enqueued."""
        self._thread.put_end()
        if join:
            self._thread.join()


class _Pending:
    """A device's first failure, if there is one."""

    failure: BaseException | None = None

    def fail(self, failure: BaseException) -> None:
        self.failure = self.failure or failure

    def raise_it(self) -> None:
        if self.failure is not None:
            raise self.failure


class _Worker(threading.Thread):
    """Runs what is put into its queue, in order.

    It knows neither stream nor device, and keeps no work that is done: nothing lives on because its thread does.
    """

    def __init__(self, name: str, pending: _Pending) -> None:
        # A daemon: Ctrl-C of the command line must not wait for a network that computes for seconds.
        super().__init__(name=f"stream-{name}", daemon=True)
        self.queue: queue.SimpleQueue[tuple[Callable[[], Any], bool] | None] = queue.SimpleQueue()
        self.pending = pending

    def put_end(self) -> None:
        """The thread ends after what is enqueued."""
        self.queue.put(None)

    def run(self) -> None:
        while self._next():
            pass

    def _next(self) -> bool:
        """Does the next piece of work; whether there was one."""
        item = self.queue.get()
        if item is None:
            return False
        work, even_after_failure = item
        if self.pending.failure is None or even_after_failure:
            try:
                work()
            except BaseException as failure:  # noqa: BLE001 - raised again by the next call on the device
                self.pending.fail(failure)
        return True


@atexit.register
def _end_workers() -> None:
    """Waits for the work under way, and drops the rest, while threads still run.

    Python unwinds a daemon that is inside torch when the interpreter ends, and torch aborts the process for that.
    """
    workers = [thread for thread in threading.enumerate() if isinstance(thread, _Worker)]
    for worker in workers:
        worker.pending.fail(DeviceError("the program ends before the device's work is done"))
    # Only now, so that nobody enqueues a wait for a mark that comes behind the end of its stream.
    for worker in workers:
        worker.put_end()
    for worker in workers:
        worker.join()


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
        self.pending = _Pending()
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
        self.pending.fail(failure)

    def raise_pending(self) -> None:
        """Raises what failed earlier."""
        self.pending.raise_it()

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
