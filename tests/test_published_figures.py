"""The figures that the authors' weights are published with, through the very path that video frames take.

Needs the benchmark images and the weights, which are not part of the project: see CONTRIBUTING.md.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from rfdn_stream import Upscaler
from rfdn_stream.evaluation.metrics import psnr_y, ssim_y
from rfdn_stream.evaluation.resize import bicubic, shrink

BENCH, OFFICIAL = os.environ.get("RFDN_BENCH_DIR", ""), os.environ.get("RFDN_OFFICIAL_WEIGHTS", "")

needs_bench = pytest.mark.skipif(not BENCH, reason="RFDN_BENCH_DIR names no folder of benchmark images")
needs_weights = pytest.mark.skipif(not OFFICIAL, reason="RFDN_OFFICIAL_WEIGHTS names no weights file")


def rgb(path):
    """A picture as RGB; grey ones count as R = G = B."""
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1])


def pairs(name, scale):
    folder = Path(BENCH) / name / f"x{scale}"
    paths = sorted((folder / "HR").glob("*.png"))
    assert len(paths) == {"Set5": 5, "Set14": 14}[name]
    for path in paths:
        hr, lr = rgb(path), rgb(folder / "LR" / path.name)
        height, width = lr.shape[0] * scale, lr.shape[1] * scale
        yield hr[:height, :width], lr


def scores(name, scale, enlarge):
    measured = [(psnr_y(enlarge(lr), hr, scale), ssim_y(enlarge(lr), hr, scale)) for hr, lr in pairs(name, scale)]
    return tuple(np.mean(measured, axis=0))


@needs_bench
@needs_weights
@pytest.mark.parametrize(("name", "decibel", "similarity"), [("Set5", 32.159, 0.8946), ("Set14", 28.645, 0.7825)])
def test_official_weights(name, decibel, similarity):
    with Upscaler(OFFICIAL, scale=4, precision="fp32") as upscaler:
        cache = {}

        def enlarge(lr):
            key = lr.tobytes()
            if key not in cache:
                cache[key] = upscaler(lr)
            return cache[key]

        got = scores(name, 4, enlarge)
    assert got == pytest.approx((decibel, similarity), abs=0.005)
    assert got[1] == pytest.approx(similarity, abs=0.0002)


@needs_bench
@pytest.mark.parametrize(
    ("scale", "set5", "set14"),
    [
        (2, (33.67, 0.9303), (30.32, 0.8699)),
        (3, (30.40, 0.8689), (27.63, 0.7759)),
        (4, (28.43, 0.8111), (26.09, 0.7048)),
    ],
)
def test_bicubic(scale, set5, set14):
    for name, want in (("Set5", set5), ("Set14", set14)):
        got = scores(name, scale, lambda lr: bicubic(lr, lr.shape[0] * scale, lr.shape[1] * scale))
        assert got[0] == pytest.approx(want[0], abs=0.01)
        assert got[1] == pytest.approx(want[1], abs=0.0005)


@needs_bench
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_our_small_pictures_are_matlab_s(scale):
    for name in ("Set5", "Set14"):
        for path in sorted((Path(BENCH) / name / f"x{scale}" / "HR").glob("*.png")):
            hr = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            lr = cv2.imread(str(path.parents[1] / "LR" / path.name), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(shrink(hr, scale), lr)
