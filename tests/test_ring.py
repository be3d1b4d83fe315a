"""The ring of slots on a checking device: right as it is, and every omitted edge is found."""

import queue
import threading

import numpy as np
import pytest

from faults import FaultyDevice, RecordingDevice, free_of
from rfdn_stream.devices.cpu import CpuDevice
from rfdn_stream.devices.happens_before import RaceError
from rfdn_stream.devices.ring import Ring
from rfdn_stream.errors import DeviceError

FRAMES = 12


def double(dev_in, dev_out):
    dev_out[: dev_in.numel()] = dev_in * 2


def run(device, depth=3, frames=FRAMES, results=None):
    """Feeds numbered frames from this thread, reads them on another; the results in order."""
    results = [] if results is None else results
    ring, failures = Ring(device, depth), []
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


def assert_right(results, frames=FRAMES):
    assert len(results) == frames
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


@pytest.mark.parametrize("what", ["h2d copy", "double", "d2h copy"])
@pytest.mark.parametrize("count", range(1, FRAMES + 1))
def test_a_fault_anywhere_surfaces_once_and_nothing_hangs(what, count):
    device, results = FaultyDevice(fail=(what, count), seed=count, delay=0.0005 * (count % 2)), []
    with pytest.raises(DeviceError, match=f"injected: {what} {count}"):
        run(device, results=results)
    with pytest.raises(DeviceError, match=f"injected: {what} {count}"):
        device.close()
    assert_right(results, len(results))  # what came before is whole, in order, and nothing twice
    assert len(results) < count


def test_fill_and_drain_take_the_place_of_the_copies():
    """A frame that lies on the device: nothing of it passes through the host, but for the head that is asked for."""
    device, taken = FaultyDevice(), []
    ring = Ring(device, 2)
    for number in range(5):
        slot = ring.next()
        ring.acquire(slot, 8, 8, from_host=False, back=2)
        ring.enqueue(
            slot,
            double,
            fill=lambda dev_in, number=number: dev_in.fill_(number),
            drain=lambda dev_out: taken.append(dev_out.tolist()),
        )
        slot.d2h.synchronize()
        assert slot.pin_in.nbytes == 0
        assert device.host(slot.pin_out, write=False).tolist() == [2 * number] * 2
        ring.release(slot)
    assert taken == [[2 * number] * 8 for number in range(5)]
    device.close()


def test_readers_leave_nothing_behind_on_a_device_that_does_not_check():
    """A slot whose frame repeats for hours has a reader each time."""
    device = CpuDevice()
    ring = Ring(device, 1)
    slot = ring.next()
    for _ in range(3):
        ring.release(slot)
    assert slot.released == []
    device.close()


# Overlap


@pytest.mark.parametrize("depth", [1, 3])
def test_uploads_work_and_downloads_of_neighbours_are_free_of_each_other(depth):
    """By what orders them, not by the clock; with one slot nothing is free, which shows that the test can fail."""
    device = RecordingDevice()
    ring, flying = Ring(device, depth), []
    for number in range(FRAMES):
        if len(flying) == depth:
            oldest = flying.pop(0)
            oldest.d2h.synchronize()
            ring.release(oldest)
        slot = ring.next()
        ring.acquire(slot, 8, 8)
        device.host(slot.pin_in, write=True)[:] = number
        ring.enqueue(slot, double)
        flying.append(slot)
        if number == depth - 1:
            made = len(device.made)
    device.close()
    up, compute, down = (device.work[name] for name in ("h2d", "compute", "d2h"))
    for n in range(FRAMES - 2):
        assert free_of(up[n + 1], compute[n]) == (depth == 3)
        assert free_of(compute[n + 1], down[n]) == (depth == 3)
        assert free_of(up[n + 2], down[n]) == (depth == 3)
        assert not free_of(up[n], compute[n])
    assert len(device.made) == made  # nothing but what the first round needed
