"""Parts of frames that are kept: what is made again suffices, and what differs from whole frames is bounded."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rfdn_stream.config import Size
from rfdn_stream.devices.cpu import CpuDevice
from rfdn_stream.engines import regions
from rfdn_stream.engines.compiled import CompiledEngine
from rfdn_stream.engines.graph import GraphEngine
from rfdn_stream.engines.regions import BLOCK, Change, Rect, Regions, changed, rectangles
from rfdn_stream.engines.torch_engine import TorchEngine
from rfdn_stream.errors import ModelError, UsageError
from rfdn_stream.frame import FORMATS, Frame
from rfdn_stream.media.reader import open_source
from rfdn_stream.nets.imdn import IMDN, IMDNOptions
from rfdn_stream.nets.rfdn import RFDN, RFDNOptions
from rfdn_stream.upscaler import Upscaler
from support import assert_frames_equal, random_frame, save_tiny

WITHOUT_ATTENTION = {"B1__esa__conv4__weight": 0.0}  # the same everywhere, whatever ESA has seen


def moved(frame, *at, seed=9):
    """The frame with other codes in the luma [top:bottom, left:right] of each `at`."""
    noise = random_frame(frame.format.name, frame.width, frame.height, seed=seed).planes[0]
    planes = [plane.copy() for plane in frame.planes]
    for top, bottom, left, right in at:
        planes[0][top:bottom, left:right] = noise[top:bottom, left:right]
    return replace(frame, planes=tuple(planes))


# What has changed


@pytest.mark.parametrize("name", FORMATS)
def test_each_changed_sample_marks_its_block_and_no_other(name):
    frame = random_frame(name, 83, 51)
    chance = np.random.default_rng(0)
    for index, plane in enumerate(frame.planes):
        places = [(0, 0), (-1, -1), *(tuple(chance.integers(0, plane.shape[:2])) for _ in range(6))]
        for place in places:
            planes = [p.copy() for p in frame.planes]
            planes[index][place] += 1
            mask = changed(frame.planes, planes, frame.format)
            (row, column), *others = np.argwhere(mask)
            sx, sy = frame.format.subsampling if index else (0, 0)
            y, x = np.arange(plane.shape[0])[place[0]], np.arange(plane.shape[1])[place[1]]
            assert (row, column) == ((y << sy) // BLOCK, (x << sx) // BLOCK)
            assert not others
    assert not changed(frame.planes, frame.planes, frame.format).any()


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 29)), max_size=40), st.sampled_from([0, 24, 60]))
def test_rectangles_cover_what_has_changed_and_cost_no_more_than_one(blocks, margin):
    mask = np.zeros((20, 30), bool)
    for block in blocks:
        mask[block] = True
    height, width = 20 * BLOCK - 5, 30 * BLOCK - 9
    found = rectangles(mask, margin, height, width)
    covered = np.zeros((height, width), bool)
    for rect in found:
        assert 0 <= rect.top < rect.bottom <= height
        assert 0 <= rect.left < rect.right <= width
        covered[rect.top : rect.bottom, rect.left : rect.right] = True
    assert covered[np.kron(mask, np.ones((BLOCK, BLOCK), bool))[:height, :width]].all()
    if blocks:
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        height, width = BLOCK * (np.ptp(rows) + 1) + 2 * margin, BLOCK * (np.ptp(columns) + 1) + 2 * margin
        pieces = sum((r.bottom - r.top + 2 * margin) * (r.right - r.left + 2 * margin) for r in found)
        assert pieces <= height * width
    assert bool(found) == bool(blocks)


def test_far_corners_are_two_rectangles():
    mask = np.zeros((20, 30), bool)
    mask[1, 2] = mask[18, 27] = True
    assert rectangles(mask, 24, 320, 480) == [Rect(16, 32, 32, 48), Rect(288, 304, 432, 448)]


@pytest.mark.parametrize(
    "network",
    [
        RFDN(RFDNOptions(channels=8, blocks=2, attention="esa")),
        RFDN(RFDNOptions(channels=8, blocks=1, attention="cca", block_residual=True)),
        RFDN(RFDNOptions(channels=8, blocks=1, attention="cca", block="base", distillation=1.0)),
        IMDN(IMDNOptions(channels=16, blocks=2)),
    ],
    ids=lambda network: type(network).__name__,
)
def test_reach_is_how_far_a_pixel_is_felt(network):
    """Without attention, whose last layer is made to say the same everywhere."""
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.normal_(parameter, std=0.2)
        if "esa.conv4.weight" in name or "cca" in name:
            parameter.data.zero_()
    network = network.double().eval()
    reach, side = regions.reach(network.options), 81
    picture = torch.rand(1, 3, side, side, dtype=torch.float64)
    other = picture.clone()
    other[..., side // 2, side // 2] += 0.5
    with torch.inference_mode():
        felt = (network(picture) != network(other)).any(dim=1)[0]
    rows, columns = torch.nonzero(felt, as_tuple=True)
    scale, centre = network.options.scale, side // 2
    for axis in (rows, columns):
        assert centre - axis.min().item() // scale == reach
        assert axis.max().item() // scale - centre == reach


# What is made of it


class Counting:
    """An engine that counts pixels."""

    def __init__(self, engine):
        self.engine, self.pixels = engine, []
        self.scale, self.precision, self.description = engine.scale, engine.precision, engine.description

    def __call__(self, rgb):
        self.pixels.append(rgb.shape[1] * rgb.shape[2])
        return self.engine(rgb)


def both_ways(model, frames, **options):
    """Whole frames, frames in regions, and the pixels that the latter took."""
    with Upscaler(model, device=CpuDevice(check=True), reuse="off", **options) as upscaler:
        whole = list(upscaler.map(frames))
    with Upscaler(model, device=CpuDevice(check=True), reuse="regions", **options) as upscaler:
        upscaler.engine = counting = Counting(upscaler.engine)
        parts = list(upscaler.map(frames))
        work = upscaler.work
    assert work.frames == len(frames)
    return whole, parts, counting.pixels


def most(got, want):
    return max(int(np.abs(a.astype(int) - b.astype(int)).max()) for a, b in zip(got.planes, want.planes, strict=True))


@pytest.fixture(scope="module")
def flat_model(tmp_path_factory):
    """Its attention is the same everywhere."""
    return save_tiny(tmp_path_factory.mktemp("flat") / "flat-x2.safetensors", **WITHOUT_ATTENTION)


@pytest.mark.parametrize("name", ["yuv420p", "nv12", "rgb24", "yuv422p10le"])
@pytest.mark.parametrize("depth", [1, 3])
def test_but_for_attention_parts_are_as_good_as_wholes(flat_model, name, depth):
    """Changes at corners, edges and in the middle; sums in another order may flip a code."""
    frames = [random_frame(name, 230, 170, pts=0)]
    for pts, at in enumerate([(0, 9, 0, 5), (160, 170, 200, 230), (80, 90, 100, 120), (0, 170, 110, 111)], 1):
        frames.append(replace(moved(frames[-1], at, seed=pts), pts=pts))
    frames.append(replace(moved(frames[-1], (3, 8, 3, 8), (150, 160, 200, 210)), pts=9))
    whole, parts, pixels = both_ways(flat_model, frames, depth=depth, engine="torch", precision="fp32")
    for a, b in zip(parts, whole, strict=True):
        assert a.pts == b.pts
        assert most(a, b) <= 1 << frames[0].format.shift
        assert np.mean([np.mean(p != q) for p, q in zip(a.planes, b.planes)]) < 0.001
    assert pixels[0] == 230 * 170
    assert len(pixels) == len(frames) + 1  # the last one in two parts
    assert max(pixels[1:]) < 0.5 * 230 * 170


def test_too_small_a_reach_would_be_seen(flat_model, monkeypatch):
    """The test above finds what it is for."""
    monkeypatch.setattr(regions, "CHROMA", -4)
    monkeypatch.setattr(regions, "reach", lambda options: 1)
    first = random_frame(width=230, height=170)
    whole, parts, _ = both_ways(flat_model, [first, moved(first, (80, 90, 100, 120))], engine="torch", precision="fp32")
    assert most(parts[1], whole[1]) > 1


def test_with_attention_it_is_a_code_or_two(clips):
    """The default model, on a real picture of which a part goes on; docs/reuse.md has more of this."""
    with open_source(clips / "bigbuckbunny.mp4", 3.6, 0.15) as source:
        picture, _, _, later = (item for item in source.items() if isinstance(item, Frame))
    whole, parts, pixels = both_ways("erfdn-x2-video", [cut(picture), cut(picture, later)])
    assert pixels[1] < 0.5 * pixels[0]
    assert_frames_equal(parts[0], whole[0])
    assert 0 < most(parts[1], whole[1]) <= 3
    assert all(psnr(a, b) > 60 for a, b in zip(parts[1].planes, whole[1].planes, strict=True))


def cut(picture, other=None):
    """320x240 from the middle of a picture, with 48x48 of another one in it."""
    planes = []
    for index, plane in enumerate(picture.planes):
        by = 1 if index == 0 else 2
        y, x, rows, columns, side = 240 // by, 480 // by, 240 // by, 320 // by, 48 // by
        part = plane[y : y + rows, x : x + columns].copy()
        if other is not None:
            part[rows // 2 :, columns // 2 :][:side, :side] = other.planes[index][:side, :side]
        planes.append(part)
    return replace(picture, planes=tuple(planes), width=320, height=240)


def psnr(one, other):
    error = np.mean((one.astype(float) - other) ** 2)
    return np.inf if error == 0 else 10 * np.log10(255**2 / error)


def test_what_changes_everywhere_is_made_whole_and_only_once(flat_model):
    frames = [random_frame(width=120, height=90, seed=seed) for seed in range(3)]
    _, _, pixels = both_ways(flat_model, frames)
    assert pixels == [120 * 90] * 3


def test_after_a_while_the_whole_is_made(flat_model, monkeypatch):
    monkeypatch.setattr(regions, "AGE", 3)
    frames = [random_frame(width=200, height=160)]
    for pts in range(1, 9):
        frames.append(moved(frames[-1], (4, 9, 4, 9), seed=pts))
    _, _, pixels = both_ways(flat_model, frames)
    assert [count == 200 * 160 for count in pixels] == [True, False, False, False] * 2 + [True]


# Failures, and what does not go together


@pytest.mark.parametrize("fail", ["nan", RuntimeError("injected")])
def test_nothing_is_built_on_a_frame_that_failed(flat_model, fail):
    first = random_frame(width=200, height=160)
    second = moved(first, (4, 9, 4, 9))
    third = moved(second, (100, 120, 100, 120))
    whole, _, _ = both_ways(flat_model, [first, second, third])
    with Upscaler(flat_model, device=CpuDevice(check=True), reuse="regions") as upscaler:
        counting, calls = Counting(upscaler.engine), []

        def failing(rgb):
            calls.append(rgb.shape)
            if len(calls) == 2 and fail != "nan":
                raise fail
            return counting(rgb) * (float("nan") if len(calls) == 2 else 1)

        for name in ("scale", "precision", "description"):
            setattr(failing, name, getattr(counting, name))
        upscaler.engine = failing
        tickets = [upscaler.submit(frame) for frame in (first, second, third)]
        with pytest.raises((ModelError, RuntimeError), match=r"NaN|injected"):
            tickets[1].result()
        assert most(tickets[2].result(), whole[2]) == 0
        assert counting.pixels[-1] == 200 * 160


def test_a_picture_that_was_not_seen_makes_the_next_one_whole():
    def engine(rgb):
        seen.append(rgb.shape[1:])
        return rgb.repeat_interleave(2, 1).repeat_interleave(2, 2)

    engine.scale, seen = 2, []
    made = Regions(RFDNOptions(blocks=1))
    part, picture = [(Rect(0, 8, 0, 8), Rect(0, 16, 0, 16))], torch.rand(3, 64, 64)
    made(engine, picture, Change(1))
    made(engine, picture, Change(2, part))
    made(engine, picture, Change(4, part))
    assert seen == [(64, 64), (16, 16), (64, 64)]


def test_engines_that_prepare_each_size_are_refused(tiny_model, monkeypatch):
    monkeypatch.setattr(TorchEngine, "prepares", True, raising=False)
    with pytest.raises(UsageError, match=r"regions does not go with torch fp32 .*; choose engine torch, or frames"):
        Upscaler(tiny_model, device="cpu", engine="torch", precision="fp32", reuse="regions")
    with pytest.raises(UsageError, match="regions takes one frame at a time, not a batch of 4"):
        Upscaler(tiny_model, device="cpu", reuse="regions", batch=4)
    assert GraphEngine.prepares
    assert CompiledEngine.prepares


def test_strength_and_size_come_after(flat_model):
    """What is kept is what the engine gave; the rest is done to the whole picture."""
    first = random_frame(width=200, height=160)
    frames = [first, moved(first, (4, 9, 4, 9))]
    whole, parts, pixels = both_ways(flat_model, frames, strength=0.4, size=Size(1.5), engine="torch", precision="fp32")
    assert most(parts[1], whole[1]) <= 1
    assert pixels[1] < pixels[0] / 2
