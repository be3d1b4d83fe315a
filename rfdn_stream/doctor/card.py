"""A card put to the test: does it compute what it should, how fast is it, and how fast could it be?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from rfdn_stream.devices.base import Device
from rfdn_stream.devices.cuda import start_cuda
from rfdn_stream.doctor.agreement import REPORT, Make, check_engines, check_frames, check_kernels
from rfdn_stream.doctor.bench import GPU_SIZES, Speed, measure
from rfdn_stream.doctor.finding import Finding, State, broken, ok
from rfdn_stream.doctor.rates import Rates, measure_rates, published_memory_rate
from rfdn_stream.engines.torch_engine import DTYPES
from rfdn_stream.upscaler import Upscaler

SECONDS = 5.0  # of measurement a size, about
BUS, HOST = "`nvidia-smi -q` tells the link's width and generation", "end other programs, and leave power saving"
OTHERS = "`nvidia-smi -q -d PERFORMANCE,POWER` tells why: other programs, heat, or a limit of power"


@dataclass(frozen=True)
class Limits:
    """What a card may fall short by before it counts as a fault.

    Args:
        idle: the share of the time in which it may have nothing to do, at the largest size.
        above_floor: how many times the network may take what plain torch takes at best (on an H200: 1.1 times by the
            fused kernels, 3.7 by engine graph).
        memory: the share of its published memory rate that it reaches at least.
    """

    idle: float = 0.25
    above_floor: float = 4.0
    memory: float = 0.5


def cards() -> list[str]:
    """The names of this machine's cards; raises as `CudaDevice` where there is none or CUDA does not start."""
    start_cuda()
    return [f"cuda:{index}" for index in range(torch.cuda.device_count())]


def examine_card(
    upscaler: Upscaler,
    sizes: Sequence[tuple[int, int]] = GPU_SIZES,
    seconds: float = SECONDS,
    *,
    make: Make | None = None,
    rates: Callable[[Device, torch.dtype], Rates] = measure_rates,
    limits: Limits = Limits(),
) -> Iterator[Finding]:
    """Checks and measures the device of an upscaler with its model, and never raises for what it finds.

    Args:
        sizes: of the frames that are timed, the largest last; it alone is judged.
        seconds: how long each is measured, about.
        make: as for `check_engines`.
        rates: measures the device.
        limits: what counts as a fault.
    """
    device = upscaler.device
    yield ok(device.name, f"{upscaler.description}; {_hardware(device)}")
    yield from _guarded("colour kernels", lambda: check_kernels(device))
    yield from _guarded("engines", lambda: check_engines(device, upscaler.model, make))
    yield from _guarded("frames in flight", lambda: [check_frames(upscaler)])
    yield from _guarded("speed", lambda: _speeds(upscaler, sizes, seconds, rates, limits))


def verdict(findings: Iterable[Finding]) -> str:
    """What it comes down to, in one line: that the card is fine, or what is wrong with it and what to do."""
    wrong = [f"{f.part}: {f.cost}; {f.remedy}" for f in findings if f.state is State.BROKEN]
    return f"this card is not fine. {'. '.join(wrong)}" if wrong else "this card is fine"


def _guarded(part: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """A check's findings; one that cannot be carried out is a finding too."""
    try:
        yield from check()
    except Exception as failure:  # noqa: BLE001 - told as a finding
        said = (str(failure).strip() or type(failure).__name__).splitlines()[0]
        yield broken(part, said, "it cannot be carried out", REPORT)


def _speeds(
    upscaler: Upscaler,
    sizes: Sequence[tuple[int, int]],
    seconds: float,
    rates: Callable[[Device, torch.dtype], Rates],
    limits: Limits,
) -> Iterator[Finding]:
    device, precision = upscaler.device, upscaler.engine.precision
    reached = rates(device, DTYPES[precision])
    yield ok("copies", f"{reached.up / 1e9:.1f} GB/s up, {reached.down / 1e9:.1f} GB/s down")
    yield judge_memory(reached.memory, published_memory_rate(device), limits)
    yield ok("arithmetic", f"{reached.arithmetic / 1e12:.3g} Tflop/s in convolutions in {precision}")
    for width, height in sizes:
        speed = measure(upscaler, width, height, seconds, reached)
        yield ok(f"{width}x{height} x{upscaler.scale}", describe(speed))
    yield judge_overlap(speed, limits)
    yield judge_network(speed, limits)


def describe(speed: Speed) -> str:
    """A size's figures, in milliseconds a frame."""
    assert speed.floor is not None
    assert speed.up is not None
    assert speed.down is not None
    frame, floor = 1e3 / speed.fps, speed.floor
    return (
        f"{speed.fps:.3g} fps, {frame:.3g} ms a frame: network {frame * speed.network:.3g}, "
        f"colour {frame * speed.colour:.3g}, idle {speed.idle:.0%}; copies beside it: up {1e3 * speed.up:.2g}, "
        f"down {1e3 * speed.down:.2g}; the network at best: plain {1e3 * floor.plain:.3g}, "
        f"layers fused {1e3 * floor.layers:.3g}, blocks fused {1e3 * floor.blocks:.3g}, "
        f"arithmetic alone {1e3 * floor.arithmetic:.3g}"
    )


def judge_memory(reached: float, published: float, limits: Limits) -> Finding:
    """The card's own memory, beside what its clock and width give (0 = not known), in bytes a second."""
    detail = f"{reached / 1e9:.0f} GB/s"
    if not published:
        return ok("memory", detail)
    detail += f", {reached / published:.0%} of the {published / 1e9:.0f} by its clock and width"
    if reached < limits.memory * published:
        return broken("memory", detail, "the card is slower than it should be", OTHERS)
    return ok("memory", detail)


def judge_overlap(speed: Speed, limits: Limits) -> Finding:
    """Whether the card had something to do all the time, and what it waited for."""
    part, detail = "overlap", f"{speed.idle:.0%} idle at {speed.width}x{speed.height}"
    if speed.idle <= limits.idle:
        return ok(part, detail)
    copies = max(speed.up or 0.0, speed.down or 0.0)
    if copies * speed.fps > 1 - limits.idle:
        return broken(part, f"{detail}: it waits for copies", "the bus limits the speed", BUS)
    return broken(part, f"{detail}: it waits for this processor", "the processor limits the speed", HOST)


def judge_network(speed: Speed, limits: Limits) -> Finding:
    """The network's time beside the floor of plain torch."""
    assert speed.floor is not None
    times = speed.network / speed.fps / speed.floor.plain
    detail = f"it takes {times:.2f} times what plain torch takes at best"
    if times > limits.above_floor:
        return broken("network", detail, "the network is slower than it should be", OTHERS)
    return ok("network", detail)


def _hardware(device: Device) -> str:
    """What the device is made of."""
    if device.torch_device.type != "cuda":
        return "no card"
    card = torch.cuda.get_device_properties(device.torch_device)
    return (
        f"{card.name}, {card.total_memory / 2**30:.0f} GiB, compute {card.major}.{card.minor}, "
        f"CUDA {torch.version.cuda}"
    )
