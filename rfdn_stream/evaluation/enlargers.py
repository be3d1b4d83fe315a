"""What is evaluated: a network on the very path that video frames take, or plain resampling to hold it against."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from rfdn_stream.errors import UsageError
from rfdn_stream.evaluation.names import distinct
from rfdn_stream.evaluation.resize import BICUBIC, LANCZOS, Kernel, resize
from rfdn_stream.frame import Frame, Layout
from rfdn_stream.kernels.colour import CO_SITED
from rfdn_stream.upscaler import Upscaler

BASELINES = {"bicubic": BICUBIC, "lanczos": LANCZOS}
_BASELINE_SCALES = (2, 3, 4)
_DEFAULT_SCALE = 2


class Enlarger(Protocol):
    """Enlarges frames by a whole number.

    Attributes:
        name: as tables show it.
        scale: pixels put out per pixel put in, each way.
        description: what it computes with.
    """

    name: str
    scale: int
    description: str

    def map(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The enlarged frames, in order, each in the format of its own; a few are taken ahead at most."""


class Network:
    """An `Upscaler`, which stays the caller's to close."""

    def __init__(self, upscaler: Upscaler, name: str) -> None:
        self.name, self.scale = name, upscaler.scale
        self.description = f"{upscaler.engine.description}, on {upscaler.device.name}"
        self._upscaler = upscaler

    def map(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for big in self._upscaler.map(frames):
            assert isinstance(big, Frame)
            yield big


class Baseline:
    """Resampling by one of `BASELINES`, each plane by itself."""

    def __init__(self, name: str, scale: int) -> None:
        self.name, self.scale = name, scale
        self.description = "as MATLAB resizes"
        self._kernel = BASELINES[name]

    def map(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            yield resized(frame, frame.width * self.scale, frame.height * self.scale, self._kernel)


@contextmanager
def open_enlargers(
    names: Sequence[str | Path], *, scale: int | None = None, device: str = "auto", precision: str = "auto"
) -> Iterator[list[Enlarger]]:
    """Makes an enlarger of each name, all of one scale, and closes them after the block.

    A weights file is called by its name without folders and extension, or by its path where that would be another's.

    Args:
        names: models of the catalogue, weights files, or names of `BASELINES`.
        scale: what all enlarge by; None = what the models do, or 2 where there are only baselines.
        device, precision: as for `Upscaler`.

    Raises:
        UsageError: a name, scale, device or precision that does not exist, or models of several scales.
        ModelError: weights that are missing, damaged or another network's.
    """
    if scale is not None and scale not in _BASELINE_SCALES:
        raise UsageError(f"scale {scale} is not there; choose 2, 3 or 4")
    with ExitStack() as stack:
        upscalers = {
            name: stack.enter_context(Upscaler(name, scale=scale, device=device, precision=precision))
            for name in dict.fromkeys(names)
            if name not in BASELINES
        }
        models = [upscaler.model.name for upscaler in upscalers.values()]
        told = distinct([*models, *BASELINES], [*upscalers, *BASELINES])
        networks = {name: Network(upscalers[name], called) for name, called in zip(upscalers, told, strict=False)}
        if len({network.scale for network in networks.values()}) > 1:
            each = ", ".join(f"{network.name} by {network.scale}" for network in networks.values())
            raise UsageError(f"models are compared where they enlarge alike, got {each}; evaluate them one by one")
        common = scale or next((network.scale for network in networks.values()), _DEFAULT_SCALE)
        yield [networks[name] if name in networks else Baseline(str(name), common) for name in names]


def resized(frame: Frame, width: int, height: int, kernel: Kernel) -> Frame:
    """The frame at another size: each plane by itself, chroma where its siting has it.

    Luma covers the same area before and after. A chroma sample that is sited on luma sample 2k lies on that
    sample before and after, which are not the same place: the difference is the offset.
    """
    layout = Layout(frame.format, width, height)
    ratios = frame.height / height, frame.width / width
    offsets = [0.0, 0.0]
    on_column, on_row = CO_SITED[frame.color.siting]
    for axis, (co_sited, subsampling) in enumerate(zip((on_row, on_column), reversed(frame.format.subsampling))):
        if co_sited and subsampling:
            offsets[axis] = (1 - ratios[axis]) / 4
    shift, planes = frame.format.shift, []
    for index, (plane, shape) in enumerate(zip(frame.planes, layout.shapes, strict=True)):
        offset = (offsets[0], offsets[1]) if index else (0.0, 0.0)
        codes = np.right_shift(plane, shift)
        codes = resize(codes, shape[0], shape[1], kernel, peak=frame.format.code_max, offset=offset)
        planes.append(np.left_shift(codes, shift))
    return frame.like(tuple(planes), layout, frame.color)
