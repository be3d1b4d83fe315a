"""What only a card can show: that CUDA does what `CudaDevice` and the engines expect of it.

    RFDN_REQUIRE_GPU=1 uv run pytest -m gpu -s

Figures are printed with -s; none of them is asserted, as they are the card's. The colour kernels on a card are in
test_cuda_kernels.py and test_kernels.py, NVDEC and NVENC in test_hardware_codecs.py, the contract in test_devices.py.
"""

from __future__ import annotations

import gc
import json
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rfdn_stream.devices.cuda import CudaDevice
from rfdn_stream.doctor.agreement import LEAST_PSNR, MOST_BETWEEN_ENGINES, check_kernels, smooth_picture
from rfdn_stream.doctor.bench import measure
from rfdn_stream.engines.compiled import CompiledEngine
from rfdn_stream.engines.fused.engine import FusedEngine
from rfdn_stream.engines.graph import KEPT, GraphEngine
from rfdn_stream.engines.torch_engine import TorchEngine
from rfdn_stream.errors import DeviceError, ModelError, UsageError
from rfdn_stream.frame import FORMATS
from rfdn_stream.kernels import cpu, cuda
from rfdn_stream.live.ladder import FULL, Step
from rfdn_stream.live.lighter import lighter_twin
from rfdn_stream.live.stepped import put_steps_in
from rfdn_stream.multi import open_upscaler
from rfdn_stream.nets.base import SCALES
from rfdn_stream.nets.catalogue import open_model
from rfdn_stream.nets.fold import fold
from rfdn_stream.nets.rfdn import RFDN, preset
from rfdn_stream.opening import open_device
from rfdn_stream.upscaler import MOST, Upscaler
from support import EXAMPLES, assert_frames_equal, random_frame, save_tiny

pytestmark = pytest.mark.gpu

CPU, CARD = torch.device("cpu"), torch.device("cuda", 0)
MODEL = "erfdn-x2-video"


def engine(engine_class, precision="fp16", tile=0, device=CARD, **options):
    return engine_class(*open_model(MODEL), device, precision, tile, **options)


def on_a_stream(work):
    """Runs work as the compute stream does: graphs are not recorded on the default stream."""
    stream = torch.cuda.Stream(CARD)
    stream.wait_stream(torch.cuda.current_stream())  # which makes what the work takes
    with torch.cuda.stream(stream):
        result = work()
        torch.cuda.current_stream().synchronize()
    return result


def psnr(a, b):
    return -10 * float(torch.log10(((a.double() - b.double()) ** 2).mean()))


def time_of(engine, rgb, runs=20):
    """Milliseconds for a frame, by the card's clock."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def run():
        assert torch.isfinite(engine(rgb)).all()
        start.record()
        for _ in range(runs):
            engine(rgb)
        end.record()

    on_a_stream(run)
    return start.elapsed_time(end) / runs


# The engines


@pytest.mark.parametrize("precision", LEAST_PSNR)
@pytest.mark.parametrize("engine_class", [TorchEngine, GraphEngine, FusedEngine])
def test_the_engine_against_fp32_on_the_cpu(engine_class, precision):
    if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this card has no bf16")
    if precision == "fp32" and engine_class is FusedEngine:
        pytest.skip("the fused kernels are for 16 bits")
    reference, tested = engine(TorchEngine, "fp32", device=CPU), engine(engine_class, precision)
    for size in ((180, 320), (181, 319), (9, 40), (1, 1)):
        x = smooth_picture(*size, seed=0)
        want = reference(x).clamp(0, 1)
        for _ in range(2):  # recorded, then replayed
            got = on_a_stream(lambda: tested(x.to(CARD)).cpu())  # noqa: B023
            found = psnr(got.float().clamp(0, 1), want)
            assert found >= LEAST_PSNR[precision]
        print(f"\n{tested.description}, {size[1]}x{size[0]}: {found:.1f} dB", end="")


def test_a_graph_gives_what_plain_torch_does_whatever_came_before():
    plain, recorded = engine(TorchEngine), engine(GraphEngine)

    def compare():
        for seed in range(3):
            for height in range(100, 100 + 8 * (KEPT + 2), 8):  # more sizes than are kept
                x = smooth_picture(height, 160, seed).to(CARD)
                difference = (recorded(x).float() - plain(x).float()).abs().max()
                assert difference <= MOST_BETWEEN_ENGINES  # cuDNN may choose other kernels
        return list(recorded._shots.values())

    shots = on_a_stream(compare)
    assert len(shots) == KEPT
    assert all(shots)  # none of them had to do without a graph


def test_padded_channels_and_graphs_by_the_cards_own_clock():
    """Prints what each is worth at 1080p. Graphs first: cuDNN goes on with what it chose when it first met a shape."""
    x, rows = torch.rand(3, 1080, 1920, device=CARD), []
    for engine_class, multiple in ((GraphEngine, 1), (GraphEngine, 8), (TorchEngine, 1), (TorchEngine, 8)):
        took = time_of(engine(engine_class, multiple=multiple), x)
        rows.append(f"{engine_class.how}, channels in multiples of {multiple}: {took:.2f} ms, {1000 / took:.1f} fps")
        torch.cuda.empty_cache()
    print("\n" + "\n".join(rows))


@pytest.mark.parametrize("name", ["E-RFDN", "RFDN", "RFDN-L"])
@pytest.mark.parametrize("scale", SCALES)
@torch.no_grad()
def test_fused_kernels_for_every_published_network(name, scale):
    pytest.importorskip("triton", reason="they are written in Triton")
    from rfdn_stream.engines.fused.network import FusedNetwork

    torch.manual_seed(0)
    network, x = fold(RFDN(preset(name, scale))), smooth_picture(33, 70, 0)[None]
    want, fused = network(x), FusedNetwork(network, CARD, torch.float16)
    assert (fused(x.to(CARD, torch.float16)).float().cpu() - want).abs().max() <= 2e-3


def test_the_fused_kernels_time(caplog):
    """Prints it; and that none of them falls back."""
    tested, rows = engine(FusedEngine), []
    for height, width in ((480, 854), (720, 1280), (1080, 1920)):
        rows.append(f"{width}x{height}: {time_of(tested, torch.rand(3, height, width, device=CARD)):.2f} ms")
    print("\nfused kernels, " + ", ".join(rows))
    assert not [record for record in caplog.records if record.name == "rfdn_stream"]


def test_a_compiled_network(caplog):
    pytest.importorskip("triton", reason="torch.compile needs Triton on a card")
    plain, tested, x = engine(TorchEngine), engine(CompiledEngine), smooth_picture(180, 320, 0).to(CARD)
    for _ in range(2):
        assert on_a_stream(lambda: (tested(x).float() - plain(x).float()).abs().max().item()) <= MOST_BETWEEN_ENGINES
    assert not [record for record in caplog.records if record.name == "rfdn_stream"]  # no falling back
    x = torch.rand(3, 1080, 1920, device=CARD)
    print(f"\n{tested.how}: {time_of(tested, x):.2f} ms at 1080p")


def test_two_graph_engines_record_and_replay_on_two_threads():
    x = [smooth_picture(120, 200, seed).to(CARD) for seed in range(4)]
    plain = engine(TorchEngine)
    want = [on_a_stream(lambda: plain(p).float().cpu()) for p in x]  # noqa: B023

    def run(shift):
        own = engine(GraphEngine)
        order = [(k + shift) % 4 for k in range(20)]
        return [(k, on_a_stream(lambda: own(x[k]).float().cpu())) for k in order]  # noqa: B023

    with ThreadPoolExecutor(2) as pool:
        for results in pool.map(run, range(2)):
            for k, got in results:
                assert (got - want[k]).abs().max() <= MOST_BETWEEN_ENGINES


# Batches


@pytest.mark.parametrize("engine_class", [TorchEngine, GraphEngine, FusedEngine])
def test_an_engine_gives_a_batch_what_it_gives_single_pictures(engine_class):
    """Also the smaller batch at the end of a clip, frames too small for the network, and the batch again."""
    alone, tested = engine(TorchEngine), engine(engine_class)
    for size in ((90, 160), (91, 159), (9, 40)):
        x = torch.stack([smooth_picture(*size, seed) for seed in range(5)]).to(CARD)
        want = torch.stack([on_a_stream(lambda: alone(one).float().clone()) for one in x])  # noqa: B023
        for count in (5, 2, 1, 5):
            got = on_a_stream(lambda: tested(x[:count]).float().clone())  # noqa: B023
            assert (got - want[:count]).abs().max() <= MOST_BETWEEN_ENGINES
            x, want = x.flip(0), want.flip(0)  # what was recorded or came last would show


@pytest.mark.parametrize("engine_name", ["torch", "graph", "fused"])
@pytest.mark.parametrize("batch", [2, 5, None])
def test_batches_give_what_single_frames_do(tiny_model, engine_name, batch):
    """In order, whatever the size; the last ones of each size are fewer."""
    frames = [random_frame("yuv420p", 64 + 16 * (i // 11), 48, seed=i, pts=i) for i in range(33)]
    with Upscaler(tiny_model, device="cuda", engine=engine_name, batch=batch, reuse="off") as upscaler:
        assert upscaler.batch_for(frames[0]) == (batch or MOST)
        alone = [upscaler.submit(frame).result() for frame in frames]
        for got, want in zip(upscaler.map(frames), alone, strict=True):
            assert_frames_equal(got, want, codes=2)  # cuDNN may choose other kernels
        assert upscaler.work.frames == 2 * len(frames)


def test_nothing_on_the_way_of_a_batch_waits_for_the_card_or_asks_for_memory(tiny_model):
    frames = [random_frame("yuv420p", 320, 180, seed=i) for i in range(4)]

    def send():
        for ticket in upscaler.submit_all(frames):
            with ticket:
                pass

    with Upscaler(tiny_model, device="cuda", reuse="off") as upscaler:
        for _ in range(2 * upscaler.depth):
            send()
        before = asked_of_the_driver()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(2 * upscaler.depth):
                send()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert asked_of_the_driver() == before


def test_what_batches_are_worth():
    """Prints frames a second for small frames, through the whole pipeline."""
    rows = []
    for width, height in ((160, 120), (320, 240), (480, 270), (640, 360), (854, 480)):
        rates = []
        for batch in (1, 2, 4, 8):
            with Upscaler(MODEL, device="cuda", batch=batch, reuse="off") as upscaler:
                speed = measure(upscaler, width, height, seconds=1)
            rates.append(f"{batch}: {speed.fps:.0f} fps, {speed.idle:.0%} idle")
            assert speed.frames >= batch
        rows.append(f"{width}x{height}, frames at once: " + "; ".join(rates))
    print("\n" + "\n".join(rows))


# Memory


def asked_of_the_driver():
    """How often torch has asked for memory of the card, and for page-locked memory."""
    stats = torch.cuda.memory_stats(CARD)
    return stats["segment.all.allocated"], torch.cuda.host_memory_stats()["allocations.allocated"]


@pytest.fixture
def little_memory():
    """Leaves torch so many bytes beside what it has."""

    def leave(nbytes):
        gc.collect()
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(CARD).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(CARD) + nbytes) / total, CARD)

    yield leave
    torch.cuda.set_per_process_memory_fraction(1.0, CARD)
    torch.cuda.empty_cache()


@pytest.mark.parametrize("engine_name", ["torch", "graph", "fused"])
def test_a_frame_that_does_not_fit_is_done_in_tiles(little_memory, caplog, engine_name):
    frame = random_frame("yuv420p", 1280, 720)
    with Upscaler(MODEL, device="cuda", engine=engine_name, reuse="off") as upscaler:
        want = upscaler.submit(frame).result()
    with Upscaler(MODEL, device="cuda", engine=engine_name, reuse="off") as upscaler:
        little_memory(300 << 20)
        frames = [upscaler.submit(frame).result() for _ in range(3)]
        little_memory(20 << 20)
        with pytest.raises(DeviceError, match="memory"):
            Upscaler(MODEL, device="cuda", engine=engine_name, reuse="off").submit(
                random_frame("rgb24", 4096, 2160)
            ).result()
    assert any("going on with tiles of " in message for message in caplog.messages)
    for got in frames:
        assert np.abs(got.planes[0].astype(int) - want.planes[0]).mean() < 2


def test_a_batch_that_does_not_fit_is_done_frame_by_frame(little_memory, caplog):
    x = torch.stack([smooth_picture(720, 1280, seed) for seed in range(8)]).to(CARD)
    tested = engine(TorchEngine)
    want = [on_a_stream(lambda: tested(one).float().cpu()) for one in x]  # noqa: B023
    one_takes = 1280 * 720 * tested._bytes_per_pixel
    little_memory(5 * one_takes)  # with room for padded channels and workspace; not for eight
    got = on_a_stream(lambda: tested(x).cpu())
    assert caplog.messages == ["out of memory: going on with one frame at a time"]
    for result, one in zip(got, want, strict=True):
        assert (result.float() - one).abs().max() <= MOST_BETWEEN_ENGINES


def test_after_the_first_frames_the_driver_is_asked_for_no_memory():
    frame = random_frame("yuv420p10le", 640, 360)
    with Upscaler(MODEL, device="cuda", reuse="off") as upscaler:
        for _ in range(2 * upscaler.depth):
            upscaler.submit(frame).result()
        before, allocated = asked_of_the_driver(), torch.cuda.memory_stats(CARD)["allocation.all.allocated"]
        for _ in range(20):
            with upscaler.submit(frame):
                pass
        assert asked_of_the_driver() == before
        allocated = torch.cuda.memory_stats(CARD)["allocation.all.allocated"] - allocated
        print(f"\n{allocated / 20:.1f} allocations a frame out of torch's own cache")


# The whole way of a frame


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_as_on_the_cpu(tiny_model, name):
    frames = [random_frame(name, 64 + 2 * k, 36, seed=k, pts=k) for k in range(4)]
    with (
        Upscaler(tiny_model, device="cpu", precision="fp32") as on_cpu,
        Upscaler(tiny_model, device="cuda", reuse="off") as on_card,
    ):
        for got, want in zip(on_card.map(frames), on_cpu.map(frames), strict=True):
            assert (got.pts, got.format, got.width) == (want.pts, want.format, want.width)
            unit = 1 << (want.format.shift + want.format.bits - 8)  # of 8 bits
            for a, b in zip(got.planes, want.planes, strict=True):
                difference = np.abs(a.astype(int) - b.astype(int)) / unit
                assert difference.max() <= 4
                assert difference.mean() < 0.5


def test_views_copies_and_order_under_load(tiny_model):
    frames = [random_frame(width=64 + 16 * (i % 3), height=48, seed=i, pts=i) for i in range(30)]
    with Upscaler(tiny_model, device="cuda", reuse="off") as upscaler:
        alone = [upscaler.submit(f).result() for f in frames]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda f: upscaler.submit(f).result(), frames))
        tickets = [upscaler.submit(f) for f in frames]
        for a, b, ticket in zip(alone, together, tickets, strict=True):
            assert_frames_equal(b, a)
            with ticket as view:
                assert_frames_equal(view, a)


def test_nothing_on_the_way_waits_for_the_card(tiny_model):
    """By torch's own account: in this mode each implicit synchronisation is an error."""
    frame = random_frame("yuv420p", 320, 180)
    with Upscaler(tiny_model, device="cuda", reuse="off") as upscaler:
        for _ in range(2 * upscaler.depth):
            upscaler.submit(frame).result()
        torch.cuda.set_sync_debug_mode("error")
        try:
            with pytest.raises(RuntimeError, match="synchronizing"):  # that the mode works
                torch.zeros(1, device=CARD).item()
            for _ in range(2 * upscaler.depth):
                with upscaler.submit(frame):
                    pass
        finally:
            torch.cuda.set_sync_debug_mode("default")


class TimedDevice(CudaDevice):
    """Marks, by the card's clock, when each copy and computation begins and ends."""

    def __init__(self):
        super().__init__()
        self.times = {}

    def _timed(self, stream, work):
        with torch.cuda.stream(stream.stream):
            start = self.mark()
        work()
        with torch.cuda.stream(stream.stream):
            self.times.setdefault(stream.name, []).append((start, self.mark()))

    def copy(self, dst, src, nbytes, stream):
        self._timed(stream, lambda: super(TimedDevice, self).copy(dst, src, nbytes, stream))

    def launch(self, work, stream, reads, writes, *args):
        self._timed(stream, lambda: super(TimedDevice, self).launch(work, stream, reads, writes, *args))


def test_uploads_and_downloads_run_beside_the_network():
    """A frame's upload begins before the one before it is computed, and its download while the next one is."""
    device, frame, count = TimedDevice(), random_frame("yuv420p", 1920, 1080), 12
    with Upscaler(MODEL, device=device, reuse="off") as upscaler:
        for _ in upscaler.map([frame] * 4):  # warm
            pass
        device.times.clear()
        for _ in upscaler.map([frame] * count):
            pass
    up, compute, down = (device.times[name] for name in ("h2d", "compute", "d2h"))
    middle = range(3, count - 2)
    early_uploads = sum(up[n + 1][0].elapsed_time(compute[n][1]) > 0 for n in middle)
    late_downloads = sum(compute[n + 1][0].elapsed_time(down[n][1]) > 0 for n in middle)
    busy = sum(start.elapsed_time(end) for start, end in compute[3:])
    share = busy / compute[3][0].elapsed_time(compute[-1][1])
    print(
        f"\ncompute stream busy {share:.1%} of the time; copies of neighbours beside it: {early_uploads} up, ", end=""
    )
    print(f"{late_downloads} down, of {len(middle)}")
    assert early_uploads >= len(middle) - 1
    assert late_downloads >= len(middle) - 1


def test_nan_on_the_card_is_that_frames_error(tmp_path):
    path = save_tiny(tmp_path / "huge.safetensors", LR_conv__bias=3e38, upsampler__0__bias=3e38)
    with Upscaler(path, device="cuda", reuse="off") as upscaler:
        ticket = upscaler.submit(random_frame())
        with pytest.raises(ModelError, match="NaN or infinite values in fp16; try --precision fp32"):
            ticket.result()


def test_torchs_colour_kernels_do_on_the_card(tiny_model, monkeypatch):
    frame = random_frame("yuv420p", 70, 50)
    with Upscaler(tiny_model, device="cuda", reuse="off") as upscaler:
        want = upscaler.submit(frame).result()
        monkeypatch.setattr(upscaler.device, "kernels", cpu)
        got = upscaler.submit(frame).result()
    for a, b in zip(got.planes, want.planes, strict=True):
        assert np.abs(a.astype(int) - b.astype(int)).max() <= 1


@pytest.mark.parametrize("step", [FULL, Step(every=0), Step(light=True), Step(part=0.5), Step(part=0.5, probe=True)])
def test_the_steps_of_a_live_session_as_on_the_cpu(tiny_model, step):
    frames = [random_frame("yuv420p", 96, 64, seed=i, pts=i) for i in range(6)]
    made = []
    for device in ("cpu", "cuda"):
        with Upscaler(tiny_model, device=device, engine="torch", precision="fp32", reuse="off") as upscaler:
            twin = lighter_twin(upscaler, lambda: open_model(tiny_model)[0])
            plans = put_steps_in(upscaler, twin[1] if twin else None)
            made.append([])
            for frame in frames:
                plans.append(step)
                made[-1].append(upscaler.submit(frame).result())
    for want, got in zip(*made, strict=True):
        assert_frames_equal(got, want, codes=4)


# Several, and failures


@pytest.mark.parametrize("devices", ["cuda:0,cuda:0", "cuda:0,cuda:1"])
def test_several_devices_give_what_one_does(tiny_model, devices):
    if devices.endswith("1") and torch.cuda.device_count() < 2:
        pytest.skip("needs two cards")
    frames = [random_frame(width=64 + 16 * (i % 3), height=48, seed=i, pts=i) for i in range(20)]
    with Upscaler(tiny_model, device="cuda:0") as one, open_upscaler(tiny_model, device=devices) as several:
        for got, want in zip(several.map(frames), one.map(frames), strict=True):
            assert (got.pts, got.width) == (want.pts, want.width)
            for a, b in zip(got.planes, want.planes, strict=True):
                assert np.abs(a.astype(int) - b.astype(int)).max() <= 1  # cards may be of two kinds


def test_auto_takes_the_card_and_a_number_too_high_lists_the_cards(caplog):
    with caplog.at_level(logging.INFO, "rfdn_stream"):
        assert open_device("auto").name == "cuda:0"
    assert not caplog.records
    with pytest.raises(UsageError, match=r"there is no cuda:99; there is cuda:0 \("):
        open_device("cuda:99")


def test_abandoned_frames_harm_nobody(tiny_model):
    """Their memory is not given away while the card still works on it."""
    frames = [random_frame("yuv420p", 640, 360, seed=i) for i in range(3)]
    with Upscaler(tiny_model, device="cuda", reuse="off") as upscaler:
        want = [upscaler.submit(f).result() for f in frames]
    for _ in range(5):
        left = Upscaler(tiny_model, device="cuda", reuse="off")
        for frame in frames:
            left.submit(frame)
        left.close(abandon=True)
        del left
        with Upscaler(tiny_model, device="cuda", batch=1, reuse="off") as upscaler:
            for got, right in zip(upscaler.map(frames), want, strict=True):
                assert_frames_equal(got, right)


BROKEN = """
import sys, torch
from rfdn_stream.errors import DeviceError
from rfdn_stream.opening import open_device
device, index = open_device("cuda"), torch.tensor([5], device="cuda")
def bad():
    torch.zeros(1, device="cuda")[index]
event = device.event("e")
said = []
for call in (
    lambda: (device.launch(bad, device.stream("a"), [], []), device.stream("a").record(event), event.synchronize()),
    lambda: device.pinned(1, "p"),
    device.close,
):
    try:
        call()
    except DeviceError as failure:
        said.append(str(failure))
assert len(said) == 3 and len(set(said)) == 1, said
print(said[0])
"""


def test_a_broken_card_is_told_once_and_the_same_each_time():
    """In a process of its own: after such an error a process has no CUDA any more."""
    result = subprocess.run([sys.executable, "-c", BROKEN], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("cuda:0 failed: ")
    assert "assert" in result.stdout


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "rfdn_stream", *arguments], capture_output=True, text=True, check=False
    )


def test_the_doctor_finds_this_card_fine():
    ran = command("doctor", "--gpu")
    print(f"\n{ran.stdout}")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    verdicts = [line for line in ran.stdout.splitlines() if "this card is" in line]
    assert verdicts == [f"cuda:{index}: this card is fine" for index in range(torch.cuda.device_count())]


def test_bench_on_the_card():
    ran = command("bench", "--device", "cuda", "--seconds", "1", "--json")
    assert ran.returncode == 0, ran.stderr
    measured = json.loads(ran.stdout)
    assert min(measured["rates"].values()) > 0
    for speed in measured["speeds"]:
        assert 0 < speed["floor"]["blocks"] <= speed["floor"]["layers"] <= speed["floor"]["plain"]
        # What is measured cannot be below what the card needs at best; a tenth is for its clock.
        assert speed["network"] / speed["fps"] > 0.9 * speed["floor"]["blocks"]


def test_the_doctor_finds_a_wrong_kernel_on_the_card(monkeypatch):
    device = CudaDevice()
    assert [finding.state for finding in check_kernels(device)] == ["ok"]

    def wrong(planes, format, color, out):
        cuda.pre(planes, format, replace(color, siting="topleft"), out)

    monkeypatch.setattr(device, "kernels", SimpleNamespace(pre=wrong, post=cuda.post))
    (finding,) = check_kernels(device)
    assert "cases are wrong" in finding.detail


def test_a_file_on_the_card(tmp_path):
    target = tmp_path / "big.mkv"
    result = command("upscale", str(EXAMPLES / "bunny.mp4"), str(target), "--device", "cuda", "--duration", "1")
    assert result.returncode == 0, result.stderr
    assert "on cuda:0, fused kernels fp16" in result.stderr
    assert target.stat().st_size > 10_000
