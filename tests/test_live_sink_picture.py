"""Frames as pictures for the eye, against the reference."""

import numpy as np
import pytest

from pictures import colors_of
from rfdn_stream.frame import FORMATS, Frame
from rfdn_stream.kernels import reference
from rfdn_stream.live.sinks.picture import bgr_of, converted, rgb_of
from support import random_frame


def smooth_frame(format, color, width=64, height=48):
    """A frame of slow waves of colour, as pictures are: the methods differ in how they upsample chroma."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([0.5 + 0.45 * np.sin(x / 20 + k) * np.cos(y / 25) for k in range(3)])
    planes = reference.quantise(reference.from_rgb(rgb, FORMATS[format], color), FORMATS[format])
    return Frame(tuple(planes), FORMATS[format], width, height, color)


@pytest.mark.parametrize("format", FORMATS)
def test_colour_is_that_of_the_reference(format):
    for color in colors_of(FORMATS[format]):
        frame = smooth_frame(format, color)
        want = reference.to_rgb(frame.planes, frame.format, color) * 255
        assert np.abs(np.moveaxis(rgb_of(frame), 2, 0) - want).max() < 2.5, color


@pytest.mark.parametrize("target", ["yuv420p", "yuv444p", "yuv420p10le", "nv12", "gbrp"])
@pytest.mark.parametrize("format", FORMATS)
def test_conversion_keeps_the_picture(format, target):
    frame = smooth_frame(format, colors_of(FORMATS[format])[0])
    for color in colors_of(FORMATS[target])[:3]:
        if color.matrix == "rgb" and color.range == "limited":
            continue
        made = converted(frame, FORMATS[target], color)
        assert (made.format, made.color) == (FORMATS[target], color)
        want, got = (reference.to_rgb(f.planes, f.format, f.color) * 255 for f in (frame, made))
        assert np.abs(got - want).mean() < 1.5, color


@pytest.mark.parametrize("format", ["yuv420p", "nv12", "yuv420p10le", "gray"])
def test_odd_sizes_keep_their_last_row_and_column(format):
    assert rgb_of(random_frame(format, 35, 27)).shape == (27, 35, 3)


def test_rgb_is_not_copied_and_bgr_is_swapped():
    frame = random_frame("rgb24")
    assert rgb_of(frame) is frame.planes[0]
    assert (bgr_of(frame) == frame.planes[0][..., ::-1]).all()
