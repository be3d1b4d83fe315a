"""A whole run, from its options to its results: begun in a new folder, or gone on with in an old one."""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch

from rfdn_stream.engines.torch_engine import out_of_memory
from rfdn_stream.errors import UsageError
from rfdn_stream.lock import locked
from rfdn_stream.nets.base import Network, named
from rfdn_stream.training.config import TrainConfig, begin, check_unchanged
from rfdn_stream.training.crops import Sampling
from rfdn_stream.training.data import Batches, DataOptions, open_batches
from rfdn_stream.training.held_out import HeldOut
from rfdn_stream.training.loop import LOG, BatchStream, LogReporter, Loop, Reporter, stream_from
from rfdn_stream.training.network import choose_network, network_name, new_network, take_weights
from rfdn_stream.training.recorded import RecordedTrainer
from rfdn_stream.training.resident import Resident, fits
from rfdn_stream.training.results import WEIGHTS, Facts, recipe
from rfdn_stream.training.state import holds_state, load_state
from rfdn_stream.training.trainer import Trainer, TrainingError, choose_device, train_precision

log = logging.getLogger("rfdn_stream")

LOCK = ".lock"
BEGINNINGS = {"random": "random weights", "bicubic": "random weights that begin as bicubic enlargement"}
TRIAL_SECONDS = 6.0
TRIAL_STEPS = 20
WORTH_COMPILING = 5000  # steps on a card


@dataclass(frozen=True)
class TrainResult:
    """What a run came to: its weights, the step that they are of, and PSNR-Y in dB on the held-out pictures."""

    weights: Path
    step: int
    psnr: float | None
    bicubic: float | None
    pictures: int

    @classmethod
    def of(cls, out: Path, best: Mapping[str, Any], facts: Facts) -> TrainResult:
        """The result in a folder, from the loop's best and the run's facts."""
        return cls(out / WEIGHTS, best["step"], best["psnr_y"], facts.bicubic, facts.pictures)

    def __str__(self) -> str:
        if self.psnr is None or self.bicubic is None:
            return f"{self.weights}: of step {self.step:,}; nothing was held out to measure it on"
        return (
            f"{self.weights}: PSNR-Y {self.psnr:.2f} dB on {self.pictures} held-out pictures at step {self.step:,}, "
            f"bicubic {self.bicubic:.2f} dB"
        )


def train(
    out: Path,
    asked: Mapping[str, Any],
    *,
    device: str = "auto",
    cache: Path | None = None,
    save_minutes: float = 2.0,
    dry_run: bool = False,
    reporter: Reporter | None = None,
) -> TrainResult | None:
    """Trains a network; the results lie in the folder `out`.

    Args:
        out: a new folder, or one that holds a run that was stopped: it goes on.
        asked: fields of TrainConfig that were chosen, and ``model`` and ``scale`` instead of ``network``. What
            is not chosen takes its default in a new run, and what the run was begun with in an old one.
        device: auto, cpu, cuda or cuda:N.
        cache: where prepared data is kept; None = the user's cache folder.
        save_minutes: between states to go on from.
        dry_run: says all about the run, times a few steps, and writes nothing into `out`.
        reporter: hears of progress.

    Returns:
        The result; None for a dry run.

    Raises:
        UsageError, MediaError, ModelError: the run cannot be done as it was put.
        InterruptedTraining, TrainingError: see `Loop.run`.
    """
    reporter = reporter or LogReporter()
    if not save_minutes > 0:
        raise UsageError(f"save-every {save_minutes:g} is not allowed; take minutes above 0")
    place = choose_device(device)
    _check_folder(out, asked)
    with nullcontext() if dry_run else _own(out), _room_on(place, out):
        return _train(out, asked, place, cache, save_minutes, dry_run, reporter)


def _train(
    out: Path,
    asked: Mapping[str, Any],
    place: torch.device,
    cache: Path | None,
    save_minutes: float,
    dry_run: bool,
    reporter: Reporter,
) -> TrainResult | None:
    """As `train`, in a folder that no other process trains in."""
    state = load_state(out, reporter.note)
    config = _settle(state, asked, out)
    if state and state["trainer"]["step"] == config.steps:
        reporter.note("this run is done; to train its weights further, begin another one --from them")
        return TrainResult.of(out, state["best"], Facts(**state["facts"]))
    net = new_network(config.network, config.seed, config.init)
    if state:
        beginning = str(state["facts"]["beginning"])
    else:
        beginning = take_weights(net, config.start) if config.start else BEGINNINGS[config.init]
    reporter.note(_plan(config, net, beginning, place, out, state))
    places = _places(config, cache, state)
    batches = _open_data(config, places, reporter)
    reporter.note(f"data: {batches.description}")
    held_out = HeldOut(batches.held_out, config.network.scale)
    facts = Facts(batches.description, beginning, held_out.bicubic, len(held_out.pairs))
    if state and state["facts"] != asdict(facts):
        log.warning("the data is not what the run was begun with (%s); going on with it", state["facts"]["data"])
        if not facts.measured_alike(state["facts"]):  # figures on other pictures are no measure for what follows
            state["best"] = {**state["best"], "psnr_y": None}
    if dry_run or (config.minutes and not state):
        started = time.monotonic()
        step, evaluation = _time(config, net, batches, held_out, place)
        if not state:
            config = _fill_minutes(config, step, evaluation, time.monotonic() - started)
        done = state["trainer"]["step"] if state else 0
        reporter.note(_estimate(config, config.steps - done, step, evaluation))
    if dry_run:
        return None
    trainer = _trainer(config, net, place)
    stream = _on_device(batches, config, place, reporter)
    loop = Loop(out, trainer, stream, held_out, facts, reporter, 60 * save_minutes, {"places": places}, state)
    loop.run()
    return TrainResult.of(out, loop.best, facts)


def _check_folder(out: Path, asked: Mapping[str, Any]) -> None:
    """UsageError where `out` neither holds a run nor can hold a new one."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; name a new folder for the results")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"the folder {out.absolute().parent} does not exist; create it first")
    if holds_state(out):
        return
    if out.is_dir() and any(p.name != LOG and p.name[0] != "." for p in out.iterdir()):
        raise UsageError(f"{out} holds files, but no run to go on with; name a new folder for the results")
    if not asked.get("folders"):
        raise UsageError(
            f"{out} holds no run to go on with; for a new one name folders of images or videos to train on, after OUT"
        )


@contextmanager
def _own(out: Path) -> Iterator[None]:
    """The folder of a run, which no other process trains in meanwhile; a new one does not stay if it stays empty."""
    new = not out.exists()
    try:
        out.mkdir(exist_ok=True)
        (out / LOCK).touch()
    except OSError as failure:
        raise UsageError(f"cannot write into {out}: {failure.strerror}; name another folder for the results") from None
    with locked(out, "run", LOCK):
        try:
            yield
        finally:
            with suppress(OSError):  # something came into it, or Windows keeps what is open
                (out / LOCK).unlink()
                if new:
                    out.rmdir()


@contextmanager
def _room_on(place: torch.device, out: Path) -> Iterator[None]:
    """Turns a device's memory that does not suffice into an error that the user can act on."""
    try:
        yield
    except RuntimeError as failure:
        if not out_of_memory(failure):
            raise
        where = " in another folder" if holds_state(out) else ""
        raise TrainingError(
            f"{place} is out of memory; end other programs that use it, or choose a smaller --batch or --patch{where}"
        ) from failure


def _settle(state: dict[str, Any] | None, asked: Mapping[str, Any], out: Path) -> TrainConfig:
    """The config of the run in `state`, which `asked` must not contradict, or else of a new one."""
    fields = {name: value for name, value in asked.items() if name not in ("model", "scale")}
    model, scale = asked.get("model"), asked.get("scale")
    if state is None:
        return begin(fields, choose_network(model, scale, asked.get("start")))
    config = TrainConfig.from_json(state["config"])
    if (model, scale) != (None, None):
        scale = config.network.scale if scale is None else scale
        fields["network"] = named(model, scale)[1] if model else replace(config.network, scale=scale)
    check_unchanged(config, fields, out)
    return config


def _places(config: TrainConfig, cache: Path | None, state: dict[str, Any] | None) -> dict[str, Any]:
    """Where the data lies, in absolute paths, so that a run goes on whatever the current folder is."""
    former = (state or {}).get("places") or {"folders": [os.path.abspath(f) for f in config.folders], "cache": None}
    return {**former, "cache": os.path.abspath(cache) if cache else former["cache"]}


def _open_data(config: TrainConfig, places: dict[str, Any], reporter: Reporter) -> Batches:
    options = DataOptions(
        folders=tuple(map(Path, places["folders"])),
        scale=config.network.scale,
        patch=config.patch,
        batch=config.batch,
        seed=config.seed,
        degrade=cast(Literal["clean", "video"], config.degrade),
        clean_share=config.clean_share,
        sampling=cast(Sampling, config.sampling),
        cache=Path(places["cache"]) if places["cache"] else None,
    )
    return open_batches(options, reporter.note)


def _trainer(config: TrainConfig, net: Network, place: torch.device) -> Trainer:
    """Recorded where that is possible; compiled, too, where so many steps follow that it pays."""
    if place.type != "cuda" or train_precision(config.precision, place)[0] == "fp16":
        return Trainer(config, net, place)
    return RecordedTrainer(config, net, place, compiled=config.steps >= WORTH_COMPILING)


def _on_device(batches: Batches, config: TrainConfig, place: torch.device, reporter: Reporter) -> BatchStream:
    """Batches cut on the card, where their pictures fit into its memory; clips are made before the first step then."""
    if place.type != "cuda":
        return batches
    if batches.clips is not None:
        batches.clips.prepare(batches.clips.count(config.steps), reporter.note)
    if not fits(batches, config.steps, place):
        reporter.note("the pictures do not fit into the card's memory; the processor cuts the batches")
        return batches
    return Resident(batches, config.steps, place)


def _time(
    config: TrainConfig, net: Network, batches: Batches, held_out: HeldOut, place: torch.device
) -> tuple[float, float]:
    """Seconds of a step, its batch included, and of an evaluation; measured on a copy of the network."""
    trainer = _trainer(config, net, place)
    times: list[float] = []
    with stream_from(batches, 0) as stream:
        end = time.monotonic() + TRIAL_SECONDS
        while len(times) < 3 or (time.monotonic() < end and len(times) < TRIAL_STEPS):
            mark = time.monotonic()
            trainer.apply(trainer.gradients(*next(stream)))
            trainer.loss()  # waits for the device
            times.append(time.monotonic() - mark)
    mark = time.monotonic()
    held_out.psnr(trainer.ema)
    return statistics.mean(times[1:]), time.monotonic() - mark


def _fill_minutes(config: TrainConfig, step: float, evaluation: float, spent: float) -> TrainConfig:
    """The config with as many steps as fit into its minutes; unchanged where it has none."""
    if config.minutes is None:
        return config
    seconds = 60 * config.minutes - spent
    return replace(config, steps=max(1, int(seconds / (step + evaluation / config.evaluate_every))))


def _plan(
    config: TrainConfig, net: Network, beginning: str, place: torch.device, out: Path, state: dict[str, Any] | None
) -> str:
    """The first line: what will be done."""
    count = sum(p.numel() for p in net.parameters())
    precision, why = train_precision(config.precision, place)
    where = f"on {place} in {precision} ({why}), into {out}"
    if state:
        done = f"step {state['trainer']['step']:,} of {config.steps:,}"
        return f"going on with {network_name(config.network)} after {done}, {where}"
    steps = f"as many steps as fit into {config.minutes:g} minutes," if config.minutes else None
    how = recipe(config, beginning, steps)
    return f"training {network_name(config.network)} ({count:,} parameters) {where}: {how}"


def _estimate(config: TrainConfig, steps: int, step: float, evaluation: float) -> str:
    minutes = steps * (step + evaluation / config.evaluate_every) / 60
    whole = f"{minutes:.1f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
    speed = f"{step:.3f} s ({config.pixels / step:,.0f} LR pixels a second)"
    return f"a step takes {speed}, an evaluation {evaluation:.1f} s, {steps:,} steps about {whole}"
