"""What a run leaves for its user: the best weights, which describe themselves, and a card with all the facts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from rfdn_stream import __version__
from rfdn_stream.nets import checkpoint
from rfdn_stream.training.config import TrainConfig
from rfdn_stream.training.state import write_whole
from rfdn_stream.training.trainer import Trainer

WEIGHTS, CARD = "weights.safetensors", "card.json"


@dataclass(frozen=True)
class Facts:
    """What is known of a run besides its config.

    Args:
        data: what it trains on, in words.
        beginning: what its weights began as, in words.
        bicubic: mean PSNR-Y of bicubic enlargement on the held-out pictures; None where there are none.
        pictures: how many those are.
    """

    data: str
    beginning: str
    bicubic: float | None
    pictures: int

    def measured_alike(self, other: Mapping[str, Any]) -> bool:
        """Whether the held-out pictures are those of other facts, whose bicubic may differ by what machines round."""
        if self.bicubic is None or other["bicubic"] is None:
            return self.bicubic is other["bicubic"]
        return self.pictures == other["pictures"] and math.isclose(self.bicubic, other["bicubic"], abs_tol=1e-6)


def recipe(config: TrainConfig, beginning: str, steps: str | None = None) -> str:
    """How the weights are trained, in a sentence; `steps` says it where their number is not known yet."""
    rate = f"half a cosine from {config.lr:g} to 0"
    if config.schedule == "halve":
        rate = f"{config.lr:g} halved every {config.halve_every:,} steps"
    extras = f", {config.warmup:,} steps of warm-up" if config.warmup else ""
    extras += f", gradients clipped to {config.clip:g}" if config.clip is not None else ""
    steps = steps or f"{config.steps:,} steps"
    drawn = " drawn by their detail" if config.sampling == "detail" else ""
    return (
        f"{steps} of {config.batch} patches of {config.patch}x{config.patch} px{drawn}, "
        f"{config.loss.upper()} loss, Adam, learning rate {rate}{extras}; average of weights {config.ema:g}; "
        f"begun with {beginning}"
    )


def save_weights(folder: Path, trainer: Trainer, config: TrainConfig, facts: Facts, psnr: float | None) -> None:
    """Writes the averaged weights; ModelError if they cannot be written, and the former ones stay."""
    metadata = {
        "value_range": "0..1",
        "training": f"{recipe(config, facts.beginning)}. Data: {facts.data}. Step {trainer.step:,}, seed {config.seed}",
        "seed": str(config.seed),
        "steps": str(trainer.step),
        "data": facts.data,
        "source": f"rfdn-stream {__version__}",
    }
    if config.licence:
        metadata["licence"] = config.licence
    if psnr is not None:
        metadata["held_out_psnr_y"] = f"{psnr:.4f}"
    checkpoint.save(folder / WEIGHTS, trainer.averaged(), metadata)


def save_card(
    folder: Path, trainer: Trainer, config: TrainConfig, facts: Facts, best: dict[str, Any], seconds: float
) -> None:
    """Writes all that a model card needs; OSError where that fails.

    Args:
        folder: of the run.
        trainer: at the step that is described.
        config, facts: of the run.
        best: ``step`` and ``psnr_y`` of the weights that are kept.
        seconds: of training so far.
    """
    card = {
        "architecture": trainer.plain.metadata(),
        "scale": config.network.scale,
        "parameters": sum(p.numel() for p in trainer.plain.parameters()),
        "value_range": "0..1",
        "weights": {"file": WEIGHTS, **best},
        "held_out": {"pictures": facts.pictures, "bicubic_psnr_y": facts.bicubic},
        "training": recipe(config, facts.beginning),
        "data": facts.data,
        "licence": config.licence or "not stated",
        "steps_done": trainer.step,
        "seconds": round(seconds, 1),
        "config": asdict(config),
        "machine": {"device": str(trainer.device), "precision": trainer.precision, "threads": torch.get_num_threads()},
        "versions": {"rfdn-stream": __version__, "torch": torch.__version__},
    }
    write_whole(folder / CARD, (json.dumps(card, indent=2) + "\n").encode())
