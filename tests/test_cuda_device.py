"""CudaDevice without a card: what it asks of torch, in which order, and what it says where there is no CUDA.

That the calls have the effect that is expected of them here is shown on a card, in test_gpu.py.
"""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import pytest_runtest_setup
from fake_cuda import FakeCuda, HostWatchedDevice
from rfdn_stream import registry
from rfdn_stream.devices import cuda
from rfdn_stream.devices.base import NoDeviceError
from rfdn_stream.devices.cuda import CudaDevice, CudaStream
from rfdn_stream.devices.happens_before import RaceError
from rfdn_stream.errors import DeviceError, UsageError
from rfdn_stream.frame import CardPlane
from rfdn_stream.media.card import Card
from rfdn_stream.opening import open_device
from rfdn_stream.ticket import HEAD
from rfdn_stream.upscaler import Upscaler
from support import assert_frames_equal, random_frame


@pytest.fixture
def runtime(monkeypatch):
    return FakeCuda(monkeypatch)


@pytest.fixture(params=[1])
def on_card(request, runtime, tiny_model):
    """An Upscaler on a CudaDevice, every access watched from its first frame on. The parameter is its `batch`."""
    upscaler = Upscaler(tiny_model, device=HostWatchedDevice(runtime), engine="torch", batch=request.param, reuse="off")
    runtime.log.clear()
    with runtime:
        yield upscaler
    upscaler.close(abandon=True)


batches = pytest.mark.parametrize("on_card", [1, 2], indirect=True)


# Order


def test_frames_come_out_as_from_the_cpu_and_nothing_is_unordered(on_card, tiny_model):
    """Sizes and formats that change midway, results claimed both ways, more frames than slots."""
    frames = [
        random_frame(f, 20 + 6 * (i % 3), 18, seed=i, pts=i) for i, f in enumerate(["yuv420p", "p010le", "rgb24"] * 4)
    ]
    with Upscaler(tiny_model, device="cpu", engine="torch") as on_cpu:
        wanted = [on_cpu.submit(frame).result() for frame in frames]
    tickets = [on_card.submit(frame) for frame in frames]
    for index, (ticket, want) in enumerate(zip(tickets, wanted, strict=True)):
        if index % 2:
            with ticket as view:
                assert_frames_equal(view, want)
        else:
            assert_frames_equal(ticket.result(), want)
    assert on_card.work.frames == len(frames)
    assert on_card.work.network_seconds == len(frames)  # by the card's clock, here a second between any two marks


@pytest.mark.parametrize("on_card", [2, 3, None], indirect=True)
def test_batches_come_out_as_from_the_cpu_and_nothing_is_unordered(on_card, tiny_model):
    """Sizes that change midway; several slots' worth of each."""
    frames = [random_frame("p010le", 20 + 6 * (i // 13), 18, seed=i, pts=i) for i in range(26)]
    with Upscaler(tiny_model, device="cpu", engine="torch") as on_cpu:
        for got, want in zip(on_card.map(frames), on_cpu.map(frames), strict=True):
            assert_frames_equal(got, want, codes=1)
    assert on_card.work.frames == len(frames)


def forgotten_wait(monkeypatch, device):
    monkeypatch.setattr(CudaStream, "wait", lambda stream, event: None)


def forgotten_synchronisation(monkeypatch, device):
    monkeypatch.setattr(cuda.CudaEvent, "synchronize", lambda event: None)


def copies_on_the_default_stream(monkeypatch, device):
    def copy(dst, src, nbytes, stream):
        dst.tensor[:nbytes].copy_(src.tensor[:nbytes], non_blocking=True)

    monkeypatch.setattr(device, "copy", copy)


def work_on_the_default_stream(monkeypatch, device):
    def launch(work, stream, reads, writes, *args):
        work(*(buffer.tensor for buffer in (*reads, *writes)), *args)

    monkeypatch.setattr(device, "launch", launch)


def streams_not_recorded(monkeypatch, device):
    monkeypatch.setattr(cuda, "_used", lambda buffer, stream: buffer.tensor)


@batches
@pytest.mark.parametrize(
    "fault",
    [
        forgotten_wait,
        forgotten_synchronisation,
        copies_on_the_default_stream,
        work_on_the_default_stream,
        streams_not_recorded,
    ],
)
def test_a_planted_fault_is_found(monkeypatch, on_card, fault):
    fault(monkeypatch, on_card.device)
    with pytest.raises((RaceError, DeviceError), match=r"unordered after|record_stream was not told"):
        list(on_card.map([random_frame(seed=i) for i in range(8)]))


@pytest.mark.parametrize("count", [2, 5])
def test_after_the_first_batches_nothing_is_allocated_and_the_host_waits_for_slots_alone(on_card, runtime, count):
    """Nor when a smaller batch follows."""
    frames = [random_frame("yuv420p", 64, 48)] * count
    sizes = frames[0].layout.nbytes, 4 * frames[0].layout.nbytes
    strides = [-(-size // HEAD) * HEAD for size in sizes]
    for _ in range(on_card.depth):
        for ticket in on_card.submit_all(frames):
            ticket.result()
    runtime.log.clear()
    room = on_card._rgb  # the compute stream's own, which is no slot's
    counts = [count, 1, count, count - 1, count]
    for number in counts:
        for ticket in on_card.submit_all(frames[:number]):
            with ticket:
                pass
    assert on_card._rgb is room
    waits = [entry for entry in runtime.log if entry[0] != "copy"]
    # The slot's own event, once before it is filled and once before each of its frames is read.
    assert waits == [("event synchronize", True)] * (len(counts) + sum(counts))
    up, down = ([(n - 1) * stride + size for n in counts] for stride, size in zip(strides, sizes, strict=True))
    copies = [entry[2] for entry in runtime.log if entry[0] == "copy"]
    assert copies == [nbytes for pair in zip(up, (HEAD + size for size in down), strict=True) for nbytes in pair]


def test_after_the_first_frames_nothing_is_allocated_and_the_host_waits_for_slots_alone(on_card, runtime):
    frame = random_frame("yuv420p", 64, 48)
    for _ in range(on_card.depth):
        on_card.submit(frame).result()
    assert {entry[1] for entry in runtime.log if entry[0] == "allocate"} == {"card", "host"}
    runtime.log.clear()
    for _ in range(5):
        with on_card.submit(frame):
            pass
    copies = [entry for entry in runtime.log if entry[0] == "copy"]
    others = [entry for entry in runtime.log if entry[0] != "copy"]
    # The slot's own event, once before it is filled and once before it is read; both let the thread sleep.
    assert others == [("event synchronize", True)] * (5 * 2)
    assert [nbytes for _, _, nbytes, _ in copies] == [frame.layout.nbytes, HEAD + 4 * frame.layout.nbytes] * 5
    assert all(non_blocking for *_, non_blocking in copies)
    assert len({stream for _, stream, *_ in copies}) == 2  # one up, one down


# Frames that lie on the card


def decoded(seed):
    """A frame as NVDEC leaves it: in memory that is not torch's, written on the default stream."""
    frame = random_frame("nv12", seed=seed)
    return frame, [torch.from_numpy(plane).clone() for plane in frame.planes]


def on_the_card(frame, tensors, ready):
    return replace(frame, planes=(), card=tuple(CardPlane(tensor, ready) for tensor in tensors))


def test_a_decoded_frame_is_read_behind_its_decoder_and_nobody_waits(on_card, runtime, tiny_model):
    card = Card(0)
    with Upscaler(tiny_model, device="cpu", engine="torch") as on_cpu:
        for seed in range(2 * on_card.depth):
            frame, tensors = decoded(seed)
            runtime.log.clear()
            with card.current():
                assert not runtime.log
            got = on_card.submit(on_the_card(frame, tensors, card._mark())).result()
            assert_frames_equal(got, on_cpu.submit(frame).result())
            assert [entry[0] for entry in runtime.log if "synchronize" in entry[0]] == ["event synchronize"] * 2


def test_a_decoded_frame_without_its_mark_is_found(on_card):
    frame, tensors = decoded(0)
    with pytest.raises(DeviceError, match="unordered after"):
        on_card.submit(on_the_card(frame, tensors, None))


# Failures


def test_an_error_of_the_card_is_told_once_and_stays(on_card, runtime):
    ticket = on_card.submit(random_frame())
    runtime.failure = torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nmore lines")
    for _ in range(2):
        with pytest.raises(DeviceError, match=r"^cuda:0 failed: CUDA error: an illegal memory access was encountered;"):
            ticket.result()
    runtime.failure = None
    with pytest.raises(DeviceError, match="illegal memory access"):
        on_card.submit(random_frame())
    with pytest.raises(DeviceError, match="illegal memory access"):
        on_card.close()


@batches
@pytest.mark.parametrize(
    ("what", "count"), [("pinned copy", n) for n in range(1, 11)] + [("conv2d", n) for n in (1, 30, 60)]
)
def test_a_fault_of_the_card_anywhere_is_one_error(on_card, runtime, tiny_model, what, count):
    """Sizes change midway; what came before the fault is right and in order, and nothing comes after it."""
    of_a_size = 5 * on_card.batch_for(random_frame(width=20)) - 2
    frames = [random_frame(width=20 + 6 * (i // of_a_size), height=18, seed=i, pts=i) for i in range(13)]
    got, runtime.fail_at = [], (what, count)
    with pytest.raises(DeviceError, match=f"^cuda:0 failed: CUDA error: unspecified launch failure in {what};"):
        got.extend(on_card.map(frames))
    assert len(got) < len(frames)
    for call in (lambda: on_card.submit(frames[0]), on_card.close):
        with pytest.raises(DeviceError, match=f"launch failure in {what}"):
            call()
    with Upscaler(tiny_model, device="cpu", engine="torch") as on_cpu:
        for a, b in zip(got, on_cpu.map(frames), strict=False):
            assert_frames_equal(a, b, codes=1)


def test_no_memory_for_a_slot_is_that_frames_error(on_card, monkeypatch):
    real = torch.empty

    def empty(*size, **options):
        if options.get("device") == "cuda" and size[0] > 10_000:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nand so on")
        return real(*size, **options)

    monkeypatch.setattr(torch, "empty", empty)
    with pytest.raises(DeviceError, match=r"cuda:0 got no 0 MB of memory for a frame: CUDA out of memory\. Tried"):
        on_card.submit(random_frame("yuv420p", 100, 80))
    on_card.submit(random_frame("yuv420p", 20, 16)).result()  # the device goes on


def test_abandoning_does_not_wait_for_the_card(on_card, runtime):
    ticket = on_card.submit(random_frame())
    runtime.log.clear()
    on_card.close(abandon=True)
    with pytest.raises(DeviceError, match="closed before its work was done"):
        ticket.result()
    assert not runtime.log


def test_what_work_raises_stays_with_the_device(runtime):
    device = CudaDevice()

    def boom():
        raise ValueError("launch failed")

    with pytest.raises(DeviceError, match="cuda:0 failed: launch failed"):
        device.launch(boom, device.stream("a"), [], [])
    with pytest.raises(DeviceError, match="launch failed"):
        device.stream("a").record(device.event("e"))


def test_the_host_does_not_touch_memory_of_the_card(runtime):
    device = CudaDevice(1)
    assert device.name == "cuda:1"
    with pytest.raises(DeviceError, match="copy it to a pinned one"):
        device.host(device.empty(1, "dev"), write=False)


# What is said where CUDA does not start. torch's own words: of 2.15, but for the last.


TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by "
    "downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)
REFUSALS = [
    (AssertionError("Torch not compiled with CUDA enabled"), NoDeviceError, "install one with it: https://pytorch.org"),
    (
        RuntimeError("Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed"),
        NoDeviceError,
        "^Found no NVIDIA driver on your system; if it has an NVIDIA card, install its driver$",
    ),
    (RuntimeError("No CUDA GPUs are available"), NoDeviceError, "; see what nvidia-smi lists and whether CUDA_VISIBLE"),
    (RuntimeError(TOO_OLD), UsageError, r"^The NVIDIA .* is too old \(found version 11040\); update it for CUDA 1\d"),
    (RuntimeError("CUDA unknown error\nmore"), DeviceError, "^CUDA does not start: CUDA unknown error; see what"),
]


@pytest.mark.parametrize(("failure", "error", "message"), REFUSALS)
def test_cuda_that_does_not_start(monkeypatch, caplog, failure, error, message):
    def init():
        raise failure

    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(error, match=message) as caught:
        open_device("cuda")
    assert type(caught.value) is error
    with caplog.at_level(logging.INFO, "rfdn_stream"):
        assert open_device("auto").name == "cpu"
    (record,) = caplog.records
    assert record.getMessage() == f"not on cuda: {caught.value}"
    # A machine without a card works as it should; a card that is not used is worth a warning.
    assert record.levelname == ("INFO" if error is NoDeviceError else "WARNING")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_this_machine_without_a_card(caplog):
    with pytest.raises(NoDeviceError, match=r"Found no NVIDIA driver|not compiled with CUDA|No CUDA GPUs"):
        open_device("cuda:0")
    assert open_device("auto").name == "cpu"


@pytest.mark.parametrize(
    ("required", "outcome", "said"),
    [
        ("0", pytest.skip, "needs a CUDA device"),
        ("1", pytest.fail, "RFDN_REQUIRE_GPU=1, but torch finds no CUDA device"),
    ],
)
def test_tests_for_a_card_skip_without_one_unless_one_is_required(request, monkeypatch, required, outcome, said):
    monkeypatch.setenv("RFDN_REQUIRE_GPU", required)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    pytest_runtest_setup(request.node)  # not marked: not concerned
    request.node.add_marker("gpu")
    with pytest.raises(outcome.Exception, match=said):
        pytest_runtest_setup(request.node)


def test_a_card_that_does_not_exist(runtime):
    with pytest.raises(UsageError, match=r"^there is no cuda:7; there is cuda:0 \(Card A\), cuda:1 \(Card B\)$"):
        open_device("cuda:7")


def test_a_card_that_does_not_exist_beside_one_that_does(monkeypatch):
    FakeCuda(monkeypatch, cards=("RTX 4090",))
    with pytest.raises(UsageError, match=r"^there is no cuda:7; there is cuda:0 \(RTX 4090\)$"):
        open_device("cuda:7")


def test_auto_takes_the_first_card(runtime):
    assert open_device("auto").name == open_device("cuda").name == "cuda:0"


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("CUDA error: no kernel image is available for execution on the device", "it is sm_61 and .* sm_75, sm_80: in"),
        ("CUDA error: out of memory", "end other programs that use it"),
        ("CUDA error: system not yet initialized", "see what nvidia-smi says"),
    ],
)
def test_a_card_that_does_not_compute_is_passed_over_with_a_warning(monkeypatch, caplog, runtime, said, remedy):
    def zeros(*size, **where):
        raise torch.AcceleratorError(f"{said}\nCUDA kernel errors might be reported asynchronously")

    monkeypatch.setattr(torch, "zeros", zeros)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80"])
    with pytest.raises(DeviceError, match=f"^cuda:0 does not compute: {said}; {remedy}"):
        open_device("cuda:0")
    assert open_device("auto").name == "cpu"
    assert caplog.records[0].levelname == "WARNING"


def test_devices_that_are_not_understood():
    for name in ("auto:1", "cuda:", "cuda:x", "cpu:-1"):
        with pytest.raises(UsageError, match="write auto, cpu or cuda:N"):
            open_device(name)
    with pytest.raises(UsageError, match="take a MultiUpscaler"):
        open_device("cuda:0,cuda:1")


# Engines


def test_each_device_names_engines_that_there_are(monkeypatch):
    for kind in registry.DEVICES:
        device = registry.load(registry.DEVICES, kind, "device")
        assert set(device.engines) <= set(registry.ENGINES)


def test_an_engine_is_chosen_by_name(tiny_model):
    with pytest.raises(UsageError, match=r"^engine graph does not run on cpu; choose winograd, openvino, torch"):
        Upscaler(tiny_model, device="cpu", engine="graph")
    with pytest.raises(UsageError, match="unknown engine 'warp'; available: winograd, openvino, torch, fused, graph, "):
        Upscaler(tiny_model, device="cpu", engine="warp")
    with Upscaler(tiny_model, device="cpu", engine="torch") as chosen:
        assert np.shape(chosen(np.zeros((16, 16, 3), np.uint8))) == (32, 32, 3)
