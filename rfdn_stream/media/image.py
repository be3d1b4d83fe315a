"""Image files in and out: PNG, JPEG, WebP and TIFF, with transparency, colour profile and EXIF."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import FORMATS, RGB_FULL, Frame
from rfdn_stream.media.target import write_error

Samples = npt.NDArray[Any]  # uint8 or uint16

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
_DEEP = frozenset({".png", ".tif", ".tiff"})
_JPEG = frozenset({".jpg", ".jpeg"})
_JPEG_QUALITY = 95
_EXIF_ORIENTATION = 0x0112
# What makes the picture upright, by EXIF orientation: (transpose, flip rows, flip columns).
_TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


@dataclass(frozen=True)
class ImageMetadata:
    """What goes along with the samples; the EXIF orientation is already applied and reset."""

    gray: bool = False
    exif: bytes | None = None
    icc: bytes | None = None


def read_image(path: str | Path, *, extension: str | None = None) -> tuple[Frame, Samples | None, ImageMetadata]:
    """Reads an image, upright; its format is that of `extension`, or of its name.

    Returns:
        A frame without a time, rgb24 or for 16-bit images gbrp16le; alpha of shape (height, width) in the
        same depth, or None; what goes along. A grey image becomes a frame of three equal components.

    Raises:
        UsageError: the extension is none of `EXTENSIONS`.
        MediaError: the file is missing, empty, damaged, animated, or of a depth other than 8 and 16 bits.
    """
    path = Path(path)
    extension = _extension(path, extension)
    if not path.is_file():
        raise MediaError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}")
    data = path.read_bytes()
    if not data:
        raise MediaError(f"{path} is empty")
    if _is_cut_off_jpeg(data):
        raise MediaError(f"{path} ends in the middle of its picture: it was cut off")
    if _is_animated(data):
        raise MediaError(f"{path} is an animation; turn it into a video first, for example with ffmpeg")
    samples, metadata = _decode(data, path)
    if samples.dtype not in (np.uint8, np.uint16):
        raise MediaError(f"{path} has {samples.dtype} samples; supported are 8 and 16 bits ({extension})")
    samples, metadata = _upright(samples, metadata)
    if samples.ndim == 2:
        samples, metadata = cv2.cvtColor(samples, cv2.COLOR_GRAY2BGR), replace(metadata, gray=True)
    alpha = np.ascontiguousarray(samples[..., 3]) if samples.shape[2] == 4 else None
    return _frame(samples), alpha, metadata


def write_image(
    path: str | Path,
    frame: Frame,
    alpha: Samples | None = None,
    metadata: ImageMetadata | None = None,
    *,
    quality: int | None = None,
    extension: str | None = None,
) -> list[str]:
    """Writes an rgb24 or gbrp16le frame as an image.

    Args:
        path: where to; its extension chooses the format unless `extension` does.
        alpha: (height, width) in the frame's depth.
        quality: of JPEG and WebP, 1 to 100. The default is 95 for JPEG (always 4:4:4) and lossless for WebP.

    Returns:
        What could not be kept, in sentences for the user.

    Raises:
        UsageError: an unknown extension, or a quality out of range.
        MediaError: the image cannot be encoded or written.
    """
    extension = _extension(Path(path), extension)
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"the quality is {quality}; it must be 1 to 100")
    metadata = metadata or ImageMetadata()
    samples, notes = _samples(frame), []
    if metadata.gray and alpha is None:
        samples = cv2.cvtColor(samples, cv2.COLOR_BGR2GRAY)
    if alpha is not None:
        if extension in _JPEG:
            samples = _over_white(samples, alpha)
            notes.append("JPEG has no transparency: the image is laid over white")
        else:
            samples = np.dstack([samples, alpha])
    if samples.dtype == np.uint16 and extension not in _DEEP:
        samples = np.rint(samples / 257).astype(np.uint8)
        notes.append(f"{extension} holds 8 bits: the image's 16 are rounded; .png and .tiff keep them")
    encoded, kept = _encode(samples, metadata, extension, quality)
    notes += kept
    try:
        Path(path).write_bytes(encoded)
    except OSError as error:
        raise write_error(path, error) from error
    return notes


def is_animation(path: str | Path) -> bool:
    """Whether a file of an image's name, or of an animation's, holds several pictures."""
    local = Path(path)
    if local.suffix.lower() not in EXTENSIONS or not local.is_file():
        return local.suffix.lower() in (".gif", ".apng")
    with local.open("rb") as file:
        return _is_animated(file.read(1024))


def check_image(path: str | Path, frame: Frame, alpha: Samples | None, extension: str) -> None:
    """Reads a written image back: is it of the frame's size, and, in formats without loss, the frame itself?

    Pixels that are wholly transparent may differ: WebP makes them black.

    Raises:
        MediaError: it is not.
    """
    got, clear, metadata = read_image(path, extension=extension)
    if (got.width, got.height) != (frame.width, frame.height):
        size = f"{got.width}x{got.height} instead of {frame.width}x{frame.height}"
        raise MediaError(f"the written image {path} is not what was written: it is {size}")
    exact = extension.lower() not in _JPEG and got.format == frame.format and not metadata.gray
    seen = slice(None) if alpha is None else alpha > 0
    if exact and not np.array_equal(_samples(got)[seen], _samples(frame)[seen]):
        raise MediaError(f"the written image {path} is not what was written: its pixels differ")
    if exact and alpha is not None and (clear is None or not np.array_equal(clear, alpha)):
        raise MediaError(f"the written image {path} is not what was written: its transparency differs")


def _extension(path: Path, extension: str | None) -> str:
    extension = (extension or path.suffix).lower()
    if extension not in EXTENSIONS:
        got = f"{extension} is not an image format" if extension else f"{path} has no extension"
        raise UsageError(f"{got} of this program; it knows {', '.join(sorted(EXTENSIONS))}")
    return extension


def _is_cut_off_jpeg(data: bytes) -> bool:
    """Whether a JPEG has no end mark; decoders fill what is missing with grey and say nothing."""
    place = 2
    while data[:2] == b"\xff\xd8" and data[place : place + 1] == b"\xff" and place + 4 <= len(data):
        if data[place + 1] == 0xDA:  # the picture's samples, in which 0xFF is always followed by 0x00
            return data.find(b"\xff\xd9", place) < 0
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return False


def _is_animated(data: bytes) -> bool:
    if data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X":
        return len(data) > 20 and bool(data[20] & 2)
    return data[:4] == b"\x89PNG" and b"acTL" in data[:1024]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV writes to the terminal what it also returns."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _decode(data: bytes, path: Path) -> tuple[Samples, ImageMetadata]:
    buffer = np.frombuffer(data, np.uint8)
    with _quiet():
        try:
            samples, kinds, values = cv2.imdecodeWithMetadata(buffer, flags=cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            raise MediaError(f"{path} cannot be decoded: {error.err}") from error
    if samples is None or not samples.size:
        raise MediaError(f"{path} is not an image of a known format, or it is damaged")
    found = {int(kind): bytes(value) for kind, value in zip(kinds, values, strict=True)}
    return samples, ImageMetadata(
        exif=found.get(cv2.IMAGE_METADATA_EXIF),
        icc=found.get(cv2.IMAGE_METADATA_ICCP),
    )


def _encode(samples: Samples, metadata: ImageMetadata, extension: str, quality: int | None) -> tuple[bytes, list[str]]:
    parameters: list[int] = []
    if extension in _JPEG:
        parameters = [cv2.IMWRITE_JPEG_QUALITY, quality or _JPEG_QUALITY]
        parameters += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    elif extension == ".webp":
        parameters = [cv2.IMWRITE_WEBP_QUALITY, quality or 101]
    chunks = [
        (kind, value)
        for kind, value in (
            (cv2.IMAGE_METADATA_EXIF, metadata.exif),
            (cv2.IMAGE_METADATA_ICCP, metadata.icc),
        )
        if value is not None
    ]
    if chunks and extension in (".tif", ".tiff"):
        done = _try_encode(samples, [], extension, parameters)
        notes = ["TIFF files are written without EXIF and colour profile"]
    elif (done := _try_encode(samples, chunks, extension, parameters)) is not None:
        notes = []
    else:
        done = _try_encode(samples, [], extension, parameters)
        notes = ["the image's EXIF or colour profile is damaged and was left out"]
    if done is None:
        raise MediaError(f"the image of {samples.shape[1]}x{samples.shape[0]} cannot be encoded as {extension}")
    return done, notes


def _try_encode(
    samples: Samples, chunks: list[tuple[int, bytes]], extension: str, parameters: list[int]
) -> bytes | None:
    kinds = [kind for kind, _ in chunks]
    values = [np.frombuffer(value, np.uint8) for _, value in chunks]
    with _quiet():
        try:
            done, data = cv2.imencodeWithMetadata(extension, samples, kinds, values, parameters)
        except cv2.error:
            return None
    return data.tobytes() if done else None


def _frame(bgr: Samples) -> Frame:
    """A frame of B, G, R(, A) samples."""
    height, width = bgr.shape[:2]
    planes: tuple[Any, ...]
    if bgr.dtype == np.uint8:
        format, planes = FORMATS["rgb24"], (np.ascontiguousarray(bgr[..., 2::-1]),)
    else:
        format, planes = FORMATS["gbrp16le"], tuple(np.ascontiguousarray(bgr[..., i]) for i in (1, 0, 2))
    return Frame(planes, format, width, height, RGB_FULL)


def _samples(frame: Frame) -> Samples:
    """B, G, R samples of a frame."""
    if frame.format.name == "rgb24":
        return np.ascontiguousarray(frame.planes[0][..., ::-1])
    if frame.format.name == "gbrp16le":
        green, blue, red = frame.planes
        return np.dstack([blue, green, red])
    raise MediaError(f"images are written from rgb24 and gbrp16le frames, got {frame.format.name}")


def _over_white(samples: Samples, alpha: Samples) -> Samples:
    white = float(np.iinfo(samples.dtype).max)
    weight = (alpha / white)[..., None]
    return np.rint(samples * weight + white * (1 - weight)).astype(samples.dtype)


def _upright(samples: Samples, metadata: ImageMetadata) -> tuple[Samples, ImageMetadata]:
    """Turns the picture as its EXIF orientation asks, and resets that to upright."""
    if metadata.exif is None or (place := _orientation(metadata.exif)) is None:
        return samples, metadata
    order, offset = place
    (orientation,) = struct.unpack_from(order + "H", metadata.exif, offset)
    if orientation not in _TURNS:
        return samples, metadata
    transpose, flip_rows, flip_columns = _TURNS[orientation]
    turned = samples.swapaxes(0, 1) if transpose else samples
    turned = turned[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    exif = bytearray(metadata.exif)
    struct.pack_into(order + "H", exif, offset, 1)
    return np.ascontiguousarray(turned), replace(metadata, exif=bytes(exif))


def right_angle(degrees: int) -> int:
    """What `turned` takes, of a rotation; 0 where it is none of right angles."""
    return degrees if degrees % 90 == 0 else 0


def turned(frame: Frame, alpha: Samples | None, degrees: int) -> tuple[Frame, Samples | None]:
    """A frame of RGB, with its alpha, turned clockwise by a multiple of 90 degrees."""
    turns = -degrees // 90
    planes = tuple(np.ascontiguousarray(np.rot90(plane, turns)) for plane in frame.planes)
    height, width = planes[0].shape[:2]
    return replace(frame, planes=planes, width=width, height=height), None if alpha is None else np.rot90(alpha, turns)


def _orientation(exif: bytes) -> tuple[str, int] | None:
    """Byte order, and where the orientation's value lies in a TIFF-structured EXIF block."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "2H", exif, entry)
            if tag == _EXIF_ORIENTATION and kind == 3 and entry + 10 <= len(exif):
                return order, entry + 8
    except struct.error:
        pass  # a damaged block says nothing
    return None
