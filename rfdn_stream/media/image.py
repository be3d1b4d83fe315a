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
from rfdn_stream.media.along import XMP_OF_JPEG, jpeg_segments, lost_facts, upright_xmp
from rfdn_stream.media.target import write_error
from rfdn_stream.media.turn import Turn

Samples = npt.NDArray[Any]  # uint8 or uint16

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
_DEEP = frozenset({".png", ".tif", ".tiff"})
_JPEG = frozenset({".jpg", ".jpeg"})
_TIFF = frozenset({".tif", ".tiff"})
_LONGEST = {".webp": 16383, ".jpg": 65500, ".jpeg": 65500}  # sides that the format or its library takes, in pixels
_JPEG_QUALITY = 95
_NAMES = {
    cv2.IMAGE_METADATA_EXIF: "EXIF",
    cv2.IMAGE_METADATA_ICCP: "colour profile",
    cv2.IMAGE_METADATA_XMP: "XMP",
}
_EXIF_ORIENTATION = 0x0112
# What makes the picture upright, by EXIF orientation.
_TURNS = {
    2: Turn(columns=True),
    3: Turn(rows=True, columns=True),
    4: Turn(rows=True),
    5: Turn(transpose=True),
    6: Turn(transpose=True, columns=True),
    7: Turn(transpose=True, rows=True, columns=True),
    8: Turn(transpose=True, rows=True),
}


@dataclass(frozen=True)
class ImageMetadata:
    """What goes along with the samples; the EXIF orientation is already applied and reset.

    Args:
        lost: what was there and will not be in any image that is written, in sentences for the user.
    """

    gray: bool = False
    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    lost: tuple[str, ...] = ()


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
    samples, notes = _colours(frame, alpha, metadata), list(metadata.lost)
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


def check_size(size: tuple[int, int], extension: str) -> None:
    """UsageError if no image of (width, height) can be written in that format."""
    longest = _LONGEST.get(extension.lower())
    if longest is not None and max(size) > longest:
        raise UsageError(
            f"the result is {size[0]}x{size[1]}, and {extension} holds {longest} pixels a side at most; choose .png"
        )


def check_image(path: str | Path, frame: Frame, alpha: Samples | None, metadata: ImageMetadata, extension: str) -> None:
    """Reads a written image back: is it of the frame's size, and, in formats without loss, the frame itself?

    Pixels that are wholly transparent may differ: WebP makes them black.

    Args:
        frame, alpha, metadata: as they were written.

    Raises:
        MediaError: it is not.
    """
    got, clear, _ = read_image(path, extension=extension)
    if (got.width, got.height) != (frame.width, frame.height):
        size = f"{got.width}x{got.height} instead of {frame.width}x{frame.height}"
        raise MediaError(f"the written image {path} is not what was written: it is {size}")
    exact = extension.lower() not in _JPEG and got.format == frame.format
    made = _colours(frame, alpha, metadata)
    made = cv2.cvtColor(made, cv2.COLOR_GRAY2BGR) if made.ndim == 2 else made
    seen = slice(None) if alpha is None else alpha > 0
    if exact and not np.array_equal(_samples(got)[seen], made[seen]):
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
    # In the picture's samples, 0xFF is always followed by 0x00.
    return any(marker == 0xDA and data.find(b"\xff\xd9", place) < 0 for marker, place, _ in jpeg_segments(data))


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
        xmp=_xmp_in(found.get(cv2.IMAGE_METADATA_XMP, b"")),
        lost=(*_other_pages(data, path), *lost_facts(data)),
    )


def _xmp_in(chunk: bytes) -> bytes | None:
    """The XML of a chunk; OpenCV gives a byte too many of a PNG's, which may be anything."""
    text, end, _ = chunk.removeprefix(XMP_OF_JPEG).rpartition(b">")
    return text + end or None


def _other_pages(data: bytes, path: Path) -> list[str]:
    """What is said of a TIFF's pages but the first; they may be scans, or only smaller copies of it."""
    if data[:2] not in (b"II", b"MM"):
        return []
    with _quiet():
        pages = cv2.imcount(str(path))
    return [f"only the first of its {pages} pages is taken"] if pages > 1 else []


def _encode(samples: Samples, metadata: ImageMetadata, extension: str, quality: int | None) -> tuple[bytes, list[str]]:
    parameters: list[int] = []
    if extension in _JPEG:
        parameters = [cv2.IMWRITE_JPEG_QUALITY, quality or _JPEG_QUALITY]
        parameters += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    elif extension == ".webp":
        parameters = [cv2.IMWRITE_WEBP_QUALITY, quality or 101]
    along, notes = _fitting(samples, metadata, extension)
    if along and extension in _TIFF:
        notes.append(f"TIFF files are written without {' and '.join(_NAMES[kind] for kind, _ in along)}")
        along = []
    left = along  # what is the least worth comes last
    while (done := _try_encode(samples, left, extension, parameters)) is None and left:
        left = left[:-1]
    if done is not None and (gone := along[len(left) :]):
        names = " or ".join(_NAMES[kind] for kind, _ in gone)
        notes.append(f"the image's {names} is damaged or too large and was left out")
    if done is None:
        raise MediaError(f"the image of {samples.shape[1]}x{samples.shape[0]} cannot be encoded as {extension}")
    return done, notes


def _fitting(samples: Samples, metadata: ImageMetadata, extension: str) -> tuple[list[tuple[int, bytes]], list[str]]:
    """What goes along with samples as they are written, by OpenCV's kinds; and what does not fit them."""
    xmp = XMP_OF_JPEG + metadata.xmp if metadata.xmp and extension in _JPEG else metadata.xmp
    kinds = (
        (cv2.IMAGE_METADATA_EXIF, metadata.exif),
        (cv2.IMAGE_METADATA_ICCP, metadata.icc),
        (cv2.IMAGE_METADATA_XMP, xmp),
    )
    along = [(kind, value) for kind, value in kinds if value is not None]
    icc = metadata.icc or b""
    space = b"GRAY" if samples.ndim == 2 and extension != ".webp" else b"RGB "
    if icc[36:40] != b"acsp" or icc[16:20] == space:
        return along, []
    said, here = (name.decode("latin-1").strip() for name in (icc[16:20], space))
    note = f"its colour profile is for {said} and was left out: the result is {here}"
    return [(kind, value) for kind, value in along if kind != cv2.IMAGE_METADATA_ICCP], [note]


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


def _colours(frame: Frame, alpha: Samples | None, metadata: ImageMetadata) -> Samples:
    """B, G, R samples of a frame as they are written: what was grey is grey again, but not beside transparency."""
    samples = _samples(frame)
    return cv2.cvtColor(samples, cv2.COLOR_BGR2GRAY) if metadata.gray and alpha is None else samples


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
    exif = bytearray(metadata.exif)
    struct.pack_into(order + "H", exif, offset, 1)
    xmp = metadata.xmp and upright_xmp(metadata.xmp)
    return _TURNS[orientation].of(samples), replace(metadata, exif=bytes(exif), xmp=xmp)


def right_angle(degrees: int) -> int:
    """A rotation, or 0 where it is none of right angles."""
    return degrees if degrees % 90 == 0 else 0


def turned(frame: Frame, alpha: Samples | None, turn: Turn) -> tuple[Frame, Samples | None]:
    """A frame of RGB, with its alpha, made upright."""
    planes = tuple(turn.of(plane) for plane in frame.planes)
    height, width = planes[0].shape[:2]
    return replace(frame, planes=planes, width=width, height=height), None if alpha is None else turn.of(alpha)


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
