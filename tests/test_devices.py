"""The Device contract, on a card too where there is one; and that CpuDevice's checking finds what it is there for."""

import gc
import subprocess
import sys
import threading

import numpy as np
import pytest

from rfdn_stream.devices.cpu import CpuDevice
from rfdn_stream.devices.happens_before import RaceError
from rfdn_stream.errors import DeviceError, UsageError
from rfdn_stream.opening import open_device


@pytest.fixture
def device():
    device = CpuDevice(check=True)
    yield device
    device.close(abandon=True)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def any_device(request, device):
    if request.param == "cpu":
        yield device
    else:
        card = open_device("cuda")
        yield card
        card.close(abandon=True)


def add_one(source, target):
    target.copy_(source + 1)


def round_trip(device, value):
    """One frame through two streams, correctly ordered."""
    pinned, on_device, back = device.pinned(4, "in"), device.empty(4, "dev"), device.pinned(4, "out")
    up, down, event = device.stream("up"), device.stream("down"), device.event("up")
    device.host(pinned, write=True)[:] = value
    device.copy(on_device, pinned, 4, up)
    device.launch(add_one, up, [on_device], [on_device])
    up.record(event)
    down.wait(event)
    device.copy(back, on_device, 4, down)
    down.record(event)
    event.synchronize()
    return device.host(back, write=False).copy()


def test_a_copy_up_a_launch_and_a_copy_down(any_device):
    for value in (41, 42):
        np.testing.assert_array_equal(round_trip(any_device, value), [value + 1] * 4)


def test_an_event_that_was_never_recorded_is_no_wait(any_device):
    event = any_device.event("never")
    any_device.stream("a").wait(event)
    event.synchronize()
    assert event.done()


def test_streams_are_made_once(any_device):
    assert any_device.stream("a") is any_device.stream("a")
    assert any_device.stream("a") is not any_device.stream("b")


def test_marks_tell_the_time_between_them(any_device):
    marks, event = [], any_device.event("e")
    for _ in range(2):
        any_device.launch(lambda: marks.append(any_device.mark()), any_device.stream("a"), [], [])
    any_device.stream("a").record(event)
    event.synchronize()
    assert 0 <= any_device.seconds(*marks) < 10


def test_empty_buffers_are_buffers(any_device):
    """A slot begins with them."""
    assert any_device.pinned(0, "pin").nbytes == any_device.empty(0, "dev").nbytes == 0


def test_work_is_asynchronous(device):
    """Enqueueing returns while the work is held up, and an event is not done before its work."""
    gate = threading.Event()
    event = device.event("held")
    assert event.done()
    device.launch(lambda: gate.wait(), device.stream("a"), [], [])
    device.stream("a").record(event)
    assert not event.done()
    gate.set()
    event.synchronize()
    assert event.done()


def test_streams_overlap(device):
    """Two streams meet at a barrier that neither could pass alone."""
    barrier = threading.Barrier(2, timeout=10)
    done = [device.event(n) for n in "ab"]
    for name, event in zip("ab", done):
        device.launch(lambda: barrier.wait(), device.stream(name), [], [])
        device.stream(name).record(event)
    for event in done:
        event.synchronize()


def test_a_copy_reads_its_source_when_it_runs():
    device = CpuDevice()  # unchecked: this is the very mistake that checking forbids
    gate = threading.Event()
    pinned, target, event = device.pinned(1, "in"), device.pinned(1, "out"), device.event("e")
    device.host(pinned, write=True)[:] = 1
    device.launch(lambda: gate.wait(), device.stream("s"), [], [])
    device.copy(target, pinned, 1, device.stream("s"))
    device.stream("s").record(event)
    device.host(pinned, write=True)[:] = 2
    gate.set()
    event.synchronize()
    assert device.host(target, write=False)[0] == 2
    device.close()


def test_a_failure_sticks_and_nobody_waits_for_ever(any_device):
    def boom():
        raise DeviceError("launch failed")

    def launch_and_wait():
        any_device.launch(boom, stream, [], [])
        stream.record(event)
        event.synchronize()

    event, other, stream = any_device.event("e"), any_device.event("o"), any_device.stream("a")
    with pytest.raises(DeviceError, match="launch failed"):  # at once, or when it is waited for
        launch_and_wait()
    with pytest.raises(DeviceError, match="launch failed"):
        stream.record(other)
    with pytest.raises(DeviceError, match="launch failed"):
        any_device.close()


def test_the_host_does_not_touch_device_memory(any_device):
    with pytest.raises(DeviceError, match="copy it to a pinned one"):
        any_device.host(any_device.empty(1, "dev"), write=False)


def test_unordered_accesses_are_races(device):
    pinned, on_device = device.pinned(1, "pin"), device.empty(1, "dev")
    device.host(pinned, write=True)[:] = 0
    device.copy(on_device, pinned, 1, device.stream("up"))
    with pytest.raises(RaceError, match=r"host access on host:\d+ writes pin, unordered after h2d copy on up"):
        device.host(pinned, write=True)
    with pytest.raises(RaceError, match="h2d copy on other writes dev, unordered after h2d copy on up"):
        device.copy(on_device, pinned, 1, device.stream("other"))


def test_threads_hand_over_what_they_know(device):
    pinned = device.pinned(1, "pin")
    device.host(pinned, write=True)[:] = 0
    token = device.publish()

    def other(observe, failures):
        if observe:
            device.observe(token)
        try:
            device.host(pinned, write=True)
        except RaceError as failure:
            failures.append(failure)

    for observe in (False, True):
        failures = []
        thread = threading.Thread(target=other, args=(observe, failures))
        thread.start()
        thread.join()
        assert bool(failures) is not observe


def test_no_memory_is_told_and_the_device_goes_on(device):
    for make in (device.pinned, device.empty):
        with pytest.raises(DeviceError, match=r"^cpu got no \d+ MB of memory for a frame; end other"):
            make(1 << 60, "huge")
    np.testing.assert_array_equal(round_trip(device, 1), [2] * 4)


def test_threads_of_a_device_that_nobody_has_any_more_end():
    device = CpuDevice()
    round_trip(device, 1)
    threads = [stream._thread for stream in device._streams.values()]
    del device
    gc.collect()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


ENDING = """
import threading, time, torch
from rfdn_stream.devices.cpu import CpuDevice

def busy(begun):
    square, end = torch.ones(400, 400), time.monotonic() + 0.5
    begun.set()
    while time.monotonic() < end:
        square @ square

for close in (lambda device: None, lambda device: device.close(abandon=True)):
    device, begun = CpuDevice(), threading.Event()
    for _ in range(100):
        device.launch(busy, device.stream("compute"), [], [], begun)
    begun.wait()
    close(device)
"""


def test_a_program_may_end_while_torch_computes():
    """Closed or not. What is under way is waited for, what is queued is dropped."""
    ended = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_there_is_one_cpu():
    with pytest.raises(UsageError, match="use 'cpu'"):
        CpuDevice(1)
