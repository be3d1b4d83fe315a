"""Training on a card in two CUDA graphs a step: gradients, and the update by them.

A step of a small network is some five hundred kernels, each of which runs for less time than it takes to launch it
from Python. Recorded, they follow one another without a gap.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rfdn_stream.engines.graph import CudaGraphs, Record
from rfdn_stream.engines.torch_engine import out_of_memory
from rfdn_stream.nets.base import Network
from rfdn_stream.training.config import TrainConfig
from rfdn_stream.training.schedule import ema_decay
from rfdn_stream.training.trainer import Trainer

log = logging.getLogger("rfdn_stream")

Replay = Callable[[], None]


class RecordedTrainer(Trainer):
    """A Trainer whose steps are recorded at the first of them; all batches are of one shape.

    Args:
        config, net, device: as for Trainer; precision fp16 cannot be recorded, as its scale is decided on the host.
        compiled: whether torch.compile fuses the network's layers, which takes half a minute at the first step.
        record: how; None = `CudaGraphs`.
    """

    def __init__(
        self,
        config: TrainConfig,
        net: Network,
        device: torch.device,
        *,
        compiled: bool = False,
        record: Record | None = None,
    ) -> None:
        # What a recorded update reads: the learning rate, and the share of the new weights in their average.
        self._rate, self._fresh = (torch.zeros((), device=device) for _ in range(2))
        super().__init__(config, net, device)
        self._compiled = compiled
        self._record = record or CudaGraphs()
        self._batch: tuple[Tensor, Tensor] | None = None
        self._loss = torch.zeros((), device=device)
        self._replay_gradients: Replay
        self._replay_update: Replay

    def _optimizer(self) -> torch.optim.Adam:
        on_card = self.device.type == "cuda"
        return torch.optim.Adam(
            self._weights, lr=self._rate, betas=(0.9, 0.999), eps=1e-8, foreach=on_card, capturable=on_card
        )

    def gradients(self, lr: Tensor, hr: Tensor) -> Tensor:
        """See `Trainer.gradients`; the loss returned is overwritten by the next call's."""
        if self._batch is None:
            self._prepare(lr, hr)
        assert self._batch is not None
        for kept, given in zip(self._batch, (lr, hr), strict=True):
            kept.copy_(given, non_blocking=True)
        self._replay_gradients()
        return self._loss

    @torch.no_grad()
    def apply(self, loss: Tensor) -> None:
        self._rate.fill_(self.lr)
        self._fresh.fill_(1 - ema_decay(self.config, self.step))
        self._replay_update()
        self._count += 1
        self.step += 1

    def _prepare(self, lr: Tensor, hr: Tensor) -> None:
        """Records both graphs; what that does to the weights is undone."""
        self._begin_moments()
        lasting = [*self._weights, *self._averages, self._total]
        lasting += [value for of_one in self.optimizer.state.values() for value in of_one.values()]
        before = [tensor.detach().clone() for tensor in lasting]
        own = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None  # type: ignore[no-untyped-call]
        if own is not None:  # nothing can be recorded on the default stream
            own.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(own):
            kept = [b.to(self.device).contiguous(memory_format=torch.channels_last).clone() for b in (lr, hr)]
            net = self._chosen(kept[0])
            self._loss, self._replay_gradients = self._record(lambda: self._gradients(net, *kept))
            _, self._replay_update = self._record(self._update)
        if own is not None:
            torch.cuda.current_stream(self.device).wait_stream(own)
        self._batch = kept[0], kept[1]
        with torch.no_grad():
            torch._foreach_copy_(lasting, before)

    def _begin_moments(self) -> None:
        """Makes Adam's moments, which it would do at its first step, and so in each replay of a recorded one."""
        if not self.optimizer.state:
            self._rate.zero_()
            for weight in self._weights:
                weight.grad = torch.zeros_like(weight)
            self.optimizer.step()
            for of_one in self.optimizer.state.values():
                for value in of_one.values():
                    value.zero_()

    def _chosen(self, lr: Tensor) -> Callable[[Tensor], Tensor]:
        """The network, compiled if that is asked for and works."""
        if self._compiled:
            net: Callable[[Tensor], Tensor] = torch.compile(self.net, dynamic=False)
            try:
                self._gradients(net, lr, torch.zeros_like(self.net(lr), dtype=torch.float32))
            except Exception as failure:  # Inductor, Triton and the C++ compiler each have their own classes
                if out_of_memory(failure):
                    raise
                said = (str(failure).strip() or type(failure).__name__).splitlines()[0]
                log.warning("torch.compile does not work here, going on without, which is slower: %s", said)
            else:
                return net
        return self.net

    @torch.no_grad()
    def _update(self) -> Tensor:
        self._clip()
        self.optimizer.step()
        torch._foreach_mul_(self._averages, 1 - self._fresh)
        torch._foreach_add_(self._averages, torch._foreach_mul(self._weights, self._fresh))
        self._total += self._loss
        return self._total

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._batch = None  # the moments are others now
        for group in self.optimizer.param_groups:  # else it would read a copy of the rate
            group["lr"] = self._rate
