"""Bicubic resizing against facts that hold for MATLAB's imresize."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfdn_stream.evaluation.resize import bicubic, shrink


@given(height=st.integers(1, 40), width=st.integers(1, 40), code=st.integers(0, 255), scale=st.sampled_from([2, 3, 4]))
def test_a_flat_picture_stays_flat(height, width, code, scale):
    flat = np.full((height, width, 3), code, np.uint8)
    assert (bicubic(flat, height * scale, width * scale) == code).all()
    assert (bicubic(flat, -(-height // scale), -(-width // scale)) == code).all()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_ramp_stays_a_ramp(scale):
    """Cubic convolution reproduces straight lines away from the borders, both ways."""
    ramp = np.tile(np.arange(0, 240, dtype=np.uint8), (48, 1))
    small = bicubic(ramp, 48 // scale, 240 // scale)
    want = (np.arange(240 // scale) + 0.5) * scale - 0.5
    assert np.abs(small[0, 2:-2] - want[2:-2]).max() <= 0.5
    big = bicubic(small, 48, 240)
    assert np.abs(big[0, 12:-12].astype(int) - ramp[0, 12:-12]).max() <= 1


def test_an_impulse_has_the_kernel_s_weights():
    """Doubling a single 255 gives Keys' kernel with a = -0.5 at quarter positions, twice."""
    impulse = np.zeros((9, 9), np.uint8)
    impulse[4, 4] = 255
    row = bicubic(impulse, 9, 18)[4]
    weights = np.array([-0.0234375, -0.0703125, 0.2265625, 0.8671875])
    np.testing.assert_array_equal(row[5:9], np.clip(np.floor(255 * weights + 0.5), 0, 255))
    np.testing.assert_array_equal(row, row[::-1])


def test_mirrored_axes_commute():
    image = np.random.default_rng(0).integers(0, 256, (31, 45, 3), np.uint8)
    small = shrink(image, 2)
    assert small.shape == (15, 22, 3)
    np.testing.assert_array_equal(shrink(image[:30, :44][::-1, ::-1], 2), small[::-1, ::-1])
