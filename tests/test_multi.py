"""Frames on one device and on several: none lost, none twice, in order, whatever fails or is broken off."""

import gc
import threading
import weakref

import numpy as np
import pytest

from faults import FaultyDevice, within
from rfdn_stream.devices.cpu import CpuDevice
from rfdn_stream.errors import DeviceError, ModelError, RfdnError, UsageError
from rfdn_stream.jobs.opened import computes_alike
from rfdn_stream.multi import MultiUpscaler, open_upscaler
from rfdn_stream.upscaler import Upscaler
from support import assert_frames_equal, random_frame

# Of a size are 3, 3 and 1; in batches of two they fill 5 slots.
FRAMES = [random_frame(width=20 + 2 * (i // 3 % 2), height=16, seed=i, pts=i) for i in range(7)]
SLOTS = {1: 7, 2: 5}


@pytest.fixture(scope="module")
def wanted(tiny_model):
    with Upscaler(tiny_model, device="cpu", engine="torch", precision="fp32") as upscaler:
        return [upscaler.submit(frame).result() for frame in FRAMES]


def opened(model, *devices, **options):
    """An Upscaler with torch's engine, which takes batches, on one device or on several."""
    each = [Upscaler(model, device=device, engine="torch", precision="fp32", **options) for device in devices]
    return each[0] if len(each) == 1 else MultiUpscaler(each)


def assert_a_fault_is_one_error(upscaler, wanted, fault):
    """map() gives a right beginning and then raises; whatever is done next raises the same."""
    results = []

    def run():
        with upscaler:
            results.extend(upscaler.map(FRAMES))

    failure = within(30, run)
    assert isinstance(failure, DeviceError)
    assert str(failure) == "injected: {} {}".format(*fault)
    assert len(results) < len(FRAMES)
    for got, want in zip(results, wanted, strict=False):
        assert_frames_equal(got, want, codes=1)  # torch adds up in another order in a batch


@pytest.mark.parametrize("what", ["h2d copy", "_compute", "d2h copy"])
@pytest.mark.parametrize(("batch", "count"), [(n, count) for n in SLOTS for count in range(1, SLOTS[n] + 1)])
def test_a_fault_anywhere_is_one_error(tiny_model, wanted, what, batch, count):
    fault = (what, count)
    assert_a_fault_is_one_error(opened(tiny_model, FaultyDevice(fault), batch=batch), wanted, fault)


@pytest.mark.parametrize("batch", SLOTS)
@pytest.mark.parametrize("fault", [("pinned", 1), ("pinned", 5), ("empty", 2), ("empty", 6)])
def test_no_memory_for_a_slot_is_one_error_and_the_device_goes_on(tiny_model, wanted, batch, fault):
    with opened(tiny_model, FaultyDevice(fault), batch=batch) as upscaler:
        with pytest.raises(DeviceError, match="injected"):
            list(upscaler.map(FRAMES))
        for got, want in zip(upscaler.map(FRAMES), wanted, strict=True):
            assert_frames_equal(got, want, codes=1)


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_breaking_off_in_the_middle_leaves_at_once(tiny_model, batch):
    """As Ctrl-C does: the frames in flight are abandoned, and no thread is left that waits."""
    gate, devices = threading.Event(), [CpuDevice(check=True) for _ in range(2)]

    def run():
        with opened(tiny_model, *devices, batch=batch) as upscaler:
            for count, _ in enumerate(upscaler.map(FRAMES * 3)):
                if count == 5:
                    for device in devices:
                        device.launch(lambda: gate.wait(30), device.stream("compute"), [], [])
                    raise KeyboardInterrupt

    streams = [device.stream(name) for device in devices for name in ("h2d", "compute", "d2h")]
    assert isinstance(within(10, run), KeyboardInterrupt)
    assert not gate.is_set()
    gate.set()
    for stream in streams:
        stream._thread.join(10)
        assert not stream._thread.is_alive()


# Several


@pytest.fixture
def several(tiny_model):
    with opened(tiny_model, *(CpuDevice(check=True) for _ in range(3))) as upscaler:
        yield upscaler


def test_results_come_in_order_and_are_those_of_one_device(several, wanted):
    for _ in range(3):
        for got, want in zip(several.map(FRAMES), wanted, strict=True):
            assert_frames_equal(got, want)
    assert several.work.frames == 3 * len(FRAMES)
    assert several.depth == 9
    assert several.scale == 2
    image = np.full((18, 20, 3), 90, np.uint8)
    assert several(image).shape == (36, 40, 3)


def test_batches_on_several_come_in_order(tiny_model, wanted):
    with opened(tiny_model, *(CpuDevice(check=True) for _ in range(2)), batch=2) as several:
        assert several.batch_for(FRAMES[0]) == 2
        for got, want in zip(several.map(FRAMES * 2), wanted * 2, strict=True):
            assert_frames_equal(got, want, codes=1)
        assert several.work.frames == 2 * len(FRAMES)


def test_devices_that_are_equally_busy_take_turns(several):
    owners = []
    for frame in FRAMES[:6]:
        ticket = several.submit(frame)
        owners.append(several.upscalers.index(ticket._owner))
        ticket.wait()
    assert owners == [0, 1, 2, 0, 1, 2]


def test_a_slow_device_gets_fewer_frames(several, wanted):
    """The first device is held up; the others go on, and the results come in order all the same."""
    gate, slow = threading.Event(), several.upscalers[0]
    slow.device.launch(lambda: gate.wait(30), slow.device.stream("compute"), [], [])
    tickets = []
    for frame in FRAMES:
        tickets.append(several.submit(frame))
        if tickets[-1]._owner is not slow:
            tickets[-1].wait()
    assert [ticket._owner is slow for ticket in tickets] == [True] + [False] * (len(FRAMES) - 1)
    gate.set()
    for ticket, want in zip(tickets, wanted, strict=True):
        assert_frames_equal(ticket.result(), want)


@pytest.mark.parametrize("batch", SLOTS)
@pytest.mark.parametrize("fault", [("h2d copy", 1), ("_compute", 2), ("d2h copy", 2)])
def test_one_device_that_fails_is_one_error(tiny_model, wanted, fault, batch):
    upscaler = opened(tiny_model, CpuDevice(check=True), FaultyDevice(fault), batch=batch)
    assert_a_fault_is_one_error(upscaler, wanted, fault)


def test_all_are_closed_and_the_first_error_is_told(tiny_model):
    faulty, good = FaultyDevice(("d2h copy", 1)), CpuDevice()
    upscaler = opened(tiny_model, faulty, good)
    upscaler.submit(FRAMES[0])
    with pytest.raises(DeviceError, match="injected"):
        upscaler.close()
    with pytest.raises(RfdnError, match="closed"):
        upscaler.upscalers[1].submit(FRAMES[0])


def test_devices_are_named_with_commas(tiny_model, wanted):
    with open_upscaler(tiny_model, device="cpu, cpu", engine="torch", precision="fp32") as upscaler:
        assert isinstance(upscaler, MultiUpscaler)
        assert upscaler.description.startswith("tiny-x2 on cpu, ")
        assert upscaler.description.endswith("; and on cpu")
        for got, want in zip(upscaler.map(FRAMES), wanted, strict=True):
            assert_frames_equal(got, want)
    with open_upscaler(tiny_model, device="cpu", depth=2) as upscaler:
        assert type(upscaler) is Upscaler
        assert upscaler.depth == 2


@pytest.mark.parametrize("device", ["cpu,", "auto,cpu", ",", "cpu,,cpu"])
def test_lists_that_are_not_understood(tiny_model, device):
    with pytest.raises(UsageError, match="name each, as in cuda:0,cuda:1"):
        open_upscaler(tiny_model, device=device)


def test_one_device_that_does_not_exist_closes_the_others(tiny_model):
    before = threading.active_count()
    with pytest.raises((UsageError, ModelError), match="use 'cpu'"):
        open_upscaler(tiny_model, device="cpu,cpu:1")
    for thread in threading.enumerate():
        if thread.name.startswith("stream-"):
            thread.join(5)
    assert threading.active_count() <= before


def test_what_is_asked_of_one_is_answered_for_all(tiny_model):
    gate = threading.Event()
    with opened(tiny_model, "cpu", "cpu") as both:
        assert both.fills_processor
        for upscaler in both.upscalers:
            upscaler.device.launch(lambda: gate.wait(30), upscaler.device.stream("compute"), [], [])
        tickets = [both.submit(frame) for frame in FRAMES[:2]]
        assert both.busy == 2
        gate.set()
        for ticket in tickets:
            ticket.result()
        assert both.busy == 0
    with opened(tiny_model, "cpu", "cpu", strength=0) as plain:
        assert not plain.fills_processor


def test_a_closed_upscaler_is_released_without_a_garbage_collection(tiny_model):
    upscaler = opened(tiny_model, "cpu")
    frame = upscaler.submit(FRAMES[0]).result()
    upscaler.close()
    gone, network = weakref.ref(upscaler), weakref.ref(upscaler.engine)
    gc.collect()
    gc.disable()
    try:
        del upscaler
        assert gone() is None
        assert network() is None
    finally:
        gc.enable()
    assert frame.width == 2 * FRAMES[0].width


def test_only_devices_of_one_kind_compute_alike():
    assert computes_alike("auto")
    assert computes_alike("cuda:0, cuda:1")
    assert not computes_alike("cuda:0,cpu")
