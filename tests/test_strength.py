"""How much of the network is taken (strength), and which network it is between two (denoise)."""

import cv2
import numpy as np
import pytest
import torch

from rfdn_stream import upscale
from rfdn_stream.cli.app import run
from rfdn_stream.devices.cpu import CpuDevice
from rfdn_stream.errors import RfdnError, UsageError
from rfdn_stream.evaluation.metrics import psnr_y
from rfdn_stream.evaluation.resize import shrink
from rfdn_stream.kernels import reference
from rfdn_stream.kernels.resample import resample
from rfdn_stream.nets.blend import blend, denoised
from rfdn_stream.nets.catalogue import open_model
from rfdn_stream.upscaler import Upscaler
from support import EXAMPLES, assert_frames_equal, random_frame

CLEAN, VIDEO = "erfdn-x2-clean", "erfdn-x2-video"


def enlarged(frame, model, **options):
    with Upscaler(model, device=CpuDevice(check=True), **options) as upscaler:
        return upscaler.submit(frame).result()


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("name", ["yuv420p", "rgb24", "yuv420p10le"])
def test_the_blend_is_taken_in_rgb(tiny_model, strength, name):
    frame = random_frame(name, 33, 21, seed=4)
    rgb = torch.from_numpy(reference.to_rgb(frame.planes, frame.format, frame.color))
    network, _ = open_model(tiny_model)
    with torch.inference_mode():
        big = network(rgb.float()[None])[0].double()
    want = strength * big + (1 - strength) * resample(rgb.float(), 42, 66).double()
    codes = reference.quantise(reference.from_rgb(want.numpy(), frame.format, frame.color), frame.format)
    got = enlarged(frame, tiny_model, strength=strength, engine="torch", precision="fp32")
    for a, b in zip(got.planes, codes, strict=True):
        difference = np.abs(a.astype(int) - b.astype(int))
        assert difference.max() <= 1  # float32 sums differ by their order, so that a code may flip at its edge
        assert (difference > 0).mean() < 0.02


def test_full_strength_is_the_default_and_none_leaves_the_network_out(tiny_model, monkeypatch):
    frame = random_frame(pts=5)
    assert_frames_equal(enlarged(frame, tiny_model, strength=1), enlarged(frame, tiny_model))
    with Upscaler(tiny_model, strength=0) as upscaler:
        monkeypatch.setattr(type(upscaler.engine), "__call__", lambda *_: pytest.fail("the network ran"))
        assert upscaler.submit(frame).result().pts == 5
        assert upscaler.description == "Lanczos on cpu, as strength 0 leaves the network out"


def test_what_runs_is_said(tiny_model):
    with Upscaler(tiny_model, strength=0.25, engine="torch") as upscaler:
        assert upscaler.description.startswith("tiny-x2 on cpu, torch")
        assert upscaler.description.endswith(", strength 0.25")
    with Upscaler(tiny_model) as upscaler:
        assert "strength" not in upscaler.description
    with Upscaler(denoise=0.25) as upscaler:
        assert upscaler.description.startswith(f"0.75 {CLEAN} + 0.25 {VIDEO} on cpu")


def test_a_network_that_fails_fails_the_blend_too(tiny_model, monkeypatch):
    with Upscaler(tiny_model, strength=0.5) as upscaler:
        broken = torch.full((3, 56, 72), float("nan"))
        monkeypatch.setattr(type(upscaler.engine), "__call__", lambda *_: broken)
        with pytest.raises(RfdnError, match="NaN"):
            upscaler.submit(random_frame()).result()


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("amount", "kind"), [(0, "clean"), (1.0, "video")])
def test_the_ends_are_the_plain_models(scale, amount, kind):
    (got, got_spec), (want, want_spec) = denoised(scale, amount), open_model(f"erfdn-x{scale}-{kind}")
    assert got_spec == want_spec
    for a, b in zip(got.parameters(), want.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_middle_lies_between():
    (a, _), (b, _), (middle, spec) = open_model(CLEAN), open_model(VIDEO), blend(CLEAN, VIDEO, 0.5)
    for low, high, weight in zip(a.parameters(), b.parameters(), middle.parameters(), strict=True):
        assert torch.allclose(weight, (low + high) / 2, rtol=0, atol=1e-6)
        assert not weight.requires_grad
    assert spec.name == f"0.5 {CLEAN} + 0.5 {VIDEO}"
    assert (spec.scale, spec.licence, spec.scores) == (2, "MIT", {})
    checksums = {blend(CLEAN, VIDEO, share)[1].sha256 for share in (0, 0.25, 0.5, 1)}
    assert len(checksums) == 4


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_network_between_two_is_as_good_as_they_are(scale):
    """On a real picture, as sharp as it is and as an encoder leaves it: PSNR between theirs, or above both."""
    sharp = cv2.imread(str(EXAMPLES / "bunny.png"))[60:156, 80:200]
    small = shrink(sharp, scale)
    _, packed = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 70])
    for picture in (small, cv2.imdecode(packed, cv2.IMREAD_COLOR)):
        score = []
        for amount in (0, 0.5, 1):
            with Upscaler(scale=scale, denoise=amount) as upscaler:
                score.append(psnr_y(upscaler(picture[..., ::-1]), sharp[..., ::-1], scale))
        assert score[1] >= min(score[0], score[2]), score
        assert len({round(s, 3) for s in score}) == 3


def test_only_one_network_can_be_mixed(tiny_model):
    _, tiny = open_model(tiny_model)
    with pytest.raises(UsageError, match="tiny-x2 and erfdn-x2-video are not the same network"):
        blend(tiny, VIDEO, 0.5)
    with pytest.raises(UsageError, match=r"between 0 and 1, not at 1\.5"):
        blend(CLEAN, VIDEO, 1.5)
    with pytest.raises(UsageError, match="scale 5 has none for video; leave denoise out"):
        denoised(5, 0.5)
    with pytest.raises(UsageError, match="no model 'erfdn-x2-none'"):
        blend(CLEAN, "erfdn-x2-none", 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strength", "1.5"], r"strength 1\.5 is outside its range; choose 0"),
        (["--strength", "nan"], "strength nan is outside"),
        (["--strength", "-0.1"], r"strength -0\.1 is outside"),
        (["--denoise", "2"], "denoise 2 is outside its range; choose 0"),
        (["--denoise", "0.5", "--model", CLEAN], "leave out one of the two, model or denoise"),
    ],
)
def test_impossible_requests_leave_nothing(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        run(["upscale", str(EXAMPLES / "bunny.png"), str(tmp_path / "out.png"), *options])
    assert list(tmp_path.iterdir()) == []


def test_files_take_both_options(tmp_path):
    upscale(EXAMPLES / "bunny.png", tmp_path / "plain.png", strength=0)
    source, got = (cv2.imread(str(path)) for path in (EXAMPLES / "bunny.png", tmp_path / "plain.png"))
    rgb = torch.from_numpy(source).permute(2, 0, 1).float() / 255
    want = resample(rgb, 2 * source.shape[0], 2 * source.shape[1]).clamp(0, 1) * 255
    assert np.abs(got - want.permute(1, 2, 0).numpy()).max() < 0.51
    small = source[60:92, 80:120]
    cv2.imwrite(str(tmp_path / "small.png"), small)
    arguments = ["upscale", str(tmp_path / "small.png"), str(tmp_path / "mixed.png"), "--denoise", "0.5", "-q"]
    assert run([*arguments, "--strength", "0.5"]) == 0
    with Upscaler(denoise=0.5, strength=0.5) as upscaler:
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / "mixed.png"))[..., ::-1], upscaler(small[..., ::-1]))
