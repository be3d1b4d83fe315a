"""Whether a device computes what it should: its colour kernels, its engines, and frames in flight, each held to the
float64 reference or to fp32 on the processor.

Everything takes the device, so that the same checks run on a processor and on a card.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import get_args

import numpy as np
import torch
from torch.nn import functional as F

from rfdn_stream import registry
from rfdn_stream.devices.base import Device
from rfdn_stream.doctor.finding import Finding, absent, broken, ok
from rfdn_stream.engines.base import Engine
from rfdn_stream.engines.torch_engine import TorchEngine
from rfdn_stream.errors import UsageError
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Frame, Layout, Matrix, PixelFormat, Range, Siting
from rfdn_stream.kernels import cpu, cuda, reference
from rfdn_stream.nets.catalogue import ModelSpec, open_model
from rfdn_stream.upscaler import Upscaler

log = logging.getLogger("rfdn_stream")

LEAST_PSNR = {"fp32": 50.0, "fp16": 50.0, "bf16": 40.0}
"""dB against fp32 on the processor (fp16 reaches 75, bf16 57); cards multiply fp32 in TF32, 10 bits of each factor."""
MOST_BETWEEN_ENGINES = 4 / 255
"""Of full scale, at any sample: engines at one precision may differ in the order of their sums."""
MOST_CODES, MOST_MEAN = 4, 0.5
"""Of 8 bits, between a frame enlarged by the device and by the processor: at any sample, and on average."""
SIZE = 181, 319  # of the engines' pictures: height and width, both odd
REPORT = "report it, with what `rfdn-stream doctor --gpu` prints"

Make = Callable[[str, str], Engine]
"""An engine by its name and precision."""


# Colour


def check_kernels(device: Device) -> Iterator[Finding]:
    """The device's colour kernels against the reference: every format, matrix, range and siting, at an odd size.

    Before it, where a card has to do with torch's kernels, why.
    """
    if device.torch_device.type == "cuda" and device.kernels is cpu:
        missing = cuda.what_is_missing(device.torch_device) or "torch's own are in use"
        yield absent("kernels of CUDA", missing, "colour is converted by plain torch, which is slower")
    part, rng = "colour kernels", np.random.default_rng(0)
    cases = count = near = 0
    far = 0.0
    bad: list[str] = []
    for format in FORMATS.values():
        for color in _colors(format):
            error, off, wrong, codes = on_device(device, partial(_case, device, format, color, rng))
            cases, count, near, far = cases + 1, count + codes, near + off, max(far, error)
            if wrong or not error <= 1e-6:  # `not`, so that NaN is found too
                bad.append(f"{format.name} {color.matrix} {color.range} {color.siting}")
    if bad:
        remedy = REPORT if device.kernels is cpu else f"uninstall CuPy, so that torch's kernels take over; {REPORT}"
        yield broken(part, f"{len(bad)} of {cases} cases are wrong, as {bad[0]}", "wrong colours", remedy)
        return
    yield ok(part, f"{cases} cases: RGB within {far:.1e}, {near} of {count} codes off by one, at a rounding edge")


def _colors(format: PixelFormat) -> Iterator[ColorSpec]:
    matrices = ["rgb"] if format.family == "rgb" else [matrix for matrix in get_args(Matrix) if matrix != "rgb"]
    return (ColorSpec(*choice) for choice in product(matrices, get_args(Range), get_args(Siting)))


def _case(
    device: Device, format: PixelFormat, color: ColorSpec, rng: np.random.Generator
) -> tuple[float, int, int, int]:
    """(the largest error of RGB, codes off by one at a rounding edge, wrong codes, all codes) of a random picture."""
    layout = Layout(format, 37, 23)
    planes = _random_planes(layout, rng)
    there = [torch.from_numpy(plane).to(device.torch_device) for plane in planes]
    out = torch.full((3, layout.height, layout.width), torch.nan, device=device.torch_device)
    device.kernels.pre(there, format, color, out)
    error = np.abs(out.double().cpu().numpy() - reference.to_rgb(planes, format, color)).max()
    rgb = torch.from_numpy(rng.uniform(-0.1, 1.1, out.shape)).to((torch.float32, torch.float16)[rng.integers(2)])
    device.kernels.post(rgb.to(device.torch_device), there, format, color)
    exact = reference.from_rgb(rgb.double().numpy(), format, color)
    found = reference.disagreements([plane.cpu().numpy() for plane in there], exact, format)
    return float(error), *found, sum(plane.size for plane in planes)


def _random_planes(layout: Layout, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    planes = layout.planes(np.zeros(layout.nbytes, np.uint8))
    for plane in planes:
        plane[...] = rng.integers(0, layout.format.code_max + 1, plane.shape) << layout.format.shift
    return planes


# The network


def engine_maker(device: Device, model: ModelSpec) -> Make:
    """Makes engines as `Upscaler` does, for whole frames."""

    def make(name: str, precision: str) -> Engine:
        engine_class = registry.load(registry.ENGINES, name, "engine")
        engine: Engine = engine_class(*open_model(model), device.torch_device, precision, 0)
        return engine

    return make


def check_engines(device: Device, model: ModelSpec, make: Make | None = None) -> Iterator[Finding]:
    """Each engine at its own choice of precision and plain torch at every one, against fp32 on the processor; and
    each engine against plain torch.

    Args:
        make: makes engines; None = `engine_maker`.
    """
    trial = _Trial(device, model, make or engine_maker(device, model))
    for name in device.engines:
        yield trial.check(name, "auto")
    for precision in model.precisions:
        if precision not in trial.plain and _is_computed(precision, device.torch_device):
            yield trial.check("torch", precision)


def _is_computed(precision: str, device: torch.device) -> bool:
    if device.type == "cpu":
        return precision != "fp16"
    return precision != "bf16" or torch.cuda.is_bf16_supported(including_emulation=False)


class _Trial:
    """The same few pictures for all engines.

    Attributes:
        plain: what plain torch made of them, by precision.
    """

    def __init__(self, device: Device, model: ModelSpec, make: Make) -> None:
        self.plain: dict[str, list[torch.Tensor]] = {}
        self._device, self._make = device, make
        # One picture twice: an engine that replays must not give what it was recorded with, nor what came last.
        self._pictures = [smooth_picture(*SIZE, seed) for seed in (0, 1, 0)]
        exact = TorchEngine(*open_model(model), torch.device("cpu"), "fp32", 0)
        self._wanted = [exact(picture).clamp(0, 1) for picture in self._pictures]

    def check(self, name: str, precision: str) -> Finding:
        """An engine's results, beside fp32 and beside plain torch."""
        with _warnings() as said:
            try:
                engine = self._make(name, precision)
                got = self._results(engine)
            except UsageError as failure:
                return absent(f"engine {name}", str(failure), f"engine {name} cannot be chosen")
        part, precision = f"engine {name} {engine.precision}", engine.precision
        if name == "torch":
            self.plain[precision] = got
        elif precision not in self.plain:
            self.plain[precision] = self._results(self._make("torch", precision))
        worst = min(_psnr(result, want) for result, want in zip(got, self._wanted, strict=True))
        apart = max(_distance(one, other) for one, other in zip(got, self.plain[precision], strict=True))
        detail = f"{worst:.1f} dB from fp32 on the processor, at most {apart:.4f} of 1 from plain torch"
        # `not`, so that NaN is found too.
        if not worst >= LEAST_PSNR[precision] or not apart <= MOST_BETWEEN_ENGINES:
            wanted = f"{LEAST_PSNR[precision]:.0f} dB and {MOST_BETWEEN_ENGINES:.4f} are the bounds"
            return broken(part, f"{detail}; {wanted}", "wrong pictures", f"--device cpu gives right ones; {REPORT}")
        if said:
            return broken(part, f"{detail}; {said[0]}", "slower than it should be", REPORT)
        return ok(part, detail)

    def _results(self, engine: Engine) -> list[torch.Tensor]:
        target = self._device.torch_device

        def enlarged(picture: torch.Tensor) -> torch.Tensor:
            return engine(picture.to(target)).to("cpu", torch.float32, copy=True)  # it is the engine's own

        return [on_device(self._device, partial(enlarged, picture)) for picture in self._pictures]


def check_frames(upscaler: Upscaler) -> Finding:
    """Frames in flight, of several sizes and formats, against the same ones enlarged by the processor in fp32.

    What was lost, came twice or in another order, or was overwritten by its neighbour, differs by far.
    """
    part, frames = "frames in flight", [_frame(n) for n in range(4 * upscaler.depth)]
    got = [frame for frame in upscaler.map(frames) if isinstance(frame, Frame)]
    most = mean = 0.0
    with Upscaler(upscaler.model, device="cpu", precision="fp32") as exact:
        for a, b in zip(got, exact.map(frames), strict=True):
            assert isinstance(b, Frame)
            if (a.pts, a.format, a.width) != (b.pts, b.format, b.width):
                return broken(part, f"frame {a.pts} came in the place of {b.pts}", "frames are mixed up", REPORT)
            for one, other in zip(a.planes, b.planes, strict=True):
                unit = 1 << (b.format.shift + b.format.bits - 8)
                codes = np.abs(one.astype(np.int64) - other) / unit
                most, mean = max(most, float(codes.max())), max(mean, float(codes.mean()))
    detail = f"{len(got)} frames, at most {most:.2f} of 255 from fp32 on the processor, {mean:.3f} on average"
    if most > MOST_CODES or mean > MOST_MEAN:
        return broken(part, detail, "wrong or mixed frames", f"--device cpu gives right ones; {REPORT}")
    return ok(part, detail)


def smooth_picture(height: int, width: int, seed: int) -> torch.Tensor:
    """RGB [3, H, W] as pictures are: noise at an eighth of the size, enlarged."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, -(-height // 8), -(-width // 8), generator=generator)
    return F.interpolate(small, size=(height, width), mode="bilinear")[0]


def _frame(number: int) -> Frame:
    """Sizes and formats that change from frame to frame, the last of them smaller than networks take."""
    width, height = ((160, 90), (161, 91), (320, 180), (20, 11))[number % 4]
    format = FORMATS[("yuv420p", "p010le", "rgb24")[number % 3]]
    color = RGB_FULL if format.family == "rgb" else ColorSpec()
    rgb = smooth_picture(height, width, number).double().numpy()
    planes = reference.quantise(reference.from_rgb(rgb, format, color), format)
    return Frame(planes, format, width, height, color, pts=number)


# Running


def on_device[T](device: Device, work: Callable[[], T]) -> T:
    """What `work` returns or raises, run on the compute stream; a failure is not the device's, which goes on."""
    outcome: list[T] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as failure:  # noqa: BLE001 - raised below
            failures.append(failure)

    stream, event = device.stream("compute"), device.event("checked")
    device.launch(run, stream, [], [])
    stream.record(event)
    event.synchronize()
    if failures:
        raise failures[0]
    return outcome[0]


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What is warned of inside, beside being shown."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        yield said
    finally:
        log.removeHandler(handler)


def _psnr(got: torch.Tensor, want: torch.Tensor) -> float:
    return float(-10 * torch.log10(((got.clamp(0, 1).double() - want.double()) ** 2).mean()))


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())
