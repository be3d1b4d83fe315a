"""The files of a training folder, and the pictures in them: images, and frames of videos."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from rfdn_stream.errors import MediaError, RfdnError, UsageError
from rfdn_stream.evaluation.resize import Picture
from rfdn_stream.frame import RGB_FULL, Frame, Layout, pixel_format
from rfdn_stream.kernels import cpu
from rfdn_stream.media.image import EXTENSIONS, read_image
from rfdn_stream.media.probe import VIDEOS
from rfdn_stream.media.reader import open_source
from rfdn_stream.media.source import Source

IMAGES = EXTENSIONS | {".bmp"}
# A video gives at most this many frames, evenly spread; one that is much like the last one taken is left out.
FRAMES_A_VIDEO = 32
SAME_SCENE = 8.0  # mean difference of two thumbnails, in codes of 255


@dataclass(frozen=True)
class SourceFile:
    """A file of a training folder; `name` is its path inside that folder, with forward slashes."""

    path: Path
    name: str
    size: int
    mtime_ns: int

    @property
    def digest(self) -> int:
        """A number that depends on the name alone: it chooses the files that are set aside."""
        return int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:8])


def find(folders: Sequence[Path]) -> list[SourceFile]:
    """All images and videos in the folders and below, in the order of their names; hidden files are left out.

    A file that is found again, in a folder inside another one or by a link, counts once, under its first name: under
    two names it could be held out and trained on.

    Raises:
        UsageError: a folder is missing or is a file, or there is nothing in them to train on.
    """
    found: dict[Path, SourceFile] = {}
    others = 0
    for folder in folders:
        if not folder.is_dir():
            what = "is a file; name the folder that it lies in" if folder.exists() else "does not exist"
            raise UsageError(f"the training folder {folder} {what}")
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if any(part.startswith(".") for part in name.parts) or not path.is_file():
                continue
            if path.suffix.lower() in IMAGES | VIDEOS:
                state = path.stat()
                file = SourceFile(path, name.as_posix(), state.st_size, state.st_mtime_ns)
                found.setdefault(path.resolve(), file)
            else:
                others += 1
    if not found:
        names = " and ".join(map(str, folders)) or "no folder"
        holds = f"{others} files, but" if others else "nothing:"
        kinds = ", ".join(sorted(suffix[1:] for suffix in IMAGES))
        raise UsageError(f"{names} holds {holds} no image ({kinds}) or video to train on; name a folder with pictures")
    return list(found.values())


def set_aside(files: Sequence[SourceFile]) -> set[str]:
    """Names that are held out of training: about 1 in 16, at least one of two or more, never all.

    Files of one name in several folders go together.
    """
    ranked = sorted({file.name: file for file in files}.values(), key=lambda file: file.digest % 16)
    chosen = [file.name for file in ranked if file.digest % 16 == 0] or [file.name for file in ranked[:1]]
    return set(chosen[: len(ranked) - 1])


def pictures(file: SourceFile) -> Iterator[tuple[str, Picture]]:
    """The pictures in a file with their names, uint8 RGB [H, W, 3], upright; transparency is ignored.

    Raises:
        MediaError: the file cannot be read, or is nothing to learn from.
    """
    if file.path.suffix.lower() in VIDEOS:
        yield from _scenes(file)
    else:
        yield file.name, _image(file.path)


def _image(path: Path) -> Picture:
    if path.suffix.lower() != ".bmp":
        return rgb_of(read_image(path)[0])
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise MediaError(f"{path} is not a bitmap that can be read, or it is damaged")
    return np.ascontiguousarray(bgr[..., ::-1], dtype=np.uint8)


def _scenes(file: SourceFile) -> Iterator[tuple[str, Picture]]:
    """Frames of a video, evenly spread over its length, one of each scene."""
    with open_source(file.path) as source:
        if source.info.interlaced:
            raise MediaError(f"{file.path} is interlaced; deinterlace it first")
        duration = _length(source)
    last: Picture | None = None
    for index in range(FRAMES_A_VIDEO):
        start = duration * index / FRAMES_A_VIDEO
        try:
            with open_source(file.path, start) as source:
                picture = rgb_of(source.first)
        except UsageError:  # nothing begins so late
            if index:
                return
            raise
        thumbnail = cv2.resize(picture, (32, 18), interpolation=cv2.INTER_AREA).astype(np.uint8)
        if last is None or np.abs(thumbnail.astype(int) - last).mean() > SAME_SCENE:
            yield f"{file.name} at {start:.1f} s", picture
            last = thumbnail
        if not duration:
            return


def _length(source: Source) -> float:
    """Seconds from the file's beginning to the end of its pictures, as far as it says; 0.0 = unknown.

    Matroska says how long the longest stream is, which may be sound, and of each stream in a tag at best.
    """
    whole = source.info.duration or 0.0
    tags = (value for name, value in source.video.metadata.items() if name.upper().startswith("DURATION"))
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", next(tags, ""))
    if not found:
        return whole
    return min(whole, 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3]))


def rgb_of(frame: Frame) -> Picture:
    """A frame's RGB, uint8 [H, W, 3], by the kernels that the network is fed with."""
    rgb = torch.empty(3, frame.height, frame.width)
    cpu.pre([torch.from_numpy(plane.copy()) for plane in frame.planes], frame.format, frame.color, rgb)
    layout = Layout(pixel_format("rgb24"), frame.width, frame.height)
    memory = np.empty(layout.nbytes, np.uint8)
    (picture,) = layout.planes(memory)
    cpu.post(rgb, [torch.from_numpy(picture)], layout.format, RGB_FULL)
    return np.asarray(picture, np.uint8)


def reason(failure: RfdnError | OSError, file: SourceFile) -> str:
    """Why a file was passed over, with its name instead of its whole path."""
    text = (failure.strerror or str(failure)) if isinstance(failure, OSError) else str(failure)
    return text.replace(str(file.path), file.name) if str(file.path) in text else f"{file.name}: {text}"
