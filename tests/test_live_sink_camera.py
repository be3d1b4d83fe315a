"""The virtual camera, with the real package; its backend is real where the kernel's module is loaded."""

import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import pyvirtualcam

from live_shots import AFTER, info, shot
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Frame, Layout
from rfdn_stream.kernels import reference
from rfdn_stream.live.sinks import open_sink

BT601 = ColorSpec("bt601")


class Backend:
    """A camera as pyvirtualcam's contract describes it, which keeps what it gets. It stands for a kernel's module."""

    made: ClassVar = []

    def __init__(self, *, width, height, fps, fourcc, device, **_):
        self.size, self.fps, self.fourcc = (width, height), fps, fourcc
        self.frames, self.is_open, self.fails = [], True, False
        Backend.made.append(self)

    def close(self):
        assert self.is_open  # guaranteed to be called once
        self.is_open = False

    def send(self, frame):
        if self.fails:
            raise RuntimeError("error writing frame: No such device")
        assert frame.ndim == 1
        assert frame.flags.c_contiguous
        self.frames.append(frame.copy())

    def device(self):
        return "the backend's device"

    def native_fourcc(self):
        return None


@pytest.fixture
def backends(monkeypatch):
    """Only that backend, registered as the package wants it."""
    monkeypatch.setattr(Backend, "made", [])
    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {})
    pyvirtualcam.register_backend("mine", Backend)
    return Backend.made


def sent(backends, output=None, size=(64, 48), format="yuv420p"):
    """What the backend got of one frame, as RGB."""
    with open_sink("camera") as sink:
        sink.open(info(rate=30), size, output or sink.wants(info()))
        assert sink.name == "camera the backend's device"
        sink.show(shot(0, size=size, format=format))
    camera = backends[-1]
    assert not camera.is_open
    assert camera.fps == 30
    layout = Layout(FORMATS["yuv420p" if camera.fourcc == fourcc("I420") else "nv12"], *camera.size)
    frame = Frame(layout.planes(camera.frames[0]), layout.format, *camera.size, BT601)
    return np.moveaxis(reference.to_rgb(frame.planes, frame.format, BT601), 0, 2) * 255


def fourcc(name):
    return pyvirtualcam.util.encode_fourcc(pyvirtualcam.PixelFormat[name].value)


@pytest.mark.parametrize("format", ["yuv420p", "nv12", "rgb24", "yuv444p10le"])
@pytest.mark.parametrize("size", [(64, 48), (65, 49)])
def test_the_picture_arrives_in_a_cameras_colour(backends, format, size):
    """Also where another sink chose the format, and its matrix is not that of cameras."""
    color = RGB_FULL if format == "rgb24" else ColorSpec()
    rgb = sent(backends, (FORMATS[format], color), size, format)
    assert rgb.shape == (48, 64, 3)
    np.testing.assert_allclose(rgb[20, 40], AFTER, atol=4)


def test_what_it_wants_is_not_converted(backends):
    with open_sink("camera:mine") as sink:
        format, color = sink.wants(info())
        assert color == BT601
        assert format.name == ("nv12" if sys.platform == "win32" else "yuv420p")
        sink.open(info(), (64, 48), (format, color))
        layout = Layout(format, 64, 48)
        memory = np.random.default_rng(0).integers(0, 256, layout.nbytes, np.uint8)
        frame = Frame(layout.planes(memory), format, 64, 48, color, 0)
        made = shot()
        sink.show(type(made)(frame, made.before, 0, 0))
    np.testing.assert_array_equal(backends[0].frames[0], memory)


def test_a_camera_that_goes_away_is_one_line(backends):
    with open_sink("camera") as sink:
        sink.open(info(), (64, 48), sink.wants(info()))
        backends[0].fails = True
        with pytest.raises(MediaError, match="camera the backend's device takes no more pictures: error writing frame"):
            sink.show(shot(format="yuv420p"))
    assert not backends[0].is_open


def test_a_kind_that_is_not_here_is_one_line(backends):
    with (
        open_sink("camera:OBS") as sink,
        pytest.raises(UsageError, match=r"no OBS camera .*; there is mine"),
    ):
        sink.open(info(), (64, 48), sink.wants(info()))


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(UsageError, match=r"needs pyvirtualcam; install it: pip install 'rfdn-stream\[live\]'"):
        open_sink("camera")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="v4l2loopback is Linux's")
@pytest.mark.parametrize("text", ["camera", "camera:/dev/video4711"])
def test_the_real_backend(text):
    """Takes pictures where v4l2loopback is loaded; elsewhere the line says how to load it."""
    loaded = Path("/sys/module/v4l2loopback").exists() and text == "camera"
    with open_sink(text) as sink:
        if loaded:
            sink.open(info(), (64, 48), sink.wants(info()))
            sink.show(shot(format="yuv420p"))
            return
        with pytest.raises(UsageError, match="sudo modprobe v4l2loopback") as caught:
            sink.open(info(), (64, 48), sink.wants(info()))
    assert "\n" not in str(caught.value)
