"""Frames that travel together: the results of single ones, in order, and nothing unordered, whoever claims them."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from faults import FaultyDevice, RecordingDevice, free_of
from rfdn_stream.batch import LARGEST, together
from rfdn_stream.devices.cpu import CpuDevice
from rfdn_stream.devices.happens_before import RaceError
from rfdn_stream.errors import DeviceError, ModelError, RfdnError, UsageError
from rfdn_stream.frame import FORMATS, CardPlane, ColorSpec, Frame
from rfdn_stream.upscaler import MOST, Upscaler
from support import assert_frames_equal, random_frame


class Doubled:
    """An engine whose results are the same bits in a batch and alone; `spoil(call, result)` may change them."""

    scale, precision, description, batches = 2, "fp32", "each pixel four times", True

    def __init__(self, spoil=lambda call, result: None):
        self.sizes, self.spoil = [], spoil

    def __call__(self, rgb):
        self.sizes.append(len(rgb) if rgb.ndim == 4 else 1)
        result = rgb.repeat_interleave(2, -1).repeat_interleave(2, -2)
        self.spoil(len(self.sizes), result)
        return result


def opened(model, device=None, batch=None, **options):
    """An Upscaler on a checking device, with torch's network, in fp32 whatever the processor multiplies."""
    return Upscaler(
        model, device=device or CpuDevice(check=True), engine="torch", precision="fp32", batch=batch, **options
    )


def doubling(model, device=None, batch=None, **options):
    """The same, with `Doubled` for a network, which every frame goes through."""
    upscaler = opened(model, device, batch, **{"reuse": "off", **options})
    upscaler.engine = Doubled()
    return upscaler


def frames_of(*runs):
    """So many frames of one size, then so many of a smaller one, which needs no new buffers, and so on."""
    widths = [38 - 6 * number for number, count in enumerate(runs) for _ in range(count)]
    return [random_frame(width=width, height=16, seed=i, pts=i) for i, width in enumerate(widths)]


# Results


@pytest.mark.parametrize("name", FORMATS)
def test_a_batch_gives_what_single_frames_do(tiny_model, name):
    """torch adds up in another order in a batch, so that a code may flip at a rounding edge."""
    frames = [random_frame(name, 33, 17, seed=i, pts=i) for i in range(5)]
    with opened(tiny_model) as upscaler:
        together = [ticket.result() for ticket in upscaler.submit_all(frames)]
        for got, frame in zip(together, frames, strict=True):
            # Of 65536 codes many lie within fp32's noise.
            assert_frames_equal(got, upscaler.submit(frame).result(), codes=1 if frame.format.bits <= 12 else 8)


@pytest.mark.parametrize("engine", ["winograd", "torch"])
def test_an_engine_of_single_pictures_gets_them_one_by_one(tiny_model, monkeypatch, engine):
    """To the bit what they are alone."""
    frames = frames_of(4)
    with Upscaler(tiny_model, device=CpuDevice(check=True), engine=engine) as upscaler:
        monkeypatch.setattr(type(upscaler.engine), "batches", False, raising=False)
        assert upscaler.batch_for(frames[0]) == 1
        for ticket, frame in zip(upscaler.submit_all(frames), frames, strict=True):
            assert_frames_equal(ticket.result(), upscaler.submit(frame).result())


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_strength_in_a_batch(tiny_model, strength):
    frames = frames_of(3)
    with opened(tiny_model, strength=strength) as upscaler:
        for ticket, frame in zip(upscaler.submit_all(frames), frames, strict=True):
            assert_frames_equal(ticket.result(), upscaler.submit(frame).result(), codes=1)


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_map_gives_every_frame_in_order_whatever_its_size(tiny_model, batch):
    """A change of size midway, and what is left over at the end, go as smaller batches."""
    frames = frames_of(5, 4, 1, 7)
    with doubling(tiny_model, batch=batch) as upscaler:
        for got, frame in zip(upscaler.map(frames), frames, strict=True):
            assert_frames_equal(got, upscaler.submit(frame).result())
        upscaler.engine.sizes.clear()
        assert [big.pts for big in upscaler.map(frames)] == list(range(17))
        want = {1: [1] * 17, 2: [2, 2, 1, 2, 2, 1, 2, 2, 2, 1], 3: [3, 2, 3, 1, 1, 3, 3, 1], 8: [5, 4, 1, 7]}
        assert upscaler.engine.sizes == want[batch]


def test_map_of_arrays_that_share_one_memory(tiny_model):
    """As of a camera, whose next picture takes the place of the one before."""
    memory = np.empty((18, 20, 3), np.uint8)

    def pictures():
        for number in range(7):
            memory[:] = 30 * number
            yield memory

    with doubling(tiny_model, batch=3) as upscaler:
        assert [int(big[5, 5, 0]) for big in upscaler.map(pictures())] == [30 * number for number in range(7)]


def test_the_times_of_a_batch_are_shared_out(tiny_model):
    """As if a slot took 4 s: 1 for the pictures' way in, 1 in the network, 1 out; whatever the number of its frames."""
    with doubling(tiny_model, batch=3) as upscaler:
        upscaler.device.seconds = lambda start, end: 1.0
        list(upscaler.map(frames_of(6)))
        assert upscaler.work.frames == 6
        assert upscaler.work.network_seconds == pytest.approx(2)
        assert upscaler.work.colour_seconds == pytest.approx(4)


# Which frames travel together


def on_card(frame):
    return Frame((), frame.format, frame.width, frame.height, frame.color, card=tuple(map(CardPlane, frame.planes)))


def test_neighbours_that_are_alike_and_in_the_hosts_memory():
    a, b = random_frame(width=20), random_frame(width=22)
    other = random_frame("yuv444p", width=22)
    full = random_frame(width=22, color=ColorSpec(range="full"))
    card = on_card(a)
    given = [a, a, a, a, b, other, full, card, card, b, a]
    got = [batch for batch, into in together(given, lambda frame: 3, tuple)]
    assert got == [[a, a, a], [a], [b], [other], [full], [card], [card], [b], [a]]


def test_a_frame_that_is_to_stay_on_the_card_travels_alone():
    surfaces = iter([(), (), ("planes",), ()])
    frames = frames_of(4)
    got = list(together(frames, lambda frame: 8, lambda: next(surfaces)))
    assert got == [(frames[:2], ()), ([frames[2]], ("planes",)), ([frames[3]], ())]


def test_none_is_held_back_once_its_batch_is_full():
    """Nor asked for before it is needed."""
    asked = []

    def frames():
        for frame in frames_of(6):
            asked.append(frame)
            yield frame

    for number, (batch, _) in enumerate(together(frames(), lambda frame: 2, tuple), 1):
        assert len(batch) == 2
        assert len(asked) == 2 * number


def test_a_device_that_small_frames_do_not_fill_gets_several(tiny_model, monkeypatch):
    sizes = {(1920, 1080): 1, (854, 480): 1, (640, 480): 1, (640, 360): 2, (320, 240): 4, (64, 48): MOST}
    with opened(tiny_model) as upscaler:
        frames = {size: random_frame("gray", *size) for size in sizes}
        assert {upscaler.batch_for(frame) for frame in frames.values()} == {1}  # a CPU
        monkeypatch.setattr(upscaler.device, "fills", 300_000)
        assert {size: upscaler.batch_for(frame) for size, frame in frames.items()} == sizes
        assert upscaler.batch_for(on_card(frames[64, 48])) == 1


def test_batches_that_are_not_possible(tiny_model):
    for batch in (0, LARGEST + 1):
        with pytest.raises(UsageError, match=f"^batch {batch} is outside its range; choose 1 to 64 frames$"):
            opened(tiny_model, batch=batch)
    with pytest.raises(
        UsageError, match=r"^batch 2 is not possible: winograd int16 .* takes one frame at a time; leave batch out, or "
    ):
        Upscaler(tiny_model, device="cpu", engine="winograd", batch=2)
    with opened(tiny_model) as upscaler:
        for frames in ([], frames_of(LARGEST + 1)):
            with pytest.raises(UsageError, match="frames do not make a batch; send 1 to 64 at once"):
                upscaler.submit_all(frames)
        for frames in (frames_of(1, 1), [on_card(frame) for frame in frames_of(2)]):
            with pytest.raises(
                UsageError, match=r"^frames of a batch have one format, size and colour, and lie in the ho"
            ):
                upscaler.submit_all(frames)
        assert len(upscaler.submit_all(frames_of(LARGEST))) == LARGEST


# Order


def claimed_by_two(model, device, batches=6):
    """Batches of two, whose frames are claimed on a thread each; sizes change midway. Returns what came."""
    frames, flying, got = frames_of(6, 2, batches * 2 - 8), deque(), []
    with doubling(model, device) as upscaler, ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:

        def claim():
            for reader, ticket in zip((one, other), flying.popleft(), strict=True):
                got.append(reader.submit(ticket.result).result())

        for index in range(0, len(frames), 2):
            if len(flying) == upscaler.depth:
                claim()
            flying.append(upscaler.submit_all(frames[index : index + 2]))
        while flying:
            claim()
    return frames, got


@pytest.mark.parametrize("seed", range(5))
def test_batches_claimed_on_several_threads_are_ordered_under_delays(tiny_model, seed):
    frames, got = claimed_by_two(tiny_model, FaultyDevice(seed=seed, delay=0.002, readers=2))
    with doubling(tiny_model) as upscaler:
        for big, frame in zip(got, frames, strict=True):
            assert_frames_equal(big, upscaler.submit(frame).result())


EDGES = {
    "compute waits for h2d": ("h2d", "compute"),
    "d2h waits for compute": ("compute", "d2h"),
    "readers and refill wait for d2h": ("d2h", "host"),
    "refill takes over from the first reader": ("released", 0),
    "refill takes over from the last reader": ("released", 1),
}


@pytest.mark.parametrize("edge", EDGES)
def test_every_omitted_edge_is_found_with_batches(tiny_model, edge):
    """20 of 20."""
    for seed in range(20):
        device = FaultyDevice(seed=seed, omit=EDGES[edge], delay=0.0005 * (seed % 2), readers=2)
        with pytest.raises(RaceError):
            claimed_by_two(tiny_model, device)


def test_a_batch_holds_its_slot_until_its_last_view_is_left(tiny_model):
    frames = frames_of(2)
    with doubling(tiny_model, depth=1) as upscaler:
        wanted = [upscaler.submit(frame).result() for frame in frames]
        first, last = upscaler.submit_all(frames)
        with last as view:
            with first:
                pass
            with pytest.raises(RfdnError, match="every slot is in use"):
                upscaler.submit(frames[0])
            assert_frames_equal(view, wanted[1])
        assert_frames_equal(upscaler.submit(frames[0]).result(), wanted[0])


def test_frames_that_nobody_claimed_leave_their_slot_to_newer_ones(tiny_model):
    frames = frames_of(24)
    with doubling(tiny_model) as upscaler:
        tickets = [t for i in range(0, 24, 4) for t in upscaler.submit_all(frames[i : i + 4])]
        for ticket, frame in reversed(list(zip(tickets, frames, strict=True))):
            assert_frames_equal(ticket.result(), upscaler.submit(frame).result())


def test_uploads_networks_and_downloads_of_neighbouring_batches_are_free_of_each_other(tiny_model):
    """By what orders them, not by the clock; and after the first ones no buffer is made."""
    device, made = RecordingDevice(), []
    with doubling(tiny_model, device, batch=2) as upscaler:
        for number, ticket in enumerate(upscaler.in_flight(frames_of(24))):
            with ticket:
                made.append(len(device.made))
            assert number // 2 <= len(device.work["h2d"]) - 1 <= number // 2 + upscaler.depth - 1
    up, compute, down = (device.work[name] for name in ("h2d", "compute", "d2h"))
    assert len(up) == len(compute) == len(down) == 12
    for n in range(10):
        assert free_of(up[n + 1], compute[n])
        assert free_of(compute[n + 1], down[n])
        assert free_of(up[n + 2], down[n])
        assert not free_of(up[n], compute[n])
    assert made[0] == made[-1]


# Failures


def test_a_network_that_fails_is_the_failure_of_its_batch_alone(tiny_model):
    def second_fails(call, result):
        if call == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    frames = frames_of(9)
    with doubling(tiny_model) as upscaler:
        wanted = [upscaler.submit(frame).result() for frame in frames]
        upscaler.engine = Doubled(second_fails)
        tickets = [t for i in (0, 3, 6) for t in upscaler.submit_all(frames[i : i + 3])]
        for index, (ticket, want) in enumerate(zip(tickets, wanted, strict=True)):
            if index // 3 == 1:
                with pytest.raises(DeviceError, match=r"^cpu is out of memory; .* smaller tiles or batches need less$"):
                    ticket.result()
            else:
                assert_frames_equal(ticket.result(), want)


def test_nan_is_the_failure_of_its_frame_alone(tiny_model):
    def middle_is_nan(call, result):
        result[1, 2, 5, 7] = float("nan")

    frames = frames_of(3)
    with doubling(tiny_model) as upscaler:
        wanted = [upscaler.submit(frame).result() for frame in frames]
        upscaler.engine = Doubled(middle_is_nan)
        first, middle, last = upscaler.submit_all(frames)
        with pytest.raises(ModelError, match="gave NaN or infinite values in fp32"):
            middle.result()
        for ticket, want in ((first, wanted[0]), (last, wanted[2])):
            assert_frames_equal(ticket.result(), want)


def test_breaking_off_inside_a_batch_leaves_the_upscaler_whole(tiny_model):
    """A view that was left by an exception is released, and what nobody claims harms nobody."""
    frames = frames_of(10)
    with doubling(tiny_model, batch=4) as upscaler:
        wanted = [upscaler.submit(frame).result() for frame in frames]

        def break_off():
            for number, ticket in enumerate(upscaler.in_flight(frames)):
                with ticket as view:
                    assert_frames_equal(view, wanted[number])
                    if number == 5:
                        raise KeyboardInterrupt

        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                break_off()
        for got, want in zip(upscaler.map(frames), wanted, strict=True):
            assert_frames_equal(got, want)
