"""Training data: every batch a pure function of its number, LR and HR of the same place, nothing lost in silence."""

import os
import shutil
import subprocess
import sys
from itertools import islice

import cv2
import numpy as np
import pytest
import torch

from media_samples import make_clip
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.evaluation.resize import bicubic, shrink
from rfdn_stream.frame import FORMATS
from rfdn_stream.media.frames import plane_views
from rfdn_stream.training import clips, crops
from rfdn_stream.training.data import DataOptions, open_batches
from rfdn_stream.training.degrade import degrade, draw
from rfdn_stream.training.resident import Resident
from rfdn_stream.training.sources import find, pictures, set_aside


@pytest.fixture(scope="module")
def photos(tmp_path_factory, clips):
    """Eight stills of a real film, 480x400, whose names put one aside."""
    from rfdn_stream.media.reader import open_source
    from rfdn_stream.training.sources import rgb_of

    folder = tmp_path_factory.mktemp("photos")
    with open_source(clips / "bigbuckbunny.mp4") as source:
        frames = [item for item in source.items() if hasattr(item, "planes")][::16][:8]
    for number, frame in enumerate(frames):
        rgb = rgb_of(frame)[100:500, 300:780]
        cv2.imwrite(str(folder / f"{number}.png"), rgb[..., ::-1])
    return folder


@pytest.fixture(autouse=True)
def few_clips(monkeypatch):
    monkeypatch.setattr(clips, "FIRST", 4)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def options(photos, cache, **changes):
    return DataOptions(**{"folders": (photos,), "scale": 2, "patch": 24, "batch": 3, "cache": cache, **changes})


@pytest.mark.parametrize("degrade", ["clean", "video"])
def test_a_batch_is_a_pure_function_of_its_number(photos, cache, tmp_path, degrade):
    first = open_batches(options(photos, cache, degrade=degrade), print)
    second = open_batches(options(photos, tmp_path, degrade=degrade), print)  # another cache, made anew
    wanted = [first(step) for step in (3, 0, 9)]
    stream = second.stream(0)
    streamed = list(islice(stream, 10))
    stream.close()
    for (lr, hr), (again_lr, again_hr) in zip(wanted, [streamed[3], streamed[0], streamed[9]], strict=True):
        assert torch.equal(lr, again_lr)
        assert torch.equal(hr, again_hr)
    assert not torch.equal(wanted[0][0], wanted[1][0])
    lr, hr = wanted[0]
    assert lr.shape == (3, 3, 24, 24)
    assert hr.shape == (3, 3, 48, 48)
    assert 0 <= lr.min() < lr.max() <= 1
    assert lr.is_contiguous(memory_format=torch.channels_last)


def test_another_seed_draws_other_patches(photos, cache):
    one, two = (open_batches(options(photos, cache, seed=seed), print) for seed in (0, 1))
    assert not torch.equal(one(0)[0], two(0)[0])


@pytest.mark.parametrize("degrade", ["clean", "video"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_lr_and_hr_lie_over_each_other(photos, cache, scale, degrade):
    batches = open_batches(options(photos, cache, scale=scale, batch=12, degrade=degrade), print)
    lr, hr = (side.permute(0, 2, 3, 1).numpy() for side in batches(0))

    def error(down, right):
        total = 0.0
        for small, large in zip(lr, hr, strict=True):
            made = bicubic((small * 255).round().astype(np.uint8), *large.shape[:2]).astype(float)
            inside = slice(8, -8)
            moved = np.roll(large * 255, (down, right), (0, 1))
            total += float(np.mean((made[inside, inside] - moved[inside, inside]) ** 2))
        return total

    best = min(((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)), key=lambda move: error(*move))
    assert best == (0, 0)


def test_a_file_counts_once_and_files_of_one_name_go_together(photos, tmp_path):
    """So that nothing that is measured on was seen in training, and something is left to train on."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, name in ((one, "0.png"), (two, "1.png")):
        folder.mkdir()
        os.link(photos / name, folder / "clip.png")
    for folders, count in (((one, two), 2), ((one, one), 1)):
        opened = crops.open_crops(folders, 2, 24, tmp_path / "cache", print)
        assert opened.images == (count, 0)
        assert len(opened.training) > 0
    (one / "best").mkdir()
    os.link(photos / "2.png", one / "best" / "2.png")
    (one / "link.png").symlink_to(one / "best" / "2.png")
    found = find((one / "best", one, two))
    assert [file.name for file in found] == ["2.png", "clip.png", "clip.png"]
    assert len(set_aside(found)) == 1


def test_clean_lr_is_matlab_s(photos, cache):
    opened = crops.open_crops((photos,), 2, 24, cache, print)
    lr, hr = opened.picture(0)
    np.testing.assert_array_equal(lr, shrink(np.ascontiguousarray(hr), 2))


def test_held_out_pictures_are_never_trained_on(photos, cache):
    opened = crops.open_crops((photos,), 2, 24, cache, print)
    assert len(opened.held_out) > 0
    assert not set(opened.held_out[:, 0]) & set(opened.training[:, 0])
    batches = open_batches(options(photos, cache), print)
    assert len(batches.held_out) == opened.images[1] >= 1
    lr, hr = batches.held_out[0]
    assert hr.shape == (2 * lr.shape[0], 2 * lr.shape[1], 3)


def test_held_out_video_is_of_moving_clips_that_are_worn(photos, cache):
    batches = open_batches(options(photos, cache, degrade="video"), print)
    assert len(batches.held_out) == 2 * batches.crops.images[1]
    for lr, hr in batches.held_out:
        assert lr.shape == (96, 96, 3)
        difference = np.abs(bicubic(np.ascontiguousarray(hr), 96, 96).astype(int) - lr).mean()
        assert 0.2 < difference < 15
    other_seed = open_batches(options(photos, cache, degrade="video", seed=1), print)
    for mine, same in zip(batches.held_out, other_seed.held_out, strict=True):
        np.testing.assert_array_equal(mine[0], same[0])


def test_crops_are_drawn_as_often_as_they_have_detail(photos, cache):
    opened = crops.open_crops((photos,), 2, 24, cache, print)
    assert len(opened.detail) == len(opened.training)
    for crop, detail in zip(opened.training, opened.detail, strict=True):
        _, hr = opened.cut(*crop, 96, 96)
        assert detail == pytest.approx(crops.detail(hr), abs=0.006)
    drawn = opened.draw(np.random.default_rng(0), 20_000, "detail")
    shares = np.bincount(drawn, minlength=len(opened.training)) / len(drawn)
    np.testing.assert_allclose(shares, opened.detail / opened.detail.sum(), atol=0.012)
    assert opened.detail.max() > 1.5 * opened.detail.min()  # so that even sampling would not do
    even = np.bincount(opened.draw(np.random.default_rng(0), 20_000, "even"), minlength=len(opened.training))
    np.testing.assert_allclose(even / 20_000, 1 / len(opened.training), atol=0.012)


@pytest.mark.parametrize("degrade", ["clean", "video"])
def test_sampling_by_detail_is_a_pure_function_of_the_step(photos, cache, tmp_path, degrade):
    first = open_batches(options(photos, cache, degrade=degrade, sampling="detail"), print)
    again = open_batches(options(photos, tmp_path, degrade=degrade, sampling="detail"), print)
    even = open_batches(options(photos, cache, degrade=degrade), print)
    assert all(torch.equal(one, other) for one, other in zip(first(3), again(3), strict=True))
    assert not torch.equal(first(3)[0], even(3)[0])


def test_the_clips_grow_with_the_steps_alone(monkeypatch):
    assert clips.Clips.count(0) == clips.FIRST
    assert clips.Clips.count(clips.EVERY * 7) == clips.FIRST + 7
    assert clips.Clips.count(10**9) == clips.MOST


@pytest.mark.parametrize("seed", range(8))
def test_every_way_into_a_video_gives_the_picture_back(seed):
    y, x = np.mgrid[:64, :96]
    picture = np.stack([128 + 90 * np.sin(x / 9), 128 + 90 * np.cos(y / 7), 1.5 * x + y], 2).clip(0, 255)
    frames = [np.roll(picture.astype(np.uint8), shift, 1) for shift in range(4)]
    way = draw(np.random.default_rng(seed))
    made = degrade(frames, way, np.random.default_rng(1))
    again = degrade(frames, way, np.random.default_rng(1))
    for worn, same, frame in zip(made, again, frames, strict=True):
        np.testing.assert_array_equal(worn, same)
        error = np.mean((worn.astype(float) - frame) ** 2)
        assert 0 < error < 200, way
        assert error < np.mean((worn.astype(float) - np.roll(frame, 2, 1)) ** 2)


def test_an_empty_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UsageError, match=r"1 files, but no image .* name a folder with pictures"):
        open_batches(options(tmp_path, tmp_path / "cache"), print)


def test_a_missing_folder(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        open_batches(options(tmp_path / "none", tmp_path / "cache"), print)


def test_pictures_that_are_too_small(tmp_path):
    cv2.imwrite(str(tmp_path / "small.png"), np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8))
    remedy = r"the largest has 50x40; add larger pictures"
    for patch, message in (
        (24, rf"at least 192x192 pixels are needed, {remedy}$"),  # with a smaller patch, too
        (127, rf"at least 256x256 pixels are needed, {remedy}, or choose a smaller patch$"),
    ):
        with pytest.raises(UsageError, match=message):
            open_batches(options(tmp_path, tmp_path / "cache", patch=patch), print)


def test_unreadable_files_are_passed_over_and_named(photos, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in photos.iterdir():
        os.link(path, folder / path.name)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    batches = open_batches(options(folder, tmp_path / "cache"), print)
    assert "passed over: " in batches.description
    assert "broken.png" in batches.description


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 5}, "must be 2, 3 or 4"),
        ({"batch": 0}, "at least 1"),
        ({"patch": 4}, "at least 8"),
        ({"degrade": "jpeg"}, "clean or video"),
        ({"clean_share": 2.0}, "from 0 to 1"),
        ({"sampling": "best"}, "even or detail"),
        ({"seed": -1}, "0 or more"),
    ],
)
def test_options_out_of_range(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        options(tmp_path, tmp_path, **changes)


def test_a_full_disk_leaves_the_old_cache(photos, tmp_path, monkeypatch):
    open_batches(options(photos, tmp_path), print)
    before = sorted(path.name for path in tmp_path.rglob("*"))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(crops, "RECIPE", 999)
    monkeypatch.setattr(crops, "Entry", full)
    with pytest.raises(MediaError, match="No space left on device; make room"):
        open_batches(options(photos, tmp_path), print)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_another_picture_replaces_the_cache_under_a_run(photos, tmp_path):
    """Older pictures and clips are removed; a run that still draws from them goes on to the same bits."""
    folder, cache = tmp_path / "photos", tmp_path / "cache"
    folder.mkdir()
    for path in sorted(photos.iterdir())[:4]:
        os.link(path, folder / path.name)
    running = open_batches(options(folder, cache, degrade="video"), print)
    before, old = running(0), set(cache.iterdir())
    bgr = cv2.imread(str(photos / "7.png"))
    cv2.imwrite(str(folder / "7.bmp"), bgr)
    opened = crops.open_crops((folder,), 2, 24, cache, print)
    assert sum(opened.images) == 5
    np.testing.assert_array_equal(opened.picture(4)[1], bgr[..., ::-1])
    assert not old & set(cache.iterdir())
    assert all(torch.equal(one, other) for one, other in zip(before, running(0), strict=True))


def test_a_clip_that_was_cut_off_is_made_again(photos, tmp_path):
    batches = open_batches(options(photos, tmp_path, degrade="video"), print)
    before = batches(0)
    made = sorted(tmp_path.glob("clips-*/*.npy"))
    assert len(made) == clips.FIRST
    for path, length in zip(made, (0, 60, 1000, 100_000), strict=True):
        os.truncate(path, length)
    assert all(torch.equal(one, other) for one, other in zip(before, batches(0), strict=True))


def test_a_full_disk_ends_the_stream_and_leaves_no_clip(photos, tmp_path, monkeypatch):
    batches = open_batches(options(photos, tmp_path, degrade="video", clean_share=0.0), print)
    before = sorted(tmp_path.rglob("*"))

    def full(file, samples):
        file.write(samples[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(clips.np, "save", full)
    stream = batches.stream(10_000)  # draws from thousands of clips, nearly all of them not made yet
    with pytest.raises(MediaError, match="No space left on device; make room"):
        next(stream)
    assert sorted(tmp_path.rglob("*")) == before


def test_videos_give_a_frame_a_scene(clips, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("bikes.mp4", "carphone_distorted.mp4"):
        shutil.copy(clips / name, folder / name)
    opened = crops.open_crops((folder,), 2, 96, tmp_path / "cache", print)
    assert 2 <= opened.images[0] <= 32
    assert opened.skipped == ["carphone_distorted.mp4: 176x144 is too small"]
    different = [opened.picture(index)[1].astype(int) for index in range(2)]
    assert np.abs(different[0] - different[1]).mean() > 5


@pytest.mark.parametrize("audio_at", [None, 60])
@pytest.mark.parametrize("ending", ["mkv", "mp4"])
def test_a_video_gives_its_scenes_however_short_and_however_long_its_sound(tmp_path, ending, audio_at):
    def painted(picture, number):
        for plane in plane_views(picture, FORMATS["yuv420p"], writeable=True):
            plane[...] = 128
        plane_views(picture, FORMATS["yuv420p"], writeable=True)[0][...] = 30 + 40 * (number // 2)

    sound = {"audio": ["aac"], "audio_start": audio_at} if audio_at else {}
    path = make_clip(tmp_path / f"short.{ending}", frames=10, prepare=painted, **sound)
    (file,) = find([tmp_path])
    assert path == file.path
    greys = [int(rgb.mean()) for _, rgb in pictures(file)]
    assert len(greys) == 5
    assert greys == sorted(greys)


def test_a_cache_that_cannot_be_written(photos, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises((UsageError, MediaError), match="choose another cache folder"):
        open_batches(options(photos, tmp_path / "file"), print)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize(("scale", "degrade"), [(2, "clean"), (2, "video"), (3, "video")])
def test_batches_cut_on_a_device_are_the_same_bits(photos, cache, scale, degrade, device):
    batches = open_batches(options(photos, cache, scale=scale, batch=16, degrade=degrade), print)
    resident = Resident(batches, 20, torch.device(device))
    stream = resident.stream(3)
    for step in (3, 4, 5):
        for got, want in zip(next(stream), batches(step), strict=True):
            assert got.device.type == device
            assert got.is_contiguous(memory_format=torch.channels_last)
            assert torch.equal(got.cpu(), want)
    stream.close()
    assert resident.description == batches.description


SCRIPT = """
from pathlib import Path
from rfdn_stream.errors import RfdnError
from rfdn_stream.training import clips
from rfdn_stream.training.data import DataOptions, open_batches

clips.FIRST, clips.WORTH_A_PROCESS, clips.os.cpu_count = 4, 2, lambda: 2
try:
    open_batches(DataOptions((Path("{photos}"),), 2, patch=24, batch=3, degrade="video", cache=Path("{cache}")), print)
except RfdnError as failure:
    print("RfdnError:", failure)
"""


def test_a_script_without_a_guard_is_told_what_it_lacks(photos, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(photos=photos, cache=tmp_path / "cache"))
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip().splitlines()[-1].startswith("RfdnError: a process that encodes training clips ended")
    assert 'lacks `if __name__ == "__main__":`' in ended.stdout


def test_clips_made_by_several_processes_are_the_same(photos, cache, tmp_path, monkeypatch):
    one, several = (open_batches(options(photos, folder, degrade="video"), print) for folder in (cache, tmp_path))
    monkeypatch.setattr(clips, "WORTH_A_PROCESS", 2)
    monkeypatch.setattr(clips.os, "cpu_count", lambda: 2)
    several.clips.prepare(10, print)
    assert len(list(tmp_path.glob("clips-*/*.npy"))) == 10
    for number in range(10):
        np.testing.assert_array_equal(one.clips.samples(number), several.clips.samples(number))
