"""The learning rate and the weight of the average, each a pure function of the step."""

from __future__ import annotations

import math

from rfdn_stream.training.config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """Adam's step size for update number `step`, counted from 0."""
    if config.schedule == "cosine":
        rate = config.lr * 0.5 * (1 + math.cos(math.pi * step / config.steps))
    else:
        rate = config.lr * 0.5 ** (step // config.halve_every)
    return rate * min(1.0, (step + 1) / (config.warmup + 1))


def ema_decay(config: TrainConfig, step: int) -> float:
    """What the average keeps of itself at update number `step`, counted from 0.

    Less at the start, so that the first random weights are soon forgotten: min(ema, (1 + step) / (10 + step)).
    """
    return min(config.ema, (1 + step) / (10 + step))
