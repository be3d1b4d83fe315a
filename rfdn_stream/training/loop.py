"""The loop of a run: updates, measurements, the log, states to go on from, and the end by whatever cause."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from rfdn_stream.errors import ModelError, RfdnError, UsageError
from rfdn_stream.training.held_out import HeldOut
from rfdn_stream.training.interrupts import Interrupts
from rfdn_stream.training.log import Log
from rfdn_stream.training.plot import plot_log
from rfdn_stream.training.results import Facts, save_card, save_weights
from rfdn_stream.training.schedule import learning_rate
from rfdn_stream.training.state import save_state
from rfdn_stream.training.trainer import Trainer, TrainingError

logger = logging.getLogger("rfdn_stream")

LOG, PLOT = "log.csv", "log.png"
AGAIN = "make room, and run the same command again"
PLOT_SECONDS = 60.0  # between plots, which take half a second each
LOG_EVERY = 20  # steps; on a GPU the loss is looked at no more often, since looking means waiting for it

Batch = tuple[Tensor, Tensor]


class InterruptedTraining(RfdnError):  # noqa: N818 - nothing went wrong
    """The user stopped the run; it can go on from where it is."""

    exit_code = 130


@dataclass(frozen=True)
class Progress:
    """Where a run is: `step` updates done, `loss` the mean of the last few, `psnr` the latest one measured."""

    step: int
    steps: int
    loss: float
    lr: float
    pixels: int
    psnr: float | None
    bicubic: float | None


class Reporter(Protocol):
    """Hears of a run's progress, on the thread that trains."""

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def begin(self, step: int, steps: int) -> None:
        """Training starts after `step` updates of `steps`."""

    def step(self, progress: Progress) -> None:
        """One more update is done."""

    def end(self) -> None:
        """The last update is done, or the run stopped."""


class LogReporter:
    """Notes go to the ``rfdn_stream`` logger, progress nowhere."""

    def note(self, text: str) -> None:
        logger.info(text)

    def begin(self, step: int, steps: int) -> None: ...

    def step(self, progress: Progress) -> None: ...

    def end(self) -> None: ...


class BatchStream(Protocol):
    """Batches from a step on, made ahead of their use."""

    def stream(self, start: int) -> Iterator[Batch]:
        """(lr, hr) of the steps `start`, `start` + 1, ...; closable."""


@contextmanager
def stream_from(batches: BatchStream, start: int) -> Iterator[Iterator[Batch]]:
    """The stream from a step on, closed at the end."""
    stream = batches.stream(start)
    try:
        yield stream
    finally:
        stream.close()  # type: ignore[attr-defined]  # a generator


class Loop:
    """Trains until the last step, in a folder.

    ``weights.safetensors`` is the average of the weights at the step whose held-out PSNR was the best so far, those
    that the run begins with included; without held-out pictures, the latest.

    Args:
        folder: of the run; it exists.
        trainer: holds the config.
        batches: to train on.
        held_out: to measure on.
        facts: for the files that describe the weights.
        reporter: hears of it.
        save_seconds: between states.
        also: what else a state is to hold, for whoever loads it.
        state: what to go on from, as `load_state` gave it; None = the first step.
    """

    def __init__(
        self,
        folder: Path,
        trainer: Trainer,
        batches: BatchStream,
        held_out: HeldOut,
        facts: Facts,
        reporter: Reporter,
        save_seconds: float,
        also: Mapping[str, Any],
        state: dict[str, Any] | None = None,
    ) -> None:
        self.folder, self.trainer, self.config = folder, trainer, trainer.config
        self.batches, self.held_out, self.facts, self.reporter = batches, held_out, facts, reporter
        self.save_seconds, self.also = save_seconds, also
        self.seconds, self.psnr = 0.0, None
        self.best: dict[str, Any] = {"psnr_y": None, "step": None}
        if state is not None:
            trainer.restore(state["trainer"])
            self.seconds, self.psnr, self.best = state["seconds"], state["psnr_y"], state["best"]
        self.log = Log(folder / LOG, state["log_bytes"] if state else None)
        self._saved_step: int | None = trainer.step if state else None
        self._saved_at = self._plotted_at = self._mark = time.monotonic()
        self._loss = float("nan")
        self._failure: str | None = None
        self._can_plot = True

    def run(self) -> None:
        """Trains; at the end all files are written.

        Raises:
            InterruptedTraining: by Ctrl-C or SIGTERM, after the state was saved.
            TrainingError: the numbers are no longer finite, or the results cannot be written.
        """
        with Interrupts() as interrupts:
            try:
                if self.trainer.step == 0 and self.best["step"] is None:
                    self._begin()
                self.reporter.begin(self.trainer.step, self.config.steps)
                self._train(interrupts)
            except KeyboardInterrupt:
                interrupts.hold()
                self._checkpoint(stopping=True)
                raise InterruptedTraining(self._stopped()) from None
            finally:
                self.reporter.end()
        if self._failure:
            raise TrainingError(f"{self._failure}; {AGAIN}")

    def _begin(self) -> None:
        """Measures what the weights begin as; a run that is killed early goes on with the same steps.

        It saves before that, too: no folder has weights without a state to go on from.
        """
        self._save_first()
        self._evaluate()
        self.log.row(0, self.seconds, self.trainer.lr, None, self.psnr)
        self._save_first()

    def _save_first(self) -> None:
        """Saves the state of step 0; where there is no room for it, there is none to train."""
        self._checkpoint()
        if self._failure:
            raise TrainingError(f"{self._failure}; {AGAIN}")

    def _train(self, interrupts: Interrupts) -> None:
        self._mark = time.monotonic()
        with stream_from(self.batches, self.trainer.step) as stream:
            while self.trainer.step < self.config.steps:
                loss = self.trainer.gradients(*next(stream))
                with interrupts.held():
                    self.trainer.apply(loss)
                    self._after_update()

    def _after_update(self) -> None:
        """All that happens between two updates."""
        step, last = self.trainer.step, self.trainer.step == self.config.steps
        lr = learning_rate(self.config, step - 1)  # of the update that is done
        evaluated = last or step % self.config.evaluate_every == 0
        to_log = evaluated or step % LOG_EVERY == 0
        to_save = last or time.monotonic() - self._saved_at >= self.save_seconds
        if to_log or to_save or self.trainer.device.type == "cpu":
            self._look()
        if evaluated:
            self._evaluate()
        now = time.monotonic()
        self.seconds, self._mark = self.seconds + now - self._mark, now
        if to_log:
            self.log.row(step, self.seconds, lr, self._loss, self.psnr if evaluated else None)
            self.trainer.forget_loss()
        if to_save:
            self._checkpoint(stopping=last)
        bicubic, pixels = self.facts.bicubic, self.config.pixels
        self.reporter.step(Progress(step, self.config.steps, self._loss, lr, pixels, self.psnr, bicubic))

    def _look(self) -> None:
        """Takes the loss; stops where it is no longer a number, before anything that is good is replaced."""
        try:
            self._loss = self.trainer.loss()
        except TrainingError as failure:
            raise TrainingError(
                f"{failure}, at a learning rate of {self.trainer.lr:.2g}; {self.folder} keeps the state of step "
                f"{self._saved_step}; start in another folder with --lr {self.config.lr / 2:.2g}, --clip 0.5 or "
                "--precision fp32"
            ) from None

    def _evaluate(self) -> None:
        """Measures the averaged weights, and keeps them where they are the best so far."""
        self.psnr = self.held_out.psnr(self.trainer.ema)
        best = self.best["psnr_y"]
        if self.psnr is None or best is None or self.psnr > best:
            try:
                save_weights(self.folder, self.trainer, self.config, self.facts, self.psnr)
            except ModelError as failure:
                if self.trainer.step == self.config.steps:  # nothing follows that could be the best and be saved
                    raise TrainingError(f"{failure}; {AGAIN}") from None
                self._warn(str(failure))
                return
            self.best = {"psnr_y": self.psnr, "step": self.trainer.step}

    def _checkpoint(self, *, stopping: bool = False) -> None:
        """Saves the state, the card and the plot; where there is no room, warns and leaves the old ones."""
        self._saved_at = time.monotonic()
        state = {
            "config": self.config.to_json(),
            "facts": asdict(self.facts),
            "trainer": self.trainer.state(),
            "seconds": self.seconds,
            "psnr_y": self.psnr,
            "best": self.best,
            "log_bytes": self.log.position,
            **self.also,
        }
        try:
            save_state(self.folder, state)
            self._saved_step = self.trainer.step
            save_card(self.folder, self.trainer, self.config, self.facts, self.best, self.seconds)
            if stopping or time.monotonic() - self._plotted_at >= PLOT_SECONDS:
                self._plot()
        except OSError as failure:
            self._warn(f"the state of step {self.trainer.step} cannot be written to {self.folder}: {failure.strerror}")
        else:
            self._failure = None

    def _plot(self) -> None:
        self._plotted_at = time.monotonic()
        if self._can_plot and self.trainer.step:
            try:
                plot_log(self.folder / LOG, self.folder / PLOT, self.facts.bicubic)
            except UsageError as failure:
                self.reporter.note(str(failure))
                self._can_plot = False

    def _warn(self, text: str) -> None:
        if self._failure is None and self.trainer.step:
            kept = f"; the one of step {self._saved_step} is kept" if self._saved_step is not None else ""
            logger.warning("%s%s, and training goes on", text, kept)
        self._failure = text

    def _stopped(self) -> str:
        if self._failure:
            return f"interrupted at step {self.trainer.step}; {self._failure}"
        return f"interrupted at step {self.trainer.step}; `rfdn-stream train {self.folder}` goes on from there"
