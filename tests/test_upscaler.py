"""The Upscaler on a checking device: one way in, any thread, every format; errors belong to their frame."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import rfdn_stream
from rfdn_stream.devices.cpu import CpuDevice
from rfdn_stream.errors import DeviceError, MediaError, ModelError, RfdnError, UsageError
from rfdn_stream.frame import FORMATS, ColorSpec
from rfdn_stream.kernels import reference
from rfdn_stream.nets.catalogue import open_model
from rfdn_stream.upscaler import Upscaler
from support import assert_frames_equal, random_frame, save_tiny


@pytest.fixture
def upscaler(tiny_model):
    with Upscaler(tiny_model, device=CpuDevice(check=True)) as upscaler:
        yield upscaler


def test_a_frame_keeps_its_place_in_time_and_its_format(upscaler):
    frame = random_frame("yuv420p10le", 35, 21, pts=7)
    big = upscaler.submit(frame).result()
    assert (big.width, big.height, big.format.name) == (70, 42, "yuv420p10le")
    assert (big.pts, big.time_base, big.color) == (7, frame.time_base, frame.color)


@pytest.mark.parametrize("name", FORMATS)
def test_the_way_of_a_frame_is_reference_network_reference(tiny_model, name):
    """Every format through the whole chain, against the float64 kernels around the bare network."""
    frame = random_frame(name, 33, 17, seed=3)
    network, _ = open_model(tiny_model)
    rgb = reference.to_rgb(frame.planes, frame.format, frame.color)
    with torch.inference_mode():
        big = network(torch.from_numpy(rgb).float()[None])[0].double().numpy()
    want = reference.quantise(reference.from_rgb(big, frame.format, frame.color), frame.format)
    with Upscaler(tiny_model, device=CpuDevice(check=True), engine="torch", precision="fp32") as upscaler:
        got = upscaler.submit(frame).result()
    step = 1 << frame.format.shift
    for a, b in zip(got.planes, want, strict=True):
        difference = np.abs(a.astype(int) - b.astype(int)) // step
        # fp32 sums differ by their order; a code may flip at a rounding edge, more so among 65536 codes.
        assert difference.max() <= (1 if frame.format.bits <= 12 else 8)
        assert (difference > 0).mean() < 0.02 or frame.format.bits == 16


def test_results_do_not_depend_on_who_came_first(upscaler):
    frames = [random_frame(width=20 + 2 * (i % 3), seed=i, pts=i) for i in range(24)]
    alone = [upscaler.submit(f).result() for f in frames]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda f: upscaler.submit(f).result(), frames))
    for a, b in zip(alone, together, strict=True):
        assert_frames_equal(a, b)


def test_more_tickets_than_slots_never_block(upscaler):
    """Results that nobody has claimed yet leave their slot to newer frames."""
    frames = [random_frame(seed=i, pts=i) for i in range(4 * upscaler.depth)]
    tickets = [upscaler.submit(f) for f in frames]
    for frame, ticket in reversed(list(zip(frames, tickets, strict=True))):
        assert_frames_equal(ticket.result(), upscaler.submit(frame).result())


def test_a_view_is_the_result_without_a_copy_and_holds_its_slot(upscaler):
    frame = random_frame(pts=1)
    want = upscaler.submit(frame).result()
    with upscaler.submit(frame) as view:
        assert_frames_equal(view, want)
        for i in range(upscaler.depth - 1):
            upscaler.submit(random_frame(seed=5 + i))
        with pytest.raises(RfdnError, match="every slot is in use"):
            upscaler.submit(random_frame(seed=4))
        assert_frames_equal(view, want)


def test_a_viewer_on_another_thread_is_waited_for(upscaler):
    entered, leave = threading.Event(), threading.Event()
    frame = random_frame(pts=1)
    want = upscaler.submit(frame).result()

    def view(ticket, seen):
        with ticket as picture:
            entered.set()
            leave.wait(10)
            assert_frames_equal(picture, want)
            seen.append(True)

    seen = []
    with ThreadPoolExecutor(2) as pool:
        viewer = pool.submit(view, upscaler.submit(frame), seen)
        entered.wait(10)
        many = pool.submit(lambda: [upscaler.submit(random_frame(seed=i)) for i in range(upscaler.depth)])
        assert not many.done()
        leave.set()
        viewer.result(10)
        many.result(10)
    assert seen


def test_map_keeps_order_and_kind(upscaler):
    arrays = [np.full((18, 20, 3), 40 * i, np.uint8) for i in range(5)]
    results = list(upscaler.map(arrays))
    assert all(r.shape == (36, 40, 3) and r.dtype == np.uint8 for r in results)
    for a, r in zip(arrays, results, strict=True):
        np.testing.assert_array_equal(r, upscaler(a))


def test_arrays_of_every_kind(upscaler):
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (16, 18, 3), np.uint8)
    grey = rgb[..., 0]
    assert upscaler(rgb).shape == (32, 36, 3)
    assert upscaler(grey).shape == (32, 36)
    deep = upscaler(rgb.astype(np.uint16) * 257)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - upscaler(rgb)).max() < 0.6
    assert upscaler(grey.astype(np.uint16)).shape == (32, 36)
    np.testing.assert_array_equal(upscaler(rgb[:, ::-1]), upscaler(rgb[:, ::-1].copy()))  # any strides
    assert upscaler(rgb[:1, :1]).shape == (2, 2, 3)  # smaller than the network can see
    for wrong in (rgb.astype(np.float32), rgb[..., :2], rgb[None]):
        with pytest.raises(UsageError, match="pictures are uint8 or uint16"):
            upscaler(wrong)


def test_another_format_for_the_output(upscaler):
    rgb = random_frame("rgb24", 24, 20, pts=3)
    big = upscaler.submit(rgb, (FORMATS["yuv444p"], ColorSpec())).result()
    assert (big.format.name, big.color, big.pts) == ("yuv444p", ColorSpec(), 3)


def test_tiles_cover_the_frame(tiny_model):
    """A network without global context (attention switched off) gives the same in tiles and whole."""
    image = np.random.default_rng(0).integers(0, 256, (150, 210, 3), np.uint8)
    with Upscaler(tiny_model, tile=0) as whole, Upscaler(tiny_model, tile=64) as tiled:
        difference = np.abs(whole(image).astype(int) - tiled(image).astype(int))
    assert np.median(difference) == 0
    assert difference.max() < 24


def test_nan_is_that_frames_error_and_the_next_one_goes_on(upscaler, monkeypatch):
    good, bad = random_frame(pts=0), random_frame(pts=1, seed=1)
    engine = upscaler.engine
    calls = []

    def sometimes(rgb):
        calls.append(0)
        return engine(rgb) * float("nan" if len(calls) == 2 else 1)

    monkeypatch.setattr(upscaler, "engine", sometimes)
    monkeypatch.setattr(type(upscaler), "scale", 2)
    sometimes.precision = "fp32"
    tickets = [upscaler.submit(f) for f in (good, bad, good)]
    tickets[0].result()
    with pytest.raises(ModelError, match="gave NaN or infinite values in fp32; try"):
        tickets[1].result()
    with pytest.raises(ModelError, match="NaN"), tickets[1]:
        pytest.fail("a failed frame has no view")
    assert_frames_equal(tickets[2].result(), tickets[0].result())


def test_weights_that_overflow_are_reported(tmp_path):
    path = save_tiny(tmp_path / "huge.safetensors", LR_conv__bias=3e38, upsampler__0__bias=3e38)
    with Upscaler(path) as upscaler, pytest.raises(ModelError, match=r"huge.*gave NaN or infinite"):
        upscaler(np.zeros((16, 16, 3), np.uint8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "erfdn-x9"}, "erfdn-x9"),
        ({"scale": 5}, "5"),
        ({"scale": 2.0}, r"scale 2.0 is not understood; give a whole number, or one for each network in sequence"),
        ({"scale": ()}, r"scale \(\) is not understood"),
        ({"scale": (2, 2.0)}, r"scale \(2, 2.0\) is not understood"),
        ({"scale": "2"}, "scale '2' is not understood"),
        ({"device": "tpu"}, "unknown device 'tpu'; available: cuda, cpu"),
        ({"device": "cpu:1"}, "use 'cpu'"),
        ({"device": "cpu:x"}, "auto, cpu or cuda:N"),
        ({"precision": "int8"}, "choose auto, fp32, bf16, fp16"),
        ({"precision": "fp16"}, "fp16 is for GPUs"),
        ({"tile": 8}, "at least 64"),
        ({"depth": 0}, "at least one slot"),
    ],
)
def test_impossible_requests_are_refused_at_once(options, message):
    with pytest.raises((UsageError, ModelError), match=message):
        Upscaler(**options)


@pytest.mark.parametrize(("scale", "all_in_all"), [(np.int64(2), 2), ((2, np.int32(2)), 4)])
def test_numpys_whole_numbers_are_scales(scale, all_in_all):
    with Upscaler(scale=scale, engine="torch") as upscaler:
        assert upscaler.scale == all_in_all


def test_pictures_without_pixels_are_refused(upscaler):
    for size in ((0, 4), (4, 0)):
        with pytest.raises(MediaError, match=f"a picture of {size[1]}x{size[0]} has no pixels"):
            list(upscaler.map([np.zeros((*size, 3), np.uint8)]))


def test_no_memory_for_the_network_is_the_devices_error(upscaler, monkeypatch):
    def greedy(rgb):
        return torch.empty(1 << 60, dtype=torch.uint8)

    greedy.scale = 2
    with monkeypatch.context() as patched:
        patched.setattr(upscaler, "engine", greedy)
        with pytest.raises(DeviceError, match="cpu is out of memory"):
            upscaler.submit(random_frame()).result()
    upscaler.submit(random_frame()).result()


def test_an_upscaler_that_nobody_closed_leaves_no_threads(tiny_model):
    upscaler = Upscaler(tiny_model, device="cpu")
    upscaler(np.zeros((16, 16, 3), np.uint8))
    threads = [stream._thread for stream in upscaler.device._streams.values()]
    assert len(threads) == 3
    del upscaler
    gc.collect()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_a_closed_upscaler_says_so(tiny_model):
    upscaler = Upscaler(tiny_model)
    upscaler.close()
    upscaler.close()
    with pytest.raises(RfdnError, match="closed"):
        upscaler(np.zeros((16, 16, 3), np.uint8))


def test_abandoning_does_not_wait(tiny_model):
    """Leaving by an exception drops what is queued, while the stream is still busy."""
    gate = threading.Event()
    upscaler = Upscaler(tiny_model)
    upscaler.device.launch(lambda: gate.wait(30), upscaler.device.stream("compute"), [], [])
    ticket = upscaler.submit(random_frame())
    upscaler.close(abandon=True)
    assert not gate.is_set()
    gate.set()
    with pytest.raises(DeviceError, match="closed before its work was done"):
        ticket.result()


def test_every_public_name_is_there():
    assert set(rfdn_stream.__all__) == {*rfdn_stream._WHERE, "__version__"}
    for name in rfdn_stream.__all__:
        assert getattr(rfdn_stream, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'upscaled'"):
        _ = rfdn_stream.upscaled
