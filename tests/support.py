"""What many tests build on: tiny networks, random frames, exact comparison."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Frame, Layout
from rfdn_stream.nets import checkpoint
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


def random_frame(format="yuv420p", width=36, height=28, *, seed=0, pts=None, color=None):
    """A frame of random codes in the format's whole range."""
    layout, random = Layout(FORMATS[format], width, height), np.random.default_rng(seed)
    memory = np.zeros(layout.nbytes, np.uint8)
    for plane in layout.planes(memory):
        plane[...] = random.integers(0, layout.format.code_max + 1, plane.shape) << layout.format.shift
    color = color or (RGB_FULL if layout.format.family == "rgb" else ColorSpec())
    return Frame(layout.planes(memory), layout.format, width, height, color, pts, Fraction(1, 25))


def assert_frames_equal(got, want):
    """Same format, size, time, and every code of every plane."""
    assert (got.format, got.width, got.height) == (want.format, want.width, want.height)
    assert (got.pts, got.time_base, got.duration) == (want.pts, want.time_base, want.duration)
    for a, b in zip(got.planes, want.planes, strict=True):
        np.testing.assert_array_equal(a, b)
