"""One update of the weights after another: the network, its average, its optimizer."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rfdn_stream.engines.torch_engine import DTYPES, choose_precision
from rfdn_stream.errors import RfdnError, UsageError
from rfdn_stream.nets.base import Network
from rfdn_stream.training.config import TrainConfig
from rfdn_stream.training.schedule import ema_decay, learning_rate

LOSSES = {"l1": F.l1_loss, "l2": F.mse_loss}


class TrainingError(RfdnError):
    """Training cannot go on; what was written so far is good."""


def choose_device(asked: str) -> torch.device:
    """Settles ``auto``: the first CUDA device, else the CPU."""
    if asked == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    kind = asked.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise UsageError(f"unknown device {asked!r}; choose auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {asked}: torch finds no CUDA device here; choose cpu or auto")
    try:
        return torch.device(asked)
    except RuntimeError:
        raise UsageError(f"unknown device {asked!r}; choose auto, cpu, cuda or cuda:N") from None


def train_precision(asked: str, device: torch.device) -> tuple[str, str]:
    """Settles ``auto`` for training: (precision, why). bf16 only where the hardware multiplies it."""
    if asked == "auto" and device.type == "cuda":
        if torch.cuda.get_device_capability(device) >= (8, 0):
            return "bf16", "this GPU multiplies bf16 in hardware"
        return "fp16", "this GPU has no bf16 in hardware"
    return choose_precision(asked, device)


class Trainer:
    """The weights and all that changes them. `step` counts the updates done.

    Nothing in here draws a random number: with the batches a pure function of the step, the state is complete
    without that of any generator.

    Args:
        config: of the run.
        net: with the weights to begin with; changed in place.
        device: where it is trained.
    """

    def __init__(self, config: TrainConfig, net: Network, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.precision, self.why = train_precision(config.precision, device)
        self.net = net.to(device).to(memory_format=torch.channels_last).train()
        self.ema = copy.deepcopy(self.net).eval().requires_grad_(False)
        self._weights: list[Tensor] = list(self.net.parameters())
        self._averages: list[Tensor] = list(self.ema.parameters())
        self.optimizer = torch.optim.Adam(self._weights, lr=config.lr, betas=(0.9, 0.999), eps=1e-8, foreach=True)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        self.step = 0
        self._total = torch.zeros((), device=device)  # of the losses since the last look, and how many they are
        self._count = 0

    @property
    def lr(self) -> float:
        """Of the next update."""
        return learning_rate(self.config, self.step)

    def gradients(self, lr: Tensor, hr: Tensor) -> Tensor:
        """Forward and backward for one batch; changes no weights, so it may be left at any point.

        Args:
            lr: [N, 3, P, P] float32 in 0..1.
            hr: [N, 3, P * scale, P * scale].

        Returns:
            The loss, a scalar on the device.
        """
        lr, hr = (batch.to(self.device, non_blocking=True, memory_format=torch.channels_last) for batch in (lr, hr))
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, DTYPES[self.precision], enabled=self.precision != "fp32"):
            made = self.net(lr)
        loss = LOSSES[self.config.loss](made.float(), hr)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    @torch.no_grad()
    def apply(self, loss: Tensor) -> None:
        """Updates the weights and their average by the gradients of `loss`."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        if self.config.clip is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self._weights, self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        keep = ema_decay(self.config, self.step)
        torch._foreach_lerp_(self._averages, self._weights, 1 - keep)
        self._total += loss
        self._count += 1
        self.step += 1

    def loss(self) -> float:
        """The mean loss since the last `forget_loss`; TrainingError where it, or a weight, is no finite number."""
        mean = float(self._total) / max(1, self._count)
        if not (mean - mean == 0 and all(bool(w.isfinite().all()) for w in self._weights)):
            raise TrainingError(f"the loss or a weight is no longer a finite number at step {self.step}")
        return mean

    def forget_loss(self) -> None:
        """Begins the mean of the loss anew."""
        self._total.zero_()
        self._count = 0

    def state(self) -> dict[str, Any]:
        """All of it, for `restore`."""
        return {
            "step": self.step,
            "net": self.net.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "loss_total": self._total.clone(),
            "loss_count": self._count,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a state; the next update gives bit for bit what it would have given then (on a CPU)."""
        self.step = state["step"]
        self.net.load_state_dict(state["net"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self._total.copy_(state["loss_total"])
        self._count = state["loss_count"]
