"""Many files into one folder: what becomes which file, and one after the other, whatever becomes of each."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfdn_stream.errors import RfdnError, UsageError
from rfdn_stream.jobs.choice import choose_executor
from rfdn_stream.jobs.file import Result, upscale
from rfdn_stream.jobs.opened import settled
from rfdn_stream.jobs.report import LogReporter, Reporter, log
from rfdn_stream.jobs.size import wanted_size
from rfdn_stream.media.image import EXTENSIONS
from rfdn_stream.media.output import muxer_of
from rfdn_stream.media.probe import STDIN, VIDEOS, is_address
from rfdn_stream.nets.catalogue import describe

FOR_VIDEOS = frozenset({"codec", "crf", "preset", "pix_fmt", "decode", "deinterlace", "start", "duration"}
                       | {"crop", "streams", "fps", "raw", "matrix"})  # fmt: skip
"""Options of `upscale` that images refuse."""


@dataclass(frozen=True)
class Item:
    """A file of a batch, and the file that is to be made of it."""

    source: Path
    target: Path

    @property
    def is_image(self) -> bool:
        return self.source.suffix.lower() in EXTENSIONS


@dataclass(frozen=True)
class Outcome:
    """What became of a file: its result, or why there is none. Skipped ones have neither: their target was there."""

    item: Item
    result: Result | None = None
    failure: str | None = None


def means_folder(target: str) -> bool:
    """Whether an output is meant as a folder: one that exists, or a name that ends as folders' do."""
    return os.path.isdir(target) or target.endswith(("/", os.sep))


def upscale_all(
    inputs: Sequence[str | Path],
    folder: str | Path,
    *,
    suffix: str = "",
    extension: str | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
    **options: Any,
) -> list[Outcome]:
    """Enlarges many files into a folder; one that fails never stops the rest.

    Args:
        inputs, folder, suffix, extension: as for `plan_batch`. The folder, and those below it, are made where missing.
        overwrite: replace results that are there already; else their files are skipped, and that is told.
        reporter: hears of the progress, and of each file before it begins.
        options: as for `upscale`. In a batch with videos in it, images take only those that are for them, too.

    Returns:
        One outcome a file, in the batch's order.

    Raises:
        UsageError: as `plan_batch`, or the folder cannot be made, or an option is wrong for whatever file; nothing was
            done.
        ModelError: the model's file is missing or damaged.
    """
    reporter = reporter or LogReporter()
    items = plan_batch(inputs, folder, suffix=suffix, extension=extension)
    _refuse_at_once(**options)
    options |= {"device": settled(options.get("device", "auto"))[0]}  # once, as is what it says
    only_images = all(item.is_image for item in items)
    of_images = {name: value for name, value in options.items() if only_images or name not in FOR_VIDEOS}
    outcomes = []
    with _folder(Path(folder), keep=not options.get("dry_run")):
        for number, item in enumerate(items, 1):
            if item.target.exists() and not overwrite:
                reporter.note(f"{item.target} is there already: skipped (--overwrite replaces it)")
                outcomes.append(Outcome(item))
                continue
            reporter.note(f"{number} of {len(items)}: {item.source}")
            outcome = _carry_out(item, reporter, overwrite=overwrite, **(of_images if item.is_image else options))
            if outcome.failure is not None and len(items) > 1:
                log.warning("%s failed: %s", item.source, outcome.failure)
            outcomes.append(outcome)
    return outcomes


def _refuse_at_once(
    *,
    scale: float | None = None,
    width: int | None = None,
    height: int | None = None,
    fit: tuple[int, int] | None = None,
    model: str | Path | None = None,
    device: str = "auto",
    workers: int = 1,
    cluster: str | None = None,
    **others: Any,
) -> None:
    """Refuses what every file would."""
    wanted_size(scale, width, height, fit)
    choose_executor(device, workers, cluster)
    if model is not None:
        describe(model)


def _carry_out(item: Item, reporter: Reporter, *, dry_run: bool = False, **options: Any) -> Outcome:
    try:
        with _folder(item.target.parent, keep=not dry_run):
            result = upscale(item.source, item.target, reporter=reporter, dry_run=dry_run, **options)
    except RfdnError as failure:
        text = str(failure)
    except Exception as failure:  # noqa: BLE001 - told, counted, and the next file has its turn
        text = f"unexpected {type(failure).__name__}: {failure}; run this file alone with --debug and report it"
    else:
        if not dry_run:
            reporter.note(str(result))
        return Outcome(item, result)
    return Outcome(item, failure=text)


def plan_batch(
    inputs: Sequence[str | Path], folder: str | Path, *, suffix: str = "", extension: str | None = None
) -> list[Item]:
    """Which files a batch takes, and what each becomes.

    Args:
        inputs: files, taken whatever their names; folders, of which all videos and images are taken, also of those
            below, but no hidden ones; patterns such as ``clips/*.mp4`` or ``clips/**/*.mp4``.
        folder: where results go: files by their names, a folder's files below it as in that folder. Of several
            inputs, a folder is made again below `folder` under its own name.
        suffix: put between name and extension.
        extension: of the results, instead of their source's: of images if it is an image's, else of videos.

    Returns:
        Items without a file twice, and without the results of others of them, as when `folder` is one of the inputs.

    Raises:
        UsageError: nothing to do, two files that would become the same one, a file that would become itself, an
            unknown extension.
    """
    folder = Path(folder)
    ending = f".{extension.removeprefix('.')}" if extension else None
    if ending and ending.lower() not in EXTENSIONS:
        muxer_of(f"name{ending}")
    if os.sep in suffix or "/" in suffix:
        raise UsageError(f"suffix {suffix!r} has a slash in it; it is a part of the results' names, such as -2x")

    def item(source: Path, place: Path) -> Item:
        own_kind = ending and (ending.lower() in EXTENSIONS) == (source.suffix.lower() in EXTENSIONS)
        name = f"{source.stem}{suffix}{ending if own_kind else source.suffix}"
        return Item(source, folder / place.with_name(name))

    items: dict[str, Item] = {}
    for text in map(str, inputs):
        found = [item(*each) for each in _files(text, folder, alone=len(inputs) == 1)]
        if not found:
            log.warning("%s holds no video or image", text)
        for each in found:
            items.setdefault(os.path.abspath(each.source), each)
    makers = _makers(list(items.values()))
    batch = [each for source, each in items.items() if makers.get(source, each) is each]
    if not batch:
        raise UsageError(f"no video or image in {', '.join(map(str, inputs))}; name files, or folders that hold some")
    return batch


def _files(text: str, folder: Path, *, alone: bool) -> Iterator[tuple[Path, Path]]:
    """The files of one input, and each one's place below the batch's folder."""
    if text == STDIN:
        raise UsageError("standard input has no name that could be kept in a folder; name the output's file")
    if is_address(text):
        raise UsageError(f"{text} is an address, whose name could not be kept in a folder; name the output's file")
    path = Path(text)
    matches = sorted(glob.glob(text, recursive=True)) if glob.has_magic(text) and not path.exists() else []
    if matches:
        for match in matches:
            if os.path.isdir(match) or _is_known(Path(match)):
                yield from _files(match, folder, alone=False)
    elif path.is_dir():
        place = Path() if alone else Path(path.resolve().name)
        yield from ((file, place / file.relative_to(path)) for file in _walk(path, folder))
    else:
        yield path, Path(path.name)


def _walk(path: Path, folder: Path) -> Iterator[Path]:
    """Videos and images in `path` and below, but not what is hidden, nor what is in `folder`, if that lies below."""
    own = Path(os.path.abspath(folder))
    inner = own if own != Path(os.path.abspath(path)) else None
    for file in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if not hidden and _is_known(file) and file.is_file() and inner not in Path(os.path.abspath(file)).parents:
            yield file


def _is_known(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS | EXTENSIONS


def _makers(items: list[Item]) -> dict[str, Item]:
    """Which item makes which file.

    Raises:
        UsageError: two make the same, or one would make itself.
    """
    makers: dict[str, Item] = {}
    for item in items:
        target = os.path.abspath(item.target)
        if target == os.path.abspath(item.source):
            raise UsageError(f"{item.source} would become itself; choose another folder, or a suffix such as -2x")
        other = makers.setdefault(target, item)
        if other is not item:
            raise UsageError(
                f"{other.source} and {item.source} would both become {item.target}; do them in two batches"
            )
    return makers


@contextmanager
def _folder(folder: Path, *, keep: bool) -> Iterator[None]:
    """Makes a folder, and those above it, where they are missing; they are gone after the block, unless they are kept.

    Raises:
        UsageError: it cannot be made.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise UsageError(f"cannot make the folder {folder}: {failure.strerror}; choose another one") from None
    try:
        yield
    finally:
        for each in missing if not keep else ():
            each.rmdir()
