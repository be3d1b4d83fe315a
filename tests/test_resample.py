"""Plain resampling against float64 sums written out from the kernels' formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rfdn_stream.errors import UsageError
from rfdn_stream.kernels.resample import KERNELS, resample

# The kernels once more, one distance at a time: (weight, half its width).
POINTWISE = {
    "lanczos": (lambda x: np.sinc(x) * np.sinc(x / 3) if abs(x) < 3 else 0.0, 3),
    "cubic": (
        lambda x: (
            1.5 * abs(x) ** 3 - 2.5 * x * x + 1
            if abs(x) <= 1
            else -0.5 * abs(x) ** 3 + 2.5 * x * x - 4 * abs(x) + 2
            if abs(x) < 2
            else 0.0
        ),
        2,
    ),
}


def row_of_weights(i, source, target, kernel):
    """What output sample i takes of each source sample, borders repeated."""
    ratio, row = source / target, np.zeros(source)
    if kernel == "area":  # how much of each source pixel lies inside the output pixel
        for j in range(source):
            row[j] = max(0.0, min((i + 1) * ratio, j + 1) - max(i * ratio, j))
    else:
        weight, half = POINTWISE[kernel]
        stretch, centre = max(ratio, 1.0), (i + 0.5) * ratio - 0.5
        for j in range(int(centre - half * stretch) - 2, int(centre + half * stretch) + 3):
            row[min(max(j, 0), source - 1)] += weight((centre - j) / stretch)
    return row / row.sum()


def reference(picture, height, width, kernel):
    down, across = (
        np.array([row_of_weights(i, source, target, kernel) for i in range(target)])
        for source, target in zip(picture.shape[-2:], (height, width), strict=True)
    )
    return down @ picture.astype(np.float64) @ across.T


def assert_close(got, want, atol=1e-6):
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=0, atol=atol)


@pytest.mark.parametrize("kernel", KERNELS)
@given(data=st.data())
def test_any_size_to_any_size(kernel, data):
    # Up to sizes that take several blocks, both ways.
    (height, width), (tall, wide) = (data.draw(st.tuples(st.integers(1, 30), st.integers(1, 110))) for _ in range(2))
    picture = np.random.default_rng(0).random((2, height, width), np.float32)
    got = resample(torch.from_numpy(picture), tall, wide, kernel)
    assert got.is_contiguous()
    assert_close(got, torch.from_numpy(reference(picture, tall, wide, kernel)), 2e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_same_size_is_the_same_picture(kernel):
    picture = torch.rand(3, 40, 70)
    got = resample(picture, 40, 70, kernel)
    assert_close(got, picture, 1e-7)
    assert got.data_ptr() != picture.data_ptr()


def test_known_values():
    step = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    assert_close(resample(step, 1, 2, "area"), torch.tensor([[0.0, 1.0]]))
    assert_close(resample(step, 1, 8, "area"), step.repeat_interleave(2, 1))
    # Catmull-Rom at a quarter and at three quarters of the way: -9/128, 111/128, 29/128, -3/128.
    assert_close(resample(step, 1, 8, "cubic")[0, 3:5], torch.tensor([26 / 128, 102 / 128]))
    edge = resample(torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]), 1, 12)
    assert edge.min() < -0.03  # Lanczos overshoots, and nothing is clamped
    assert edge.max() > 1.03


def test_shrinking_averages_instead_of_picking():
    """A checkerboard has no place at half its size: antialiased, it is grey."""
    y, x = np.mgrid[:64, :64]
    checks = torch.from_numpy(((x + y) % 2).astype(np.float32))
    for kernel in KERNELS:
        inner = resample(checks, 32, 32, kernel)[4:-4, 4:-4]
        assert (inner - 0.5).abs().max() < 0.01, kernel


def test_any_strides_and_mirrored_pictures():
    picture = torch.rand(3, 33, 50)
    want = resample(picture, 66, 100)
    strided = picture.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert torch.equal(resample(strided, 66, 100), want)
    assert torch.equal(resample(picture[None, None], 66, 100)[0, 0], want)
    assert_close(resample(picture.flip(-1), 66, 100).flip(-1), want, 1e-6)
    assert_close(resample(picture.mT, 100, 66).mT, want, 1e-6)


def test_wrong_requests():
    with pytest.raises(UsageError, match="unknown resampling kernel 'lancsoz'; choose lanczos, cubic, area"):
        resample(torch.rand(3, 8, 8), 16, 16, "lancsoz")
    with pytest.raises(UsageError, match="asked for 16x0"):
        resample(torch.rand(3, 8, 8), 0, 16)


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_gpu_gives_the_same(kernel):
    picture = torch.rand(3, 90, 160)
    for height, width in ((180, 320), (37, 61)):
        got = resample(picture.cuda(), height, width, kernel).cpu()
        assert_close(got, resample(picture, height, width, kernel), 2e-6)
