"""``rfdn-stream train OUT FOLDER...``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rfdn_stream.training.loop import Progress

NETWORK, DATA, RECIPE, RUNNING = "Network", "Data", "Recipe", "Running"
PLAIN_INTERVAL = 30.0  # seconds between plain lines
RECENT = 30.0  # seconds that the speed is taken over


class TrainReporter:
    """A run's progress for people: a bar on a terminal, plain lines anywhere else. All of it on stderr."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console

        from rfdn_stream.cli.progress import ConsoleReporter

        self._notes = ConsoleReporter(quiet=quiet)
        self._console = Console(stderr=True)
        self._bar: Any = None
        self._draws = self._console.is_terminal and not quiet
        self._marks: list[tuple[float, int]] = []
        self._told = 0.0

    def note(self, text: str) -> None:
        self._notes.note(text)

    def begin(self, step: int, steps: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._told = time.monotonic()
        self._marks = [(self._told, step)]
        if self._draws:
            columns = BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.fields[line]}")
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.add_task("", total=steps, completed=step, line="the first step is on its way")
            self._bar.start()

    def step(self, progress: Progress) -> None:
        now = time.monotonic()
        self._marks.append((now, progress.step))
        while len(self._marks) > 2 and now - self._marks[0][0] > RECENT:
            self._marks.pop(0)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=progress.step, line=self._line(progress))
        elif now - self._told >= PLAIN_INTERVAL:
            self._told = now
            self.note(f"step {progress.step:,} of {progress.steps:,}: {self._line(progress)}")

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _line(self, progress: Progress) -> str:
        (start, first), (end, last) = self._marks[0], self._marks[-1]
        speed = (last - first) / max(end - start, 1e-9)  # steps a second
        seconds = round((progress.steps - progress.step) / speed) if speed else 0
        left = f"{seconds // 3600}:{seconds % 3600 // 60:02}:{seconds % 60:02}".removeprefix("0:")
        parts = [f"loss {progress.loss:.4f}", f"lr {progress.lr:.1e}", f"{speed * progress.pixels:,.0f} px/s"]
        if progress.psnr is not None and progress.bicubic is not None:
            parts.append(f"{progress.psnr:.2f} dB (bicubic {progress.bicubic:.2f})")
        return ", ".join([*parts, f"{left} to go"])


def train_command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder, or that of a run to go on with.")],
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FOLDER...", help="Images and videos to learn from; not needed to go on."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What to train: E-RFDN, RFDN, RFDN-L, IMDN, ... [dim]Default: E-RFDN, or the network of --from.[/]",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(
            help="Times as large each way: 2, 3 or 4. [dim]Default: 2, or that of --from.[/]", rich_help_panel=NETWORK
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="NAME|FILE",
            help="Begin with these weights, of this or another scale. [dim]Default: see --init.[/]",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="random|bicubic",
            help="Without --from: random weights as they come, or such as begin as bicubic enlargement, which pays in "
            "short runs. [dim]Default: random; with --minutes bicubic.[/]",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Of the weights, to be written into their file.", rich_help_panel=NETWORK),
    ] = None,
    degrade: Annotated[
        str | None,
        typer.Option(
            metavar="clean|video",
            help="How small pictures are made: by bicubic alone, or also through real video encoders. "
            "[dim]Default: clean.[/]",
            rich_help_panel=DATA,
        ),
    ] = None,
    clean_share: Annotated[
        float | None,
        typer.Option(
            metavar="0..1", help="Part of each video batch that is clean. [dim]Default: 0.2.[/]", rich_help_panel=DATA
        ),
    ] = None,
    sampling: Annotated[
        str | None,
        typer.Option(
            metavar="even|detail",
            help="How often each part of a picture is drawn: as often as any other, or as it has detail, which pays "
            "in short runs. [dim]Default: even.[/]",
            rich_help_panel=DATA,
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Patches a step. [dim]Default: 64; with --minutes 4 or 16.[/]", rich_help_panel=DATA),
    ] = None,
    patch: Annotated[
        int | None,
        typer.Option(
            metavar="PX",
            help="Side of a patch, in pixels of the small picture. [dim]Default: 64; with --minutes 24 or 40.[/]",
            rich_help_panel=DATA,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where prepared data is kept. [dim]Default: the user's cache.[/]",
            rich_help_panel=DATA,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Updates of the weights. [dim]Default: 1,000,000.[/]", rich_help_panel=RECIPE),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Instead of --steps: as many as fit into this time, measured at the start. Other defaults, too: for a "
            "CPU, up to 15 minutes and above.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            "--lr",
            help="Highest learning rate. [dim]Default: 5e-4; with --minutes 3e-3 or 5e-4, with --from also 1e-4; "
            "with --loss l2 1e-5.[/]",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            metavar="halve|cosine",
            help="The rate is halved every so often, or falls to 0 at the last step. "
            "[dim]Default: halve; with --minutes cosine.[/]",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    halve_every: Annotated[
        int | None,
        typer.Option(metavar="STEPS", help="For --schedule halve. [dim]Default: 200,000.[/]", rich_help_panel=RECIPE),
    ] = None,
    warmup: Annotated[
        int | None,
        typer.Option(
            metavar="STEPS",
            help="The rate first rises over these. [dim]Default: 0; with --minutes 20.[/]",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    clip: Annotated[
        float | None,
        typer.Option(
            metavar="NORM",
            help="Shorten gradients that are longer, for instance 0.5. [dim]Default: none; with --minutes 0.5.[/]",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    ema: Annotated[
        float | None,
        typer.Option(
            metavar="DECAY",
            help="Of the averaged weights, which are saved. [dim]Default: 0.999.[/]",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            metavar="l1|l2", help="l2 is for a last stage of fine-tuning. [dim]Default: l1.[/]", rich_help_panel=RECIPE
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Of the first weights and the patches. [dim]Default: 0.[/]", rich_help_panel=RECIPE),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda:N", help="Where it is trained.", rich_help_panel=RUNNING)
    ] = "auto",
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="auto|fp32|bf16|fp16", help="What is computed in. [dim]Default: auto.[/]", rich_help_panel=RUNNING
        ),
    ] = None,
    evaluate_every: Annotated[
        int | None,
        typer.Option(
            metavar="STEPS",
            help="Measure on the held-out pictures. [dim]Default: 200; with --minutes 100.[/]",
            rich_help_panel=RUNNING,
        ),
    ] = None,
    save_every: Annotated[
        float, typer.Option(metavar="MINUTES", help="Save a state to go on from.", rich_help_panel=RUNNING)
    ] = 2.0,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Prepare all, time a few steps, write nothing into OUT.", rich_help_panel=RUNNING
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only warnings and errors.", rich_help_panel=RUNNING)
    ] = False,
) -> None:
    """Train a network on your own pictures and videos.

    OUT gets [bold]weights.safetensors[/], which the other commands take as --model.

    A run that was stopped or killed goes on where it was: [bold]rfdn-stream train OUT[/].

    [dim]Examples:[/]

      rfdn-stream train first photos --minutes 2

      rfdn-stream train anime-x3 stills --from erfdn-x2-clean --scale 3 --minutes 600

      rfdn-stream train paper DIV2K --model RFDN --batch 64 --patch 64
    """
    from rfdn_stream.training.job import train

    chosen = {
        "folders": tuple(str(folder) for folder in folders) if folders else None,
        "model": model,
        "scale": scale,
        "start": start,
        "init": init,
        "licence": licence,
        "degrade": degrade,
        "clean_share": clean_share,
        "sampling": sampling,
        "batch": batch,
        "patch": patch,
        "steps": steps,
        "minutes": minutes,
        "lr": lr,
        "schedule": schedule,
        "halve_every": halve_every,
        "warmup": warmup,
        "clip": clip,
        "ema": ema,
        "loss": loss,
        "seed": seed,
        "precision": precision,
        "evaluate_every": evaluate_every,
    }
    asked = {name: value for name, value in chosen.items() if value is not None}
    reporter = TrainReporter(quiet=quiet)
    result = train(out, asked, device=device, cache=cache, save_minutes=save_every, dry_run=dry_run, reporter=reporter)
    if result is not None:
        reporter.note(str(result))
