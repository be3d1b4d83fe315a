"""Webcams: by the system's own interface through FFmpeg, or by OpenCV where FFmpeg was built without it."""

from __future__ import annotations

import errno
import logging
import sys
from dataclasses import replace

import av
from av.device import enumerate_input_devices

from rfdn_stream.errors import UsageError
from rfdn_stream.live.base import Source
from rfdn_stream.live.sources import SourceOptions
from rfdn_stream.live.sources.opencv import OpenCvSource
from rfdn_stream.live.sources.stream import Opening, StreamSource

log = logging.getLogger("rfdn_stream")

SYSTEMS = {"linux": "v4l2", "win32": "dshow", "darwin": "avfoundation"}
_LIST = "rfdn-stream live --list shows what there is"
_HINTS = {
    errno.ENOENT: f"there is no such camera; {_LIST}",
    errno.ENODEV: f"there is no such camera; {_LIST}",
    errno.ENOTTY: f"it is no camera; {_LIST}",
    errno.EBUSY: "another program uses the camera; close it",
    errno.EACCES: "you may not use the camera; on Linux: sudo usermod -aG video $USER, then log in again",
    errno.EPERM: "you may not use the camera; allow it in the system's settings",
    errno.EINVAL: f"the camera does not have this --size, --rate or --input-format; {_LIST}",
    -1: _LIST,
}


def open_camera(text: str, options: SourceOptions) -> Source:
    """The camera of a number, a name or a device file; the first one for ""."""
    system = SYSTEMS.get(sys.platform, "v4l2")
    if _has(system):
        return CameraSource(text, options, system)
    if text and not text.isdecimal():
        raise UsageError(f"this FFmpeg has no {system}, so a camera is called by its number, got {text!r}; {_LIST}")
    log.info("this FFmpeg has no %s: the camera is read by OpenCV", system)
    return OpenCvSource(text, options)


class CameraSource(StreamSource):
    """A webcam through FFmpeg.

    Args:
        text: a number, a name, or a device file; "" = the first.
        options: size, rate and input_format are asked of the camera.
        system: FFmpeg's name of the interface, one of `SYSTEMS`.
    """

    def __init__(self, text: str, options: SourceOptions, system: str) -> None:
        address = _address(text or "0", system)
        name = f"camera {address.removeprefix('video=')}"
        how = Opening(name, address, system, _asked(options, system), options.timeout, hints=_HINTS)
        super().__init__(replace(how, deinterlace=options.deinterlace))


def _asked(options: SourceOptions, system: str) -> dict[str, str]:
    """The options in the words of the interface."""
    asked: dict[str, str] = {}
    if options.size is not None:
        asked["video_size"] = f"{options.size[0]}x{options.size[1]}"
    if options.rate is not None:
        asked["framerate"] = f"{options.rate:g}"
    elif system == "avfoundation":
        asked["framerate"] = "30"  # its default, 29.97, is refused by most
    if options.input_format is not None:
        compressed = options.input_format in ("mjpeg", "h264")
        key = {"v4l2": "input_format", "dshow": "vcodec" if compressed else "pixel_format"}.get(system, "pixel_format")
        asked[key] = options.input_format
    return asked


def _address(text: str, system: str) -> str:
    """What FFmpeg calls the camera."""
    if system == "v4l2":
        return f"/dev/video{text}" if text.isdecimal() else text
    if system == "avfoundation":
        return f"{text}:none"
    if not text.isdecimal():
        return f"video={text}"
    names = [d.description or d.name for d in enumerate_input_devices(system) if "video" in d.media_types]
    if int(text) >= len(names):
        raise UsageError(f"there is no camera {text}; there are {len(names)}, counted from 0; {_LIST}")
    return f"video={names[int(text)]}"


def _has(format: str) -> bool:
    return any(format in name.split(",") for name in av.formats_available)
