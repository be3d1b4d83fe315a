"""GIF, APNG and animated WebP in and out: every time kept, transparency, and palettes that do not flicker."""

import os
import shutil
from fractions import Fraction
from itertools import pairwise

import av
import cv2
import numpy as np
import pytest

from media_samples import make_clip, packet_times
from rfdn_stream import upscale
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.media.image import write_image
from support import random_frame

TIMES = [(0.0, 0.1), (0.1, 0.3), (0.4, 0.05), (0.45, 0.2)]  # seconds: when, and for how long
CLEAR = (slice(0, 16), slice(0, 16))  # without colour


def animation(path, *, clear=True):
    """Four frames of unequal length, made by OpenCV: a bar grows over a ramp."""
    made = cv2.Animation()
    frames = []
    for number in range(4):
        frame = np.zeros((36, 60, 4), np.uint8)
        frame[..., 0], frame[..., 1], frame[..., 3] = np.arange(60) * 4, np.arange(36)[:, None] * 6, 255
        frame[20:, : 15 * (number + 1), 2] = 250
        if clear:
            frame[CLEAR] = 0
        frames.append(frame)
    made.frames, made.durations = frames, np.array([round(1000 * length) for _, length in TIMES], np.int32)
    kind = path.with_suffix(".png") if path.suffix == ".apng" else path
    assert cv2.imwriteanimation(str(kind), made)
    return kind.rename(path)


def shown(path):
    """(when, for how long) in seconds, and RGBA, of each frame."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    base = frames[0].time_base
    times = [(float(frame.pts * base), float(frame.duration * base)) for frame in frames]
    return times, [frame.to_ndarray(format="rgba") for frame in frames]


@pytest.mark.parametrize("source", ["in.gif", "in.apng", "in.webp", "in.png"])
@pytest.mark.parametrize("target", ["out.gif", "out.apng", "out.webp", "out.png"])
def test_each_becomes_each_with_its_times_and_its_transparency(tmp_path, tiny_model, source, target):
    result = upscale(animation(tmp_path / source), tmp_path / target, model=tiny_model, strength=0)
    assert (result.frames, result.width, result.height) == (4, 120, 72)
    times, frames = shown(result.target)
    assert np.allclose(times, TIMES)
    for number, frame in enumerate(frames):
        assert frame.shape == (72, 120, 4)
        assert frame[2:24, 2:24, 3].max() < 20
        assert frame[40:, 40:, 3].min() > 235
        bar = frame[48:68, :, 0].mean(axis=0)  # red: the bar, as far as this frame has it
        assert bar[: 30 * number + 24].min() > 150
        assert bar[30 * (number + 1) + 6 :].size == 0 or bar[30 * (number + 1) + 6 :].max() < 100


@pytest.mark.parametrize("source", ["in.gif", "in.apng", "in.webp"])
def test_an_animation_becomes_a_video(tmp_path, tiny_model, source):
    result = upscale(animation(tmp_path / source, clear=False), tmp_path / "out.mkv", model=tiny_model)
    assert np.allclose(packet_times(result.target), TIMES, atol=0.001)


def test_a_video_becomes_an_animation(tmp_path, tiny_model, caplog):
    clip = make_clip(tmp_path / "in.mkv", frames=5, audio=["aac"])
    for name in ("out.gif", "out.apng", "out.webp"):
        result = upscale(clip, tmp_path / name, model=tiny_model)
        times, frames = shown(result.target)
        assert np.allclose(times, [(0.04 * n, 0.04) for n in range(5)])
        assert all((frame[..., 3] == 255).all() for frame in frames)
    assert "not kept: audio #1 (aac) (GIF holds pictures only; .mkv holds it)" in caplog.text


@pytest.mark.parametrize("name", ["out.gif", "out.apng", "out.webp"])
def test_one_frame_alone(tmp_path, tiny_model, name):
    clip = make_clip(tmp_path / "in.mkv", frames=1)
    _, (frame,) = shown(upscale(clip, tmp_path / name, model=tiny_model).target)
    assert frame.shape == (96, 128, 4)


def test_what_does_not_move_does_not_flicker_in_a_gif(tmp_path, tiny_model):
    """A picture of more than 256 colours in which only a corner changes."""
    source = animation(tmp_path / "in.apng", clear=False)
    _, frames = shown(upscale(source, tmp_path / "out.gif", model=tiny_model, strength=0).target)
    still = [frame[:36, :, :3].astype(int) for frame in frames]
    assert len(np.unique(still[0].reshape(-1, 3), axis=0)) > 100
    _, exact = shown(upscale(source, tmp_path / "out.apng", model=tiny_model, strength=0).target)
    assert np.abs(still[0] - exact[0][:36, :, :3]).mean() < 12
    for one, other in pairwise(still):
        assert np.abs(one - other).mean() < 4


def test_a_gif_too_fast_for_players_is_told(tmp_path, tiny_model, caplog):
    fast = make_clip(tmp_path / "in.mkv", frames=4, rate=60, pts=[0, 17, 33, 50], time_base=Fraction(1, 1000))
    upscale(fast, tmp_path / "out.gif", model=tiny_model)
    assert "4 frames are shorter than 1/50 s" in caplog.text
    faster = make_clip(tmp_path / "in2.mkv", frames=4, rate=500, pts=[0, 2, 4, 6], time_base=Fraction(1, 1000))
    with pytest.raises(MediaError, match=r"less than 0\.01 s after the one before it, which GIF cannot say"):
        upscale(faster, tmp_path / "none.gif", model=tiny_model)
    assert not (tmp_path / "none.gif").exists()


def test_names_say_what_is_wanted(tmp_path, tiny_model):
    still = tmp_path / "still.png"
    write_image(still, random_frame("rgb24", 24, 16))
    assert upscale(still, tmp_path / "still.webp", model=tiny_model).frames == 1
    clip = make_clip(tmp_path / "in.mkv", frames=2)
    for source, target, words in (
        (still, "out.gif", "still.png is an image by its name and out.gif a video"),
        (clip, "out.png", "in.mkv is a video by its name and out.png an image; .* animations .*sequences"),
        (animation(tmp_path / "in.png"), "out.jpg", "in.png is a video by its name and out.jpg an image"),
    ):
        with pytest.raises(UsageError, match=words):
            upscale(source, tmp_path / target, model=tiny_model)
    for source, words in (
        ("-", "standard input is a video by its name and out.png an image"),
        ("http://127.0.0.1/a.png", "images are read from files; download it first"),
    ):
        with pytest.raises(UsageError, match=words):
            upscale(source, tmp_path / "out.png", model=tiny_model)
    with pytest.raises(UsageError, match="are for videos, not for GIF"):
        upscale(clip, tmp_path / "out.gif", model=tiny_model, codec="libx264")
    with pytest.raises(UsageError, match="--streams is for video files"):
        upscale(clip, tmp_path / "out.gif", model=tiny_model, streams="a")
    assert not {"out.gif", "out.png", "out.jpg"} & set(os.listdir(tmp_path))


def test_an_animation_that_is_cut_off_is_told(tmp_path, tiny_model, caplog):
    whole = animation(tmp_path / "in.gif")
    shutil.copy(whole, tmp_path / "cut.gif")
    with (tmp_path / "cut.gif").open("r+b") as file:
        file.truncate(whole.stat().st_size * 2 // 3)
    result = upscale(tmp_path / "cut.gif", tmp_path / "out.gif", model=tiny_model)
    assert 0 < result.frames < 4 or "damaged" in caplog.text
