"""What there is to be captured on this machine: cameras with their formats, and screens.

A camera's formats stand only in FFmpeg's log, so they are asked for in a process of its own: in this one the log must
stay off, as PyAV's log and decoders with threads can wait for each other for ever.

    python -m rfdn_stream.live.sources.listing SYSTEM CAMERA
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import av
from av.device import enumerate_input_devices

from rfdn_stream.errors import RfdnError
from rfdn_stream.live.sources import SourceOptions, camera, open_source

_TIMEOUT = 10
_LINE = re.compile(r"^\[\S+ @ 0x[0-9a-f]+\] (.+)$", re.MULTILINE)
_ASKING = {"v4l2": {"list_formats": "all"}, "dshow": {"list_options": "true"}, "avfoundation": {"framerate": "1"}}


@dataclass(frozen=True)
class Listed:
    """A source that is there: SOURCE as the user writes it, what it is, and its formats in FFmpeg's words."""

    source: str
    what: str
    formats: tuple[str, ...] = ()


def list_sources() -> list[Listed]:
    """Cameras and screens of this machine."""
    return [*_cameras(), *_screens(), Listed("test", "a moving test pattern")]


def _cameras() -> list[Listed]:
    system = camera.SYSTEMS.get(sys.platform, "v4l2")
    found = []
    if system == "v4l2":
        for path in sorted(Path("/dev").glob("video*"), key=lambda path: (len(path.name), path.name)):
            name = Path("/sys/class/video4linux", path.name, "name")
            what = name.read_text().strip() if name.is_file() else "camera"
            found.append(Listed(str(path), what, _formats(system, str(path))))
        return found
    with contextlib.suppress(av.FFmpegError, ValueError):  # this FFmpeg was built without the interface
        devices = [device for device in enumerate_input_devices(system) if "video" in device.media_types]
        for number, device in enumerate(devices):
            address = f"video={device.description}" if system == "dshow" else str(number)
            found.append(Listed(f"camera:{number}", device.description, _formats(system, address)))
    return found


def _screens() -> list[Listed]:
    try:
        with open_source("screen", SourceOptions(timeout=2)) as screen:
            info = screen.info
            return [Listed("screen", f"{screen.name}, {info.width}x{info.height}")]
    except RfdnError:
        return []


def _formats(system: str, address: str) -> tuple[str, ...]:
    """What the camera can be asked for; () where it does not say."""
    command = [sys.executable, "-m", __name__, system, address]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(line.strip() for line in _LINE.findall(result.stderr))


if __name__ == "__main__":
    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.INFO)
    with contextlib.suppress(av.FFmpegError):
        av.open(sys.argv[2], format=sys.argv[1], options=_ASKING[sys.argv[1]], timeout=_TIMEOUT)
