"""What many tests build on: tiny networks, random frames, exact comparison."""

import weakref
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Frame, Layout
from rfdn_stream.nets import checkpoint
from rfdn_stream.nets.fold import fold
from rfdn_stream.nets.rfdn import RFDN, RFDNOptions

EXAMPLES = Path(__file__).parents[1] / "examples"


def save_tiny(path, *, scale=2, seed=0, **changes):
    """Saves a tiny network with random weights, near enough to the identity to keep values in range."""
    torch.manual_seed(seed)
    network = RFDN(RFDNOptions(channels=8, blocks=1, attention="esa", block_residual=False, scale=scale))
    for parameter, value in changes.items():
        network.get_parameter(parameter.replace("__", ".")).data.fill_(value)
    checkpoint.save(path, network, {"value_range": "0..1"})
    return path


def film(path, *, frames=50, gop=25, width=64, height=48, codec="libx264"):
    """Saves a clip of 25 frames a second, random texture that slides, with a keyframe every `gop` frames."""
    texture = np.random.default_rng(0).integers(0, 256, (height, width + frames, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"preset": "ultrafast", "g": str(gop)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for place in range(frames):
            picture = np.ascontiguousarray(texture[:, place : place + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def random_frame(format="yuv420p", width=36, height=28, *, seed=0, pts=None, color=None):
    """A frame of random codes in the format's whole range."""
    layout, random = Layout(FORMATS[format], width, height), np.random.default_rng(seed)
    memory = np.zeros(layout.nbytes, np.uint8)
    for plane in layout.planes(memory):
        plane[...] = random.integers(0, layout.format.code_max + 1, plane.shape) << layout.format.shift
    color = color or (RGB_FULL if layout.format.family == "rgb" else ColorSpec())
    return Frame(layout.planes(memory), layout.format, width, height, color, pts, Fraction(1, 25))


def assert_frames_equal(got, want, codes=0):
    """Same format, size, time, and every code of every plane, or none further away than so many."""
    assert (got.format, got.width, got.height) == (want.format, want.width, want.height)
    assert (got.pts, got.time_base, got.duration) == (want.pts, want.time_base, want.duration)
    for a, b in zip(got.planes, want.planes, strict=True):
        if codes:
            assert np.abs(a.astype(int) - b.astype(int)).max() <= codes << want.format.shift
        else:
            np.testing.assert_array_equal(a, b)


class PeakOfMemory(TorchDispatchMode):
    """Counts the elements of all tensors made inside that are alive at once."""

    def __init__(self):
        super().__init__()
        self.alive, self.peak, self._views = 0, 0, {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        output = function(*args, **(kwargs or {}))
        for tensor in (t for t in tree_leaves(output) if isinstance(t, torch.Tensor)):
            storage = tensor.untyped_storage()._cdata
            foreign = storage not in self._views and any(t.untyped_storage()._cdata == storage for t in inputs)
            if not foreign and not any(t is tensor for t in inputs):
                self._hold(tensor, storage)
        return output

    def _hold(self, tensor, storage):
        if storage not in self._views:
            self.alive += tensor.numel()
            self.peak = max(self.peak, self.alive)
        self._views[storage] = self._views.get(storage, 0) + 1
        weakref.finalize(tensor, self._release, storage, tensor.numel())

    def _release(self, storage, elements):
        self._views[storage] -= 1
        if not self._views[storage]:
            del self._views[storage]
            self.alive -= elements


def peak_of_memory(network, width=160, height=90):
    """The values that a folded network holds at once, for each pixel put in."""
    network, x = fold(network.to("meta")), torch.empty(1, 3, height, width, device="meta")
    with torch.no_grad(), PeakOfMemory() as memory:
        network(x)
    return memory.peak / (height * width)
