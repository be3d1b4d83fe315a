"""What decides the outcome of a training run, as one frozen value that is kept with everything the run writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from rfdn_stream.errors import UsageError
from rfdn_stream.nets.base import NetworkOptions
from rfdn_stream.training.network import architecture_of, network_name, options_of

CHOICES = {
    "degrade": ("clean", "video"),
    "sampling": ("even", "detail"),
    "init": ("random", "bicubic"),
    "loss": ("l1", "l2"),
    "schedule": ("halve", "cosine"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
}


@dataclass(frozen=True)
class TrainConfig:
    """A training run; two runs of one config on one machine's CPU give the same weights, bit for bit.

    The defaults are the paper's recipe (arXiv 2009.11551, section 4.1): L1, Adam, batches of 64 patches of 64x64
    LR pixels, 5e-4 halved every 200,000 updates. EMA is not the paper's: averaged weights are the better ones.

    Args:
        folders: of images and videos, as the user wrote them.
        network: what is trained; its `scale` is the enlargement.
        start: a model's name or a weights file to begin with; None = see `init`.
        init: without `start`: ``random`` weights, or random ones that begin as ``bicubic`` enlargement.
        degrade: ``clean`` = LR by bicubic alone; ``video`` = also through real encoders.
        clean_share: the part of a video batch that is clean all the same.
        sampling: ``even`` = every crop is drawn as often as any other; ``detail`` = as often as it has detail.
        loss: ``l1``, or ``l2`` for a last stage of fine-tuning.
        steps: updates of the weights.
        minutes: what `steps` was measured to take, where the user gave that; kept for the record.
        batch, patch: patches an update, and their side in LR pixels.
        lr: Adam's step size at its highest.
        schedule: ``halve`` = halved every `halve_every` steps; ``cosine`` = along half a cosine to 0 at the end.
        warmup: steps over which the rate first rises from 0, straight.
        clip: the largest norm of a gradient; longer ones are shortened to it. None = as they are.
        ema: decay of the averaged weights in one step; they are what is evaluated and saved.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``; weights stay in float32.
        seed: of the first weights and of the batches.
        evaluate_every: steps between measurements on the held-out pictures.
        licence: of the weights, as their file will say; empty = not stated.
    """

    folders: tuple[str, ...]
    network: NetworkOptions
    start: str | None = None
    init: str = "random"
    degrade: str = "clean"
    clean_share: float = 0.2
    sampling: str = "even"
    loss: str = "l1"
    steps: int = 1_000_000
    minutes: float | None = None
    batch: int = 64
    patch: int = 64
    lr: float = 5e-4
    schedule: str = "halve"
    halve_every: int = 200_000
    warmup: int = 0
    clip: float | None = None
    ema: float = 0.999
    precision: str = "auto"
    seed: int = 0
    evaluate_every: int = 200
    licence: str = ""

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UsageError(f"unknown {name} {getattr(self, name)!r}; choose {', '.join(allowed)}")
        if not self.folders:
            raise UsageError("no folder to train on; name one or more folders of images or videos after OUT")
        for name in ("steps", "batch", "halve_every", "evaluate_every"):
            _require(name, getattr(self, name), getattr(self, name) >= 1, "1 or more")
        _require("patch", self.patch, self.patch >= self.network.minimum_size, f"{self.network.minimum_size} or more")
        _require("lr", self.lr, 0 < self.lr < 1, "above 0 and below 1")
        _require("ema", self.ema, 0 <= self.ema < 1, "0 or more and below 1")
        _require("clean-share", self.clean_share, 0 <= self.clean_share <= 1, "0 to 1")
        if self.minutes is None:
            _require("warmup", self.warmup, 0 <= self.warmup <= self.steps, f"0 to the number of steps ({self.steps})")
        else:  # how many steps there will be is measured later
            _require("warmup", self.warmup, self.warmup >= 0, "0 or more")
        _require("seed", self.seed, 0 <= self.seed < 2**63, "0 or more")
        if self.clip is not None:
            _require("clip", self.clip, self.clip > 0, "above 0")
        if self.minutes is not None:
            _require("minutes", self.minutes, 0 < self.minutes < float("inf"), "above 0")

    @property
    def pixels(self) -> int:
        """LR pixels in a batch."""
        return self.batch * self.patch**2

    def to_json(self) -> str:
        """As text, from which `from_json` makes an equal value."""
        return json.dumps({"architecture": architecture_of(self.network), **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """The value that `to_json` wrote; ValueError, TypeError or KeyError where the text is something else."""
        content = json.loads(text)
        content["network"] = options_of(content.pop("architecture", "rfdn"), content["network"])
        content["folders"] = tuple(content["folders"])
        return cls(**content)


SMALL: Mapping[str, Any] = {"init": "bicubic", "schedule": "cosine", "warmup": 20, "clip": 0.5, "evaluate_every": 100}
SHORT = 15  # minutes
BY_MINUTES: Mapping[str, Mapping[str, Any]] = {
    "short": {**SMALL, "batch": 4, "patch": 24, "lr": 3e-3},
    "long": {**SMALL, "batch": 16, "patch": 40, "lr": 5e-4},
}
"""What the defaults are where the user names minutes, up to SHORT and above: many small steps, on a CPU."""

FINE_TUNING: Mapping[str, Any] = {"lr": 1e-5}
"""What the defaults are for the L2 loss: the last stage of the challenge's recipe."""

UNMEASURED = 1000  # steps, while it is not known yet how many fit into the minutes


def begin(asked: Mapping[str, Any], network: NetworkOptions) -> TrainConfig:
    """The config of a new run.

    Args:
        asked: fields of TrainConfig that the user chose; the rest takes its default.
        network: what is trained.

    Raises:
        UsageError: a value is not allowed, or values exclude one another.
    """
    if "minutes" in asked and "steps" in asked:
        raise UsageError("--minutes and --steps exclude one another: minutes are turned into steps by measuring")
    if "init" in asked and "start" in asked:
        raise UsageError("--init and --from exclude one another: one of them says what the weights begin as")
    recipe: dict[str, Any] = {}
    if "minutes" in asked:
        recipe = {**BY_MINUTES["short" if asked["minutes"] <= SHORT else "long"], "steps": UNMEASURED}
    if recipe and "start" in asked:
        recipe |= {"init": "random", "lr": 1e-4}  # weights that are good already
    if asked.get("loss") == "l2":
        recipe |= FINE_TUNING
    return TrainConfig(network=network, **{**recipe, **asked})


def check_unchanged(config: TrainConfig, asked: Mapping[str, Any], out: object) -> None:
    """UsageError where `asked`, fields of TrainConfig, is something else than the run in `out` was begun with."""
    for name, value in asked.items():
        if (begun := getattr(config, name)) != value:
            raise UsageError(
                f"{out} was begun with {name.replace('_', '-')} {_text(begun)}, not {_text(value)}; leave the option "
                "out to go on, or start in another folder"
            )


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return network_name(value) if is_dataclass(value) else str(value)  # type: ignore[arg-type]


def _require(name: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise UsageError(f"{name.replace('_', '-')} {value} is not allowed; take {allowed}")
