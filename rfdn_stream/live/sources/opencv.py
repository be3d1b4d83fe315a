"""A camera by OpenCV, where FFmpeg's own interface is missing or fails."""

from __future__ import annotations

import os
import time
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

import cv2

from rfdn_stream.errors import MediaError
from rfdn_stream.frame import FORMATS, RGB_FULL, Frame, VideoInfo
from rfdn_stream.live.base import Captured, SourceLost
from rfdn_stream.live.sources import SourceOptions

_MICROSECONDS = Fraction(1, 1_000_000)
_DEFAULT_RATE = 30


class OpenCvSource:
    """See `live.base.Source` for the methods. Frames have the times at which they came.

    Args:
        text: a camera's number, or whatever else OpenCV opens; "" = the first camera.
    """

    def __init__(self, text: str, options: SourceOptions) -> None:
        self._what: int | str = int(text) if text.isdecimal() else text or 0
        self._options = options
        self.name = f"camera {self._what} (OpenCV)"
        self.audio: tuple[Any, ...] = ()

    def __enter__(self) -> Self:
        os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
        options = self._options
        self._capture = cv2.VideoCapture(self._what)
        if options.size is not None:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.size[0])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.size[1])
        if options.rate is not None:
            self._capture.set(cv2.CAP_PROP_FPS, options.rate)
        if options.input_format is not None:
            code = {"mjpeg": "MJPG", "yuyv422": "YUYV"}.get(options.input_format, options.input_format)
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*f"{code:4.4}"))
        self._first: Captured | None = self._grab()
        if self._first is None:
            self._capture.release()
            raise MediaError(
                f"cannot open {self.name}: it is missing, in use, or not allowed; "
                "rfdn-stream live --list shows what there is"
            )
        frame = self._first.frame
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.info = VideoInfo(
            frame.width,
            frame.height,
            frame.format,
            frame.color,
            "rawvideo",
            _MICROSECONDS,
            Fraction(rate).limit_denominator(1001) if rate > 0 else Fraction(_DEFAULT_RATE),
            frame.pts,
            None,
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._capture.release()

    def read(self) -> Captured:
        captured, self._first = self._first or self._grab(), None
        if captured is None:
            raise SourceLost(f"{self.name} gives no more frames")
        return captured

    def _grab(self) -> Captured | None:
        there, picture = self._capture.read()
        if not there:
            return None
        at = time.monotonic()
        rgb = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB if picture.ndim == 2 else cv2.COLOR_BGR2RGB)
        height, width = rgb.shape[:2]
        pts = round(at / _MICROSECONDS)
        return Captured(Frame((rgb,), FORMATS["rgb24"], width, height, RGB_FULL, pts, _MICROSECONDS), at)
