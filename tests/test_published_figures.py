"""The figures that the authors' weights are published with, as `rfdn-stream evaluate` measures them.

Needs the benchmark images and the weights, which are not part of the project: see CONTRIBUTING.md.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from rfdn_stream.evaluation.benchmark import evaluate_pictures
from rfdn_stream.evaluation.enlargers import open_enlargers
from rfdn_stream.evaluation.resize import shrink

BENCH, OFFICIAL = os.environ.get("RFDN_BENCH_DIR", ""), os.environ.get("RFDN_OFFICIAL_WEIGHTS", "")
PICTURES = {"Set5": 5, "Set14": 14}

needs_bench = pytest.mark.skipif(not BENCH, reason="RFDN_BENCH_DIR names no folder of benchmark images")
needs_weights = pytest.mark.skipif(not OFFICIAL, reason="RFDN_OFFICIAL_WEIGHTS names no weights file")


def scores(model, name, **options):
    with open_enlargers([model], **options) as (enlarger,):
        score = evaluate_pictures(enlarger, Path(BENCH) / name)
    assert len(score.pictures) == PICTURES[name]
    return score.psnr_y, score.ssim_y


@needs_bench
@needs_weights
@pytest.mark.parametrize(("name", "decibel", "similarity"), [("Set5", 32.159, 0.8946), ("Set14", 28.645, 0.7825)])
def test_official_weights(name, decibel, similarity):
    psnr, ssim = scores(OFFICIAL, name, precision="fp32")
    assert psnr == pytest.approx(decibel, abs=0.005)
    assert ssim == pytest.approx(similarity, abs=0.0002)


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
        psnr, ssim = scores("bicubic", name, scale=scale)
        assert psnr == pytest.approx(want[0], abs=0.01)
        assert ssim == pytest.approx(want[1], abs=0.0005)


@needs_bench
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_our_small_pictures_are_matlab_s(scale):
    for name in PICTURES:
        for path in sorted((Path(BENCH) / name / f"x{scale}" / "HR").glob("*.png")):
            hr = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            lr = cv2.imread(str(path.parents[1] / "LR" / path.name), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(shrink(hr, scale), lr)
