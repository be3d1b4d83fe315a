"""PSNR and SSIM against their definitions."""

import numpy as np
import pytest

from rfdn_stream.errors import UsageError
from rfdn_stream.evaluation.metrics import luma, psnr_y, ssim_y


def grey(value, size=24):
    return np.full((size, size, 3), value, np.uint8)


def noise(height=23, width=29, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("rgb", "y"),
    [
        ((0, 0, 0), 16),
        ((255, 255, 255), 235),
        ((255, 0, 0), 81.481),
        ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966),
        ((128, 128, 128), 16 + 219 * 128 / 255),
    ],
)
def test_luma_is_bt601_and_not_rounded(rgb, y):
    assert luma(np.full((2, 3, 3), rgb, np.uint8)) == pytest.approx(np.full((2, 3), y), abs=1e-12)


def test_psnr_of_a_known_difference():
    # One code of grey is 219/255 of luma; rounded to 8 bits it would be one or none.
    assert psnr_y(grey(101), grey(100), 2) == pytest.approx(20 * np.log10(255 * 255 / 219), abs=1e-9)
    assert psnr_y(noise(), noise(), 2) == float("inf")


def test_border_is_left_out_and_nothing_but_the_border():
    a, b = noise(), noise()
    b[:3], b[-3:], b[:, :3], b[:, -3:] = 0, 0, 0, 0
    assert psnr_y(a, b, 3) == float("inf")
    assert ssim_y(a, b, 3) == 1
    assert psnr_y(a, b, 2) < 40


def ssim_by_definition(a, b):
    """One window after another, from the paper's formula."""
    t = np.arange(-5, 6)
    window = np.exp(-(t**2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2
    values = []
    for top in range(a.shape[0] - 10):
        for left in range(a.shape[1] - 10):
            x, y = a[top : top + 11, left : left + 11], b[top : top + 11, left : left + 11]
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            cxy = (window * (x - mx) * (y - my)).sum()
            c1, c2 = 2.55**2, 7.65**2
            values.append((2 * mx * my + c1) * (2 * cxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return np.mean(values)


def test_ssim_is_the_definition():
    a = noise()
    b = np.clip(a.astype(int) + noise(seed=1) // 8, 0, 255).astype(np.uint8)
    want = ssim_by_definition(luma(a)[4:-4, 4:-4], luma(b)[4:-4, 4:-4])
    assert 0.5 < want < 0.999
    assert ssim_y(a, b, 4) == pytest.approx(want, abs=1e-10)


def test_ssim_of_flat_pictures():
    x, y = luma(grey(60))[0, 0], luma(grey(90))[0, 0]
    assert ssim_y(grey(60), grey(90), 0) == pytest.approx((2 * x * y + 2.55**2) / (x**2 + y**2 + 2.55**2), abs=1e-6)


@pytest.mark.parametrize("measure", [psnr_y, ssim_y])
def test_what_cannot_be_compared_is_refused(measure):
    with pytest.raises(UsageError, match="one size"):
        measure(grey(1, 24), grey(1, 25), 2)
    with pytest.raises(UsageError, match="a border of 12 leaves 0x0 pixels"):
        measure(grey(1), grey(1), 12)
    with pytest.raises(UsageError, match="uint8 array"):
        measure(grey(1) / 255, grey(1) / 255, 2)


def test_ssim_needs_a_whole_window():
    assert ssim_y(noise(15, 15), noise(15, 15), 2) == 1
    with pytest.raises(UsageError, match="11x11 or more"):
        ssim_y(noise(15, 14), noise(15, 14), 2)
