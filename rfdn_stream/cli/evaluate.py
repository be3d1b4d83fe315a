"""``rfdn-stream evaluate MODEL... DATA...``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rfdn_stream.cli.scores import Scores
    from rfdn_stream.config import EncodeOptions
    from rfdn_stream.evaluation.benchmark import BenchmarkScore
    from rfdn_stream.evaluation.enlargers import Enlarger
    from rfdn_stream.frame import Frame

PICTURES, VIDEOS, HOW = "Pictures", "Videos", "How"
WEIGHTS = frozenset({".safetensors", ".pth", ".pt", ".ckpt"})

NO_FOLDERS = str.maketrans({character: f"%{ord(character):02X}" for character in "%/\\:"})
"""Makes a path a name that no other path becomes."""

Advance = Callable[[int, int], None]
"""Takes (steps done, steps in all; 0 = unknown)."""


def evaluate_command(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL|DATA",
            help="Names of [bold]rfdn-stream models[/], weights files, bicubic or lanczos; "
            "then folders of pictures, or video files.",
            show_default=False,
        ),
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Keep the enlarged pictures in this new folder, as PNG.", rich_help_panel=PICTURES
        ),
    ] = None,
    crf: Annotated[
        str | None,
        typer.Option(
            metavar="Q,Q,...",
            help="Compress the small video at these qualities, one after the other; none = lossless. "
            "[dim]Default: none.[/]",
            rich_help_panel=VIDEOS,
        ),
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="FFmpeg's name of the encoder that compresses it. [dim]Default: libx264.[/]",
            rich_help_panel=VIDEOS,
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Take only the first N frames.", rich_help_panel=VIDEOS),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="VIDEO",
            help="Compare videos that you have already with this original; name only them then.",
            rich_help_panel=VIDEOS,
        ),
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(
            help="Times as large each way: 2, 3 or 4. [dim]Default: the models', or 2.[/]", rich_help_panel=HOW
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda:N", help="Where the network runs.", rich_help_panel=HOW)
    ] = "auto",
    precision: Annotated[
        str, typer.Option(metavar="auto|fp32|bf16|fp16", help="What the network computes in.", rich_help_panel=HOW)
    ] = "auto",
    json: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|-",
            help="Write the figures as JSON too, replacing FILE; - = to stdout, alone.",
            rich_help_panel=HOW,
        ),
    ] = None,
) -> None:
    """Measure how near enlarged pictures and videos come to their originals.

    Pictures: a folder of originals, which are made small first, or a folder
    with the folders HR and LR in it or in its folders x2, x3, x4.

    Videos: each is made small, compressed if you say so, enlarged again, and
    compared with what it was; Lanczos beside it shows what the network gains.

    [dim]Examples:[/]

      rfdn-stream evaluate bicubic erfdn-x2-clean Set5 Set14

      rfdn-stream evaluate erfdn-x2-clean erfdn-x2-video film.mp4 --crf none,23,28 --frames 50

      rfdn-stream evaluate film-2x.mkv --reference original.mkv
    """
    from rfdn_stream.cli.scores import Scores
    from rfdn_stream.errors import UsageError

    scores = Scores(json)
    if reference is not None:
        if (crf, codec, images, scale) != (None, None, None, None):
            raise UsageError("--reference compares videos as they are; leave --crf, --codec, --images and --scale out")
        _compare(what, reference, frames, scores)
    else:
        models, pictures, videos = _told_apart(what)
        if not videos and (crf, codec, frames) != (None, None, None):
            raise UsageError("--crf, --codec and --frames are for videos, and none is named")
        if not pictures and images is not None:
            raise UsageError("--images keeps enlarged pictures, and no folder of pictures is named")
        encodes = _encodes(crf, codec)
        _check_images(images)
        models.sort(key=lambda name: name != "lanczos")  # gains are told over what comes first
        beside = ["lanczos"] if videos and models[0] != "lanczos" else []
        from rfdn_stream.evaluation.enlargers import open_enlargers

        with open_enlargers([*beside, *models], scale=scale, device=device, precision=precision) as enlargers:
            _evaluate_pictures(enlargers[len(beside) :], pictures, images, scores)
            _evaluate_videos(enlargers, videos, encodes, frames, scores)
    scores.write_json()


def _told_apart(what: list[str]) -> tuple[list[str], list[Path], list[Path]]:
    """The models, the pictures and the videos among what the user names."""
    from rfdn_stream.errors import UsageError
    from rfdn_stream.evaluation.enlargers import BASELINES
    from rfdn_stream.media.image import EXTENSIONS
    from rfdn_stream.nets.catalogue import models as catalogue

    names = [*(model.name for model in catalogue()), *BASELINES]
    models: list[str] = []
    pictures: list[Path] = []
    videos: list[Path] = []
    for name in dict.fromkeys(what):
        path = Path(name)
        if name in names or path.suffix.lower() in WEIGHTS:
            models.append(name)
        elif not path.exists():
            raise UsageError(
                f"{name} does not exist, and no model has that name; models are {', '.join(names)}, or weights files"
            )
        elif path.is_dir() or path.suffix.lower() in EXTENSIONS:
            pictures.append(path if path.name.strip(".") else path.resolve())  # . and .. have no name
        else:
            videos.append(path)
    if not models:
        raise UsageError(f"no model is named; before the data, name {', '.join(names)}, or a weights file")
    if not pictures and not videos:
        raise UsageError("no data are named; after the models, name folders of pictures, or video files")
    return models, pictures, videos


def _encodes(crf: str | None, codec: str | None) -> list[EncodeOptions]:
    """How the small video is encoded, one after the other."""
    from rfdn_stream.config import EncodeOptions
    from rfdn_stream.errors import UsageError
    from rfdn_stream.evaluation.small import LOSSLESS

    if crf is None:
        return [LOSSLESS if codec is None else EncodeOptions(codec)]
    try:
        values = [None if part.strip() == "none" else float(part) for part in crf.split(",")]
    except ValueError:
        raise UsageError(f"--crf {crf} is not understood; write one quality or several, as none,23,28") from None
    return [LOSSLESS if value is None else EncodeOptions(codec or "libx264", value) for value in values]


def _check_images(images: Path | None) -> None:
    from rfdn_stream.errors import UsageError

    if images is not None and images.exists() and (not images.is_dir() or any(images.iterdir())):
        raise UsageError(f"{images} is there already and is no empty folder; name a new one for --images")


def _evaluate_pictures(
    enlargers: Sequence[Enlarger], datasets: list[Path], images: Path | None, scores: Scores
) -> None:
    from rfdn_stream.evaluation.benchmark import find_pairs
    from rfdn_stream.evaluation.names import distinct

    # All are looked through before work starts.
    totals = [len(find_pairs(dataset, enlargers[0].scale)) * len(enlargers) for dataset in datasets]
    names = distinct([dataset.stem for dataset in datasets], datasets)
    for dataset, total, name in zip(datasets, totals, names, strict=True):
        folder = None if images is None else images / name.translate(NO_FOLDERS)
        with _progress(dataset.name) as advance:
            step = partial(_step, advance, count(1), total)
            results = [_evaluate_dataset(enlarger, dataset, folder, step) for enlarger in enlargers]
        scores.add_pictures(enlargers, results)


def _step(advance: Advance, steps: Iterator[int], total: int) -> None:
    advance(next(steps), total)


def _evaluate_dataset(
    enlarger: Enlarger, dataset: Path, folder: Path | None, advance: Callable[[], None]
) -> BenchmarkScore:
    from rfdn_stream.evaluation.benchmark import Pair, evaluate_pictures

    def on_picture(pair: Pair, result: Frame) -> None:
        if folder is not None:
            _keep(folder / enlarger.name.translate(NO_FOLDERS) / f"{pair.name}.png", result)
        advance()

    return evaluate_pictures(enlarger, dataset, on_picture)


def _keep(path: Path, picture: Frame) -> None:
    from rfdn_stream.errors import UsageError
    from rfdn_stream.media.image import write_image
    from rfdn_stream.media.target import whole_or_nothing

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {path.parent}: {error.strerror}; choose another one") from None
    with whole_or_nothing(path) as unfinished:
        write_image(unfinished, picture, extension=path.suffix)


def _evaluate_videos(
    enlargers: Sequence[Enlarger],
    videos: list[Path],
    encodes: list[EncodeOptions],
    frames: int | None,
    scores: Scores,
) -> None:
    from rfdn_stream.evaluation.video import evaluate_video

    for video in videos:
        with _progress(video.name) as advance:
            results = evaluate_video(video, enlargers, encodes, frames=frames, on_progress=advance)
        scores.add_video(video, enlargers, results)


def _compare(results: list[str], reference: Path, frames: int | None, scores: Scores) -> None:
    from rfdn_stream.errors import UsageError
    from rfdn_stream.evaluation.video import compare_videos
    from rfdn_stream.media.image import EXTENSIONS

    for path in map(Path, results):
        if path.suffix.lower() in EXTENSIONS:
            raise UsageError(f"--reference compares videos, got the picture {path}")
    found = []
    for result in map(Path, dict.fromkeys(results)):
        with _progress(result.name) as advance:
            found.append((result, compare_videos(result, reference, frames=frames, on_progress=advance)))
    scores.add_comparison(reference, found)


@contextmanager
def _progress(what: str) -> Iterator[Advance]:
    """A bar on a terminal, on stderr; gives what moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)
