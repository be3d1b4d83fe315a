"""An engine that can do less: around the one that a session was given, for the steps of its ladder."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

import torch

from rfdn_stream.engines.base import Engine
from rfdn_stream.kernels.resample import resample
from rfdn_stream.live.ladder import FULL, Step
from rfdn_stream.multi import MultiUpscaler
from rfdn_stream.nets.catalogue import ModelSpec
from rfdn_stream.upscaler import Upscaler

Twin = Callable[[Engine, ModelSpec, torch.device], Engine]

MIXED = 0.5  # of a result that was made at a smaller size; the rest keeps the detail that it has lost


class SteppedEngine:
    """The Engine contract (see `engines.base`): the result has the same size whatever the step.

    On the first step it is `engine` itself, to the bit.

    Args:
        engine: makes whole frames.
        plans: a step for each frame that was sent, the oldest first; without one, a frame is made in full. A step with
            `every` = 0 is resampled, any other one goes through the network.
        light: makes an engine in a lighter precision when a step first asks for it; None = there is none.
    """

    def __init__(self, engine: Engine, plans: deque[Step], light: Callable[[], Engine] | None = None) -> None:
        self.scale, self.precision, self.description = engine.scale, engine.precision, engine.description
        self._engine, self._plans, self._make_light = engine, plans, light
        self._light: Engine | None = None

    @torch.inference_mode()
    def __call__(self, rgb: torch.Tensor) -> torch.Tensor:
        step = self._plans.popleft() if self._plans else FULL
        _, height, width = rgb.shape
        size = self.scale * height, self.scale * width
        if not step.every:
            return resample(rgb, *size)
        engine = self._lighter() if step.light else self._engine
        if step.part == 1:
            return engine(rgb)
        if step.probe:
            engine(rgb[:, : max(1, round(height * step.part)), : max(1, round(width * step.part))])
            return resample(rgb, *size)
        small = resample(rgb, max(1, round(height * step.part)), max(1, round(width * step.part)))
        return resample(rgb, *size).lerp_(resample(engine(small).float(), *size), MIXED)

    def _lighter(self) -> Engine:
        if self._light is None:
            self._light = self._engine if self._make_light is None else self._make_light()
        return self._light


def put_steps_in(upscaler: Upscaler, light: Twin | None = None) -> deque[Step]:
    """Puts a `SteppedEngine` around each engine of an Upscaler.

    Args:
        light: makes an engine anew in a lighter precision.

    Returns:
        The plans, to be added to before each frame is submitted.
    """
    plans: deque[Step] = deque(maxlen=8)
    for one in upscaler.upscalers if isinstance(upscaler, MultiUpscaler) else (upscaler,):
        twin = None if light is None else partial(light, one.engine, one.model, one.device.torch_device)
        one.engine = SteppedEngine(one.engine, plans, twin)
    return plans
