"""A virtual camera as a sink: other programs see it as a webcam."""

from __future__ import annotations

import sys
from types import ModuleType, TracebackType
from typing import Any

import numpy as np

from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import FORMATS, ColorSpec, Frame, Layout, PixelFormat, VideoInfo
from rfdn_stream.live.base import Shot
from rfdn_stream.live.sinks import SinkOptions
from rfdn_stream.live.sinks.null import NullSink
from rfdn_stream.live.sinks.picture import converted
from rfdn_stream.media.shape import even_size

# Our formats, and pyvirtualcam's names for them.
_NAMES = {"yuv420p": "I420", "nv12": "NV12"}
# What programs take a camera's picture for, whatever its size.
_COLOR = ColorSpec("bt601", "limited", "left")
_HOW = {
    "linux": "load the kernel's module: sudo apt install v4l2loopback-dkms, then sudo modprobe v4l2loopback",
    "win32": "install OBS (obsproject.com), which brings a virtual camera",
    "darwin": "install OBS (obsproject.com), and start and stop its virtual camera once",
}


class CameraSink(NullSink):
    """Feeds a virtual camera: v4l2loopback on Linux, OBS or Unity Capture elsewhere.

    Args:
        target: a device such as ``/dev/video9``, or a kind of pyvirtualcam's, such as ``OBS``; "" = the first that is
            free.
        options: none is used.
    """

    kind = "camera"

    def __init__(self, target: str, options: SinkOptions) -> None:
        super().__init__(target, options)
        self._target = target
        self._package = _pyvirtualcam()
        self._camera: Any = None
        self._device = ""

    @property
    def name(self) -> str:
        return f"camera {self._device or self._target}".rstrip()

    def wants(self, info: VideoInfo) -> tuple[PixelFormat, ColorSpec]:
        # What the backends hand on without converting it.
        return FORMATS["nv12" if sys.platform == "win32" else "yuv420p"], _COLOR

    def open(self, info: VideoInfo, size: tuple[int, int], output: tuple[PixelFormat, ColorSpec]) -> None:
        self._format = output[0] if output[0].name in _NAMES else self.wants(info)[0]
        self._size = even_size(size, self._format)
        self._buffer = np.empty(Layout(self._format, *self._size).nbytes, np.uint8)
        backends = self._package.camera.BACKENDS
        kind = next((name for name in backends if name == self._target.lower()), None)
        if self._target.lower() in ("obs", "unitycapture") and kind is None:
            raise UsageError(f"there is no {self._target} camera on this system; there is {', '.join(backends)}")
        try:
            self._camera = self._package.Camera(
                *self._size,
                float(info.rate),
                fmt=self._package.PixelFormat[_NAMES[self._format.name]],
                backend=kind,
                device=None if kind else self._target or None,
            )
        except RuntimeError as error:
            which = self._target or "a virtual camera"
            raise UsageError(f"cannot open {which}: {_reason(error)}; {_HOW.get(sys.platform, '')}") from error
        self._device = self._camera.device

    def show(self, shot: Shot) -> None:
        super().show(shot)
        if self._camera is None:
            return
        try:
            self._camera.send(self._packed(converted(shot.frame, self._format, _COLOR)))
        except (RuntimeError, OSError) as error:
            raise MediaError(f"{self.name} takes no more pictures: {_reason(error)}") from error

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._camera is not None:
            self._camera.close()

    def _packed(self, frame: Frame) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The planes behind each other, without a last column or row of half a chroma sample."""
        for target, plane in zip(Layout(self._format, *self._size).planes(self._buffer), frame.planes, strict=True):
            target[...] = plane[: target.shape[0], : target.shape[1]]
        return self._buffer


def _reason(error: Exception) -> str:
    """What pyvirtualcam says, in one line."""
    return "; ".join(line.partition("backend: ")[2] or line for line in str(error).splitlines()).rstrip(".")


def _pyvirtualcam() -> ModuleType:
    try:
        import pyvirtualcam
    except ImportError:
        raise UsageError("a virtual camera needs pyvirtualcam; install it: pip install 'rfdn-stream[live]'") from None
    package: ModuleType = pyvirtualcam
    return package
