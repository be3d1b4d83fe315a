"""One update of the weights after another: the network, its average, its optimizer."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rfdn_stream.devices.cuda import find_card
from rfdn_stream.engines.padding import Padding, pad_channels
from rfdn_stream.engines.torch_engine import DTYPES, PADDED_TO, choose_precision
from rfdn_stream.errors import RfdnError, UsageError
from rfdn_stream.nets.base import Network
from rfdn_stream.training.config import TrainConfig
from rfdn_stream.training.schedule import ema_decay, learning_rate

LOSSES = {"l1": F.l1_loss, "l2": F.mse_loss}


class TrainingError(RfdnError):
    """Training cannot go on; what was written so far is good."""


def choose_device(asked: str) -> torch.device:
    """Settles ``auto``: the first CUDA device, else the CPU.

    Raises:
        UsageError: no such device, and what there is.
        DeviceError: it is there, but does not work.
    """
    if asked == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    kind = asked.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise UsageError(f"unknown device {asked!r}; choose auto, cpu, cuda or cuda:N")
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise UsageError(f"unknown device {asked!r}; choose auto, cpu, cuda or cuda:N") from None
    return find_card(device.index) if kind == "cuda" else device


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

    On a card, channels are padded to what tensor cores take (`engines.padding`). Padded channels stay zero, since
    their gradients are; so what is trained is the network itself, and states and weights are in its own shapes.

    Args:
        config: of the run.
        net: with the weights to begin with; left untouched.
        device: where it is trained.
        multiple: what channels are padded to a multiple of; None = PADDED_TO on a card in 16 bits, else 1.
    """

    def __init__(self, config: TrainConfig, net: Network, device: torch.device, *, multiple: int | None = None) -> None:
        self.config = config
        self.device = device
        self.precision, self.why = train_precision(config.precision, device)
        self.plain = copy.deepcopy(net).requires_grad_(False)  # on the CPU, for its shapes
        if multiple is None:
            multiple = PADDED_TO if device.type == "cuda" and self.precision != "fp32" else 1
        wider = pad_channels(self.plain, multiple)
        self._padding = Padding(self.plain, wider)
        net = copy.deepcopy(wider).requires_grad_(True)  # type: ignore[assignment]  # a Network, too
        self.net = net.to(device).to(memory_format=torch.channels_last).train()
        self.ema = copy.deepcopy(self.net).eval().requires_grad_(False)
        self._names = [name for name, _ in self.net.named_parameters()]
        self._weights: list[Tensor] = list(self.net.parameters())
        self._averages: list[Tensor] = list(self.ema.parameters())
        self.optimizer = self._optimizer()
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        self.step = 0
        self._total = torch.zeros((), device=device)  # of the losses since the last look, and how many they are
        self._count = 0

    def _optimizer(self) -> torch.optim.Adam:
        return torch.optim.Adam(self._weights, lr=self.config.lr, betas=(0.9, 0.999), eps=1e-8, foreach=True)

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
        return self._gradients(self.net, lr, hr)

    def _gradients(self, net: Callable[[Tensor], Tensor], lr: Tensor, hr: Tensor) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        dtype, cast = DTYPES[self.precision], self.precision != "fp32"
        # Weights are used once a step, so a cache of them in another type would only be in a recording's way.
        with torch.autocast(self.device.type, dtype, enabled=cast, cache_enabled=False):
            made = net(lr)
        loss: Tensor = LOSSES[self.config.loss](made.float(), hr)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    @torch.no_grad()
    def apply(self, loss: Tensor) -> None:
        """Updates the weights and their average by the gradients of `loss`."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        self._clip()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        torch._foreach_lerp_(self._averages, self._weights, 1 - ema_decay(self.config, self.step))
        self._total += loss
        self._count += 1
        self.step += 1

    def _clip(self) -> None:
        if self.config.clip is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self._weights, self.config.clip)

    def averaged(self) -> Network:
        """The average of the weights, as a network of the shapes that were put in, on the CPU."""
        net = copy.deepcopy(self.plain).eval()
        net.load_state_dict(self._cropped(self.ema))
        return net

    def loss(self) -> float:
        """The mean loss since the last `forget_loss`; TrainingError where it, or a weight, is no finite number."""
        norms = torch.stack(torch._foreach_norm(self._weights))
        total, weights = torch.stack([self._total, norms.sum()]).tolist()  # waits for a card once
        mean: float = total / max(1, self._count)
        if not (math.isfinite(mean) and math.isfinite(weights)):
            raise TrainingError(f"the loss or a weight is no longer a finite number at step {self.step}")
        return mean

    def forget_loss(self) -> None:
        """Begins the mean of the loss anew."""
        self._total.zero_()
        self._count = 0

    def state(self) -> dict[str, Any]:
        """All of it, for `restore`."""
        optimizer = self.optimizer.state_dict()
        moments = {
            index: {key: self._moved(self._padding.crop, index, value) for key, value in of_one.items()}
            for index, of_one in optimizer["state"].items()
        }
        return {
            "step": self.step,
            "net": self._cropped(self.net),
            "ema": self._cropped(self.ema),
            "optimizer": {**optimizer, "state": moments},
            "scaler": self.scaler.state_dict(),
            "loss_total": self._total.clone(),
            "loss_count": self._count,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a state; the next update gives bit for bit what it would have given then (on a CPU)."""
        self.step = state["step"]
        for net, values in ((self.net, state["net"]), (self.ema, state["ema"])):
            net.load_state_dict({name: self._padding.pad(name, value) for name, value in values.items()})
        moments = {
            index: {key: self._moved(self._padding.pad, index, value) for key, value in of_one.items()}
            for index, of_one in state["optimizer"]["state"].items()
        }
        # With its own settings: another device has others.
        settings = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": settings})
        if state["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self._total.copy_(state["loss_total"])
        self._count = state["loss_count"]

    def _cropped(self, net: Network) -> dict[str, Tensor]:
        return {name: self._padding.crop(name, value).clone() for name, value in net.state_dict().items()}

    def _moved(self, move: Callable[[str, Tensor], Tensor], index: int, value: Tensor) -> Tensor:
        """A copy of a value of the optimizer's for a parameter: of a moment, which has its shape, or of a number."""
        return (move(self._names[index], value) if value.ndim else value).clone()
