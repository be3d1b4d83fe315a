"""An image sequence as a source of frames: each image read by itself, at a constant rate."""

from __future__ import annotations

import functools
import io
import operator
from collections.abc import Generator, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.container.input import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame

from rfdn_stream.errors import MediaError
from rfdn_stream.frame import FORMATS, Frame, VideoInfo
from rfdn_stream.media.crop import Crop
from rfdn_stream.media.headers import stored_size
from rfdn_stream.media.image import ImageMetadata, Samples, read_image
from rfdn_stream.media.kinds import Kind, stored_kind
from rfdn_stream.media.naming import Images
from rfdn_stream.media.source import CopiedPacket, Source

RATE = Fraction(25)
"""Frames a second where the user names none; FFmpeg's own."""


class ImageSequence(Source):
    """Images as a `Source`: the first one at 0 s, `rate` of them a second.

    All have the size of the first one. Where some are of 16 bits or have transparency, all are given out so. What an
    image says beside its samples goes with its frame, for outputs that are images, too (`metadata`).

    Attributes:
        images: the files.
        keeps_metadata: set by who will ask for `metadata` of every frame; else only that of the first is kept.

    Raises:
        UsageError: `start` lies behind the end.
        MediaError: the first image cannot be read, or there are images of several sizes.
    """

    def __init__(
        self,
        images: Images,
        rate: Fraction = RATE,
        start: float | None = None,
        duration: float | None = None,
        *,
        crop: Crop | None = None,
    ) -> None:
        _check_sizes(images)
        kinds = [stored_kind(path) for path in images.paths]
        self._kind = functools.reduce(operator.or_, kinds)
        self.images, self._rate = images, rate
        self._metadata: dict[int, ImageMetadata] = {}
        self.keeps_metadata = False
        self._blank: VideoFrame | None = None
        super().__init__(images.name, start, duration, crop=crop)
        paths = images.paths
        self.decoding = f"{len(paths):,} images, {paths[0].name} to {paths[-1].name}, at {float(rate):g} a second"
        if len(set(kinds)) > 1:
            gained = [name for name, has in (("16 bits", self._kind.deep), ("transparency", self._kind.clear)) if has]
            self.decoding += f"; all of them get the {' and the '.join(gained)} that some have"

    def metadata(self, pts: int) -> ImageMetadata:
        """What came with the image of a frame; once only, as it is forgotten then."""
        return self._metadata.pop(pts, ImageMetadata())

    def number(self, pts: int) -> int | None:
        """The number in the name of a frame's image, if the sequence was named by a pattern."""
        first = 0 if self.span.begin is None else round(self.span.begin * self._rate)
        return self.images.numbers[first + pts] if self.images.numbers else None

    def open_container(self) -> InputContainer:
        """Of images there is none: this one says nothing of its video but the rate."""
        file = io.BytesIO()
        with av.open(file, "w", format="nut") as output:
            video = output.add_stream("rawvideo", rate=self._rate)
            video.width, video.height, video.pix_fmt = 16, 16, "rgb24"
            output.mux(video.encode(VideoFrame(16, 16, "rgb24")))
        return av.open(io.BytesIO(file.getvalue()), "r", format="nut")

    def _packets_from(self, begin: Fraction | None) -> Iterator[Packet[Stream]]:
        return iter(())

    def _described(self, first: Frame) -> VideoInfo:
        count = len(self.images.paths)
        codec = self.images.paths[0].suffix.lower().removeprefix(".")
        info = VideoInfo(
            first.width, first.height, first.format, first.color, codec, first.time_base, self._rate, 0,
            float(count / self._rate), count,
        )  # fmt: skip
        return replace(info, duration=self._span_duration(info))

    def _read(self) -> Generator[Frame | CopiedPacket]:
        size = None
        for pts, path in enumerate(self.images.paths):
            if self.span.is_after(pts, 1 / self._rate):
                return
            self._latest = Fraction(pts + 1) / self._rate
            if not self.span.holds(pts, 1 / self._rate):
                continue
            frame, alpha, metadata = read_image(path)
            frame, alpha = _of_kind(self._kind, frame, alpha)
            size = size or (frame.width, frame.height)
            if (frame.width, frame.height) != size:
                raise MediaError(
                    f"{path} is {frame.width}x{frame.height}, the images before it are {size[0]}x{size[1]}; "
                    "the images of a sequence have one size"
                )
            timed = replace(frame, pts=pts, time_base=1 / self._rate, duration=1, origin=self._origin(frame, alpha))
            moved = self.shown(timed)
            assert moved is not None
            if self.keeps_metadata or not self._metadata:
                self._metadata[moved.pts or 0] = metadata
            yield moved

    def _origin(self, frame: Frame, alpha: Samples | None) -> VideoFrame:
        """A picture of PyAV's, for those that look for side data or alpha; its colours count only beside alpha."""
        if alpha is None:
            self._blank = self._blank or VideoFrame(frame.width, frame.height, "rgb24")
            return self._blank
        deep = alpha.dtype == np.uint16
        colours: Any = np.dstack([frame.planes[i] for i in (2, 0, 1)]) if deep else frame.planes[0]
        return VideoFrame.from_ndarray(np.dstack([colours, alpha]), "rgba64le" if deep else "rgba")


def _of_kind(kind: Kind, frame: Frame, alpha: Samples | None) -> tuple[Frame, Samples | None]:
    """An image with what others of its sequence have: 16 bits, and an alpha channel."""
    if kind.deep and frame.format.bits == 8:
        planes = tuple(frame.planes[0][..., place].astype(np.uint16) * 257 for place in (1, 2, 0))
        frame = replace(frame, planes=planes, format=FORMATS["gbrp16le"])
        alpha = None if alpha is None else alpha.astype(np.uint16) * 257
    if kind.clear and alpha is None:
        alpha = np.full((frame.height, frame.width), frame.format.code_max, frame.format.dtype)
    return frame, alpha


def _check_sizes(images: Images) -> None:
    """Before hours of work, as far as headers tell; EXIF may turn an image by a right angle."""
    kinds: dict[tuple[int, ...], list[str]] = {}
    for path in images.paths:
        try:
            size = stored_size(path)
        except OSError as error:
            raise MediaError(f"cannot read {path}: {error.strerror}") from error
        if size is not None:
            kinds.setdefault(tuple(sorted(size)), [f"{size[0]}x{size[1]}"]).append(path.name)
    if len(kinds) > 1:
        found = ", ".join(f"{len(names)} of {size} ({names[0]}, ...)" for size, *names in kinds.values())
        raise MediaError(f"{images.name} has images of several sizes: {found}; the images of a sequence have one size")
