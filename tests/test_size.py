"""Results of any size: what is asked for, which network is taken, and what comes out."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from media_samples import make_clip, probe_streams
from rfdn_stream import upscale
from rfdn_stream.cli.app import run
from rfdn_stream.config import Size
from rfdn_stream.devices.cpu import CpuDevice
from rfdn_stream.errors import UsageError
from rfdn_stream.jobs.size import network_scales
from rfdn_stream.kernels import reference
from rfdn_stream.kernels.resample import resample
from rfdn_stream.media.image import read_image, write_image
from rfdn_stream.nets.catalogue import open_model
from rfdn_stream.upscaler import Upscaler
from support import assert_frames_equal, random_frame


@pytest.mark.parametrize(
    ("size", "source", "result"),
    [
        (Size(scale=2), (641, 271), (1282, 542)),
        (Size(scale=1.5), (1280, 720), (1920, 1080)),
        (Size(scale=1.1), (100, 100), (110, 110)),
        (Size(scale=0.001), (100, 100), (2, 2)),
        (Size(scale=3.5), (20000, 1000), (70000, 3500)),  # panoramas keep their shape
        (Size(height=1080), (1280, 720), (1920, 1080)),
        (Size(height=1080), (640, 272), (2542, 1080)),  # 2541.2: sides that follow are even
        (Size(width=1920), (1440, 1080), (1920, 1440)),
        (Size(width=999), (333, 111), (999, 333)),  # a whole multiple is exact
        (Size(width=1000, height=1001), (640, 480), (1000, 1001)),
        (Size(fit=(1920, 1080)), (640, 480), (1440, 1080)),
        (Size(fit=(1920, 1080)), (640, 272), (1920, 816)),
        (Size(fit=(1923, 1083)), (1280, 720), (1922, 1082)),  # the nearest even number is outside
    ],
)
def test_what_is_asked_for_is_the_size(size, source, result):
    assert size.of(*source) == result
    assert size.turned().of(*source[::-1]) == result[::-1]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "give one of these three"),
        ({"scale": 2, "height": 100}, "give one of these three"),
        ({"fit": (1, 1), "width": 100}, "give one of these three"),
        ({"scale": 0}, "scale 0 is outside its range; choose a number above 0, up to 16"),
        ({"scale": float("nan")}, "scale nan is outside its range"),
        ({"scale": 17}, "scale 17 is outside its range"),
        ({"width": 0}, "width 0 is outside its range; choose 1 to 65536 pixels"),
        ({"height": 70000}, "height 70000 is outside its range"),
        ({"fit": (1920, 0)}, "fit 0 is outside its range"),
    ],
)
def test_other_sizes_are_refused(values, words):
    with pytest.raises(UsageError, match=words):
        Size(**values)


def test_the_networks_enlarge_enough(tiny_model, caplog):
    def chosen(size, model=None):
        return network_scales(size, 640, 480, model)

    assert chosen(None) is None
    assert chosen(Size(scale=1.5)) == chosen(Size(height=960)) == chosen(Size(height=300)) == (2,)
    assert chosen(Size(scale=4)) == (4,)
    assert chosen(Size(height=700), tiny_model) == (2,)
    assert chosen(Size(width=1920, height=480)) == (3,)
    assert chosen(Size(scale=8)) == (2, 4)
    assert chosen(Size(scale=5)) == (2, 3)  # and down again
    assert chosen(Size(scale=16)) == (4, 4)
    assert chosen(Size(scale=4), tiny_model) == (2, 2)
    assert chosen(Size(scale=16), tiny_model) == (2, 2, 2, 2)
    assert not caplog.messages
    assert chosen(Size(width=1400, height=480), tiny_model) == (2,)  # a second network costs more than that is worth
    assert caplog.messages == ["no model here enlarges by 2.19; enlarged by 2, the rest is resampled"]


@pytest.mark.parametrize(("size", "strength"), [((66, 63), 1.0), ((20, 10), 1.0), ((66, 63), 0.4), ((31, 47), 0.0)])
def test_what_the_network_gives_is_resampled_before_it_is_rounded(tiny_model, size, strength):
    frame = random_frame("rgb24", 33, 21, seed=4)
    rgb = torch.from_numpy(reference.to_rgb(frame.planes, frame.format, frame.color)).float()
    network, _ = open_model(tiny_model)
    with torch.inference_mode():
        big = resample(network(rgb[None])[0], size[1], size[0]).double()
    want = strength * big + (1 - strength) * resample(rgb, size[1], size[0]).double()
    codes = reference.quantise(reference.from_rgb(want.numpy(), frame.format, frame.color), frame.format)
    options = {"device": CpuDevice(check=True), "size": Size(width=size[0], height=size[1]), "strength": strength}
    with Upscaler(tiny_model, **options) as upscaler:
        got = upscaler.submit(frame).result()
    assert (got.width, got.height) == size
    difference = np.abs(got.planes[0].astype(int) - codes[0].astype(int))
    assert difference.max() <= 1  # float32 sums differ by their order, so that a code may flip at its edge
    assert (difference > 0).mean() < 0.02


def test_the_networks_own_size_is_left_as_it_is(tiny_model):
    frame = random_frame(pts=3)
    with Upscaler(tiny_model) as plain, Upscaler(tiny_model, size=Size(scale=2)) as sized:
        assert_frames_equal(sized.submit(frame).result(), plain.submit(frame).result())


def video_of(path, **options):
    """(width, height, pixel aspect ratio, clockwise turn) of a video, by an independent reader."""
    (stream,) = probe_streams(path)
    turn = [-round(float(data["rotation"])) % 360 for data in stream.get("side_data_list", []) if "rotation" in data]
    return stream["width"], stream["height"], Fraction(stream["sample_aspect_ratio"].replace(":", "/")), turn


@pytest.mark.parametrize("extension", ["mkv", "mp4"])
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        (["--scale", "1.5"], (96, 72, Fraction(1))),
        (["--height", "100"], (134, 100, Fraction(1))),
        (["--fit", "100x100"], (100, 76, Fraction(1))),
        (["--width", "96", "--height", "36"], (96, 36, Fraction(1, 2))),  # stretched, and shown as before
    ],
)
def test_videos_of_any_size(tiny_model, tmp_path, extension, options, shape):
    clip = make_clip(tmp_path / "in.mkv", frames=3, sar=Fraction(1))
    target = tmp_path / f"out.{extension}"
    assert run(["upscale", str(clip), str(target), "--model", str(tiny_model), "-q", *options]) == 0
    assert video_of(target)[:3] == shape


def test_a_video_that_lies_on_its_side_is_measured_as_it_is_shown(tiny_model, tmp_path):
    turned = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    clip = make_clip(tmp_path / "in.mp4", frames=2, matrix=turned, sar=Fraction(1))
    result = upscale(clip, tmp_path / "out.mp4", model=tiny_model, height=96)  # shown as 48x64
    assert (result.width, result.height) == (96, 72)
    assert video_of(result.target) == (96, 72, Fraction(1), video_of(clip)[3])
    assert len(video_of(clip)[3]) == 1


def test_pictures_of_any_size(tiny_model, tmp_path):
    write_image(tmp_path / "in.png", random_frame("rgb24", 30, 20))
    result = upscale(tmp_path / "in.png", tmp_path / "out.png", model=tiny_model, width=45)
    assert (result.width, result.height) == (45, 30)
    frame, _, _ = read_image(tmp_path / "out.png")
    assert (frame.width, frame.height) == (45, 30)


def test_networks_in_sequence_round_nothing_in_between(tiny_model):
    """x4 from x2 twice: float from the first network to the second, clamped to [0, 1]."""
    frame = random_frame("rgb24", 21, 19, seed=4)
    rgb = torch.from_numpy(reference.to_rgb(frame.planes, frame.format, frame.color)).float()
    network, _ = open_model(tiny_model)
    with torch.inference_mode():
        between = network(rgb[None]).clamp(0, 1)
        assert not torch.equal(between, (between * 255).round() / 255)
        want = network(between)[0].double().numpy()
    codes = reference.quantise(reference.from_rgb(want, frame.format, frame.color), frame.format)
    options = {"device": CpuDevice(check=True), "engine": "torch", "precision": "fp32"}
    with Upscaler(tiny_model, scale=4, **options) as upscaler:
        assert (upscaler.scale, len(upscaler.models)) == (4, 2)
        assert "tiny-x2 then tiny-x2" in upscaler.description
        got = upscaler.submit(frame).result()
        batch = [ticket.result() for ticket in upscaler.submit_all([frame, frame, frame], fresh=True)]
    for big in (got, *batch):
        assert np.abs(big.planes[0].astype(int) - codes[0].astype(int)).max() <= 1


def test_the_first_of_several_networks_meets_the_source_and_the_others_a_network_s_picture():
    with Upscaler(scale=8, device="cpu") as upscaler:
        assert [model.name for model in upscaler.models] == ["erfdn-x2-video", "erfdn-x4-clean"]
    with Upscaler(scale=8, denoise=0.0, device="cpu") as upscaler:
        assert [model.name for model in upscaler.models] == ["erfdn-x2-clean", "erfdn-x4-clean"]
    with pytest.raises(UsageError, match="no model for scale 5"):
        Upscaler(scale=5, device="cpu")
    with pytest.raises(UsageError, match="goes with one network"):
        Upscaler(scale=8, device="cpu", reuse="regions")
