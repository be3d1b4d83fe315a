"""The ring of slots on a checking device: right as it is, and every omitted edge is found."""

import queue
import random
import threading
import time

import numpy as np
import pytest

from rfdn_stream.devices.cpu import CpuDevice, CpuEvent, CpuStream
from rfdn_stream.devices.happens_before import RaceError
from rfdn_stream.devices.ring import Ring
from rfdn_stream.errors import DeviceError

FRAMES = 12


class FaultyDevice(CpuDevice):
    """A CpuDevice with random delays that leaves out the waits for one event, or fails at one call.

    Args:
        omit: name of the event whose waits are forgotten: (event, who waits).
        fail: (what, n): the n-th copy or launch of that kind fails when it runs.
    """

    def __init__(self, *, check=True, seed=0, delay=0.0, omit=None, fail=None):
        super().__init__(check=check)
        self.random, self.delay, self.omit, self.fail_at, self.counts = random.Random(seed), delay, omit, fail, {}

    def stream(self, name):
        if name not in self._streams:
            self._streams[name] = _ForgetfulStream(self, name)
        return self._streams[name]

    def event(self, name):
        return _ForgetfulEvent(self, name)

    def observe(self, token):
        if self.omit != ("released", "host"):
            super().observe(token)

    def _enqueue(self, what, work, stream, reads, writes):
        count = self.counts[what] = self.counts.get(what, 0) + 1

        def delayed():
            time.sleep(self.random.random() * self.delay)
            if self.fail_at == (what, count):
                raise DeviceError(f"injected: {what} {count}")
            work()

        super()._enqueue(what, delayed, stream, reads, writes)


class _ForgetfulStream(CpuStream):
    def wait(self, event):
        if self._device.omit != (event.name, self.name):
            super().wait(event)


class _ForgetfulEvent(CpuEvent):
    def synchronize(self):
        if self._device.omit != (self.name, "host"):
            super().synchronize()


def double(dev_in, dev_out):
    dev_out[: dev_in.numel()] = dev_in * 2


def run(device, depth=3, frames=FRAMES):
    """Feeds numbered frames from this thread, reads them on another; the results in order."""
    ring, results, failures = Ring(device, depth), [], []
    filled, free = queue.Queue(), queue.Queue()
    for _ in range(depth):
        free.put(ring.next())

    def reader():
        try:
            while (item := filled.get()) is not None:
                slot, token = item
                device.observe(token)
                slot.d2h.synchronize()
                results.append(device.host(slot.pin_out, write=False)[: slot.out_bytes].copy())
                ring.release(slot)
                free.put(slot)
        except Exception as failure:  # noqa: BLE001 - raised by the main thread
            failures.append(failure)
            free.put(None)

    thread = threading.Thread(target=reader)
    thread.start()
    try:
        for number in range(frames):
            if (slot := free.get()) is None:
                break
            size = 8 + number % 3  # sizes change midway
            ring.acquire(slot, size, size)
            device.host(slot.pin_in, write=True)[:size] = number
            ring.enqueue(slot, double)
            filled.put((slot, device.publish()))
    finally:
        filled.put(None)
        thread.join(20)
        assert not thread.is_alive()
    if failures:
        raise failures[0]
    return results


def assert_right(results):
    assert len(results) == FRAMES
    for number, result in enumerate(results):
        np.testing.assert_array_equal(result, np.full(8 + number % 3, 2 * number))


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_the_ring_is_ordered_under_delays(seed, depth):
    device = FaultyDevice(seed=seed, delay=0.002)
    assert_right(run(device, depth))
    device.close()


EDGES = {
    "compute waits for h2d": ("h2d", "compute"),
    "d2h waits for compute": ("compute", "d2h"),
    "reader and refill wait for d2h": ("d2h", "host"),
    "refill takes over from the reader": ("released", "host"),
}


@pytest.mark.parametrize("edge", EDGES)
def test_every_omitted_edge_is_found(edge):
    """20 of 20, and at the first use: happens-before does not depend on timing."""
    for seed in range(20):
        device = FaultyDevice(seed=seed, omit=EDGES[edge], delay=0.0005 * (seed % 2))
        with pytest.raises(RaceError):
            run(device)
        device.close(abandon=True)


@pytest.mark.parametrize("fail", [("h2d copy", 1), ("double", 5), ("d2h copy", FRAMES)])
def test_a_fault_surfaces_once_and_nothing_hangs(fail):
    device = FaultyDevice(fail=fail, delay=0.001)
    with pytest.raises(DeviceError, match=r"injected: "):
        run(device)
    with pytest.raises(DeviceError, match=r"injected: "):
        device.close()
