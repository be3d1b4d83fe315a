"""Black bars: found where they are, not where it is only dark, and cut off before the network."""

from fractions import Fraction

import av
import numpy as np
import pytest

from media_samples import probe_streams
from rfdn_stream import upscale
from rfdn_stream.errors import UsageError
from rfdn_stream.frame import FORMATS, ColorSpec, Frame
from rfdn_stream.media.crop import Crop, find_crop, lumas_of_video
from rfdn_stream.media.image import write_image
from rfdn_stream.media.reader import open_source
from support import random_frame


def film(path, lumas, *, format="yuv420p", codec="libx264"):
    """A video of these luma pictures of 8 bits."""
    depth = FORMATS[format].bits - 8
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=10, options={"preset": "ultrafast"} if codec == "libx264" else {})
        height, width = lumas[0].shape
        stream.width, stream.height, stream.pix_fmt = width, height, format
        for luma in lumas:
            picture = av.VideoFrame(width, height, format)
            for index, plane in enumerate(picture.planes):
                samples = luma if not index else np.full((plane.height, plane.width), 128, np.uint8)
                memory = np.frombuffer(plane, np.uint16 if depth else np.uint8).reshape(plane.height, -1)
                memory[:, : samples.shape[1]] = samples.astype(memory.dtype) << depth
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path


def scene(top, bottom, left=0, right=160, *, light=180, dark=16, height=120, width=160, seed=0):
    """Bars around a noisy picture."""
    luma = np.full((height, width), dark, np.uint8)
    noise = np.random.default_rng(seed).integers(-20, 21, (bottom - top, right - left))
    luma[top:bottom, left:right] = np.clip(light + noise, 16, 235)
    return luma


def night(seed):
    """A lamp in the dark: no edge of the picture is to be seen."""
    return scene(50, 60, 70, 90, seed=seed)


FILMS = {
    "letterbox": ([scene(14, 106, seed=n) for n in range(8)], Crop(0, 14, 160, 92)),
    "pillarbox": ([scene(0, 120, 20, 140, seed=n) for n in range(8)], Crop(20, 0, 120, 120)),
    "all around, and not in the middle": ([scene(10, 90, 8, 140, seed=n) for n in range(8)], Crop(8, 10, 132, 80)),
    "odd edges lose the half line": ([scene(13, 107, seed=n) for n in range(8)], Crop(0, 14, 160, 92)),
    "mostly night": ([*map(night, range(7)), scene(14, 106), *map(night, range(7))], Crop(0, 14, 160, 92)),
    "bars that are not quite black": ([scene(14, 106, dark=20, seed=n) for n in range(8)], Crop(0, 14, 160, 92)),
    "two shapes: the larger one": ([scene(14, 106), scene(4, 116), scene(14, 106)], Crop(0, 4, 160, 112)),
    "no bars": ([scene(0, 120, seed=n) for n in range(8)], None),
    "a line of the picture's own": ([scene(2, 120, seed=n) for n in range(8)], None),
    "only night": ([*map(night, range(8))], None),
    "black": ([np.full((120, 160), 16, np.uint8)] * 8, None),
}


@pytest.mark.parametrize(("lumas", "want"), FILMS.values(), ids=FILMS)
def test_bars_are_found_where_they_are(tmp_path, lumas, want):
    assert find_crop(lumas_of_video(film(tmp_path / "in.mkv", lumas))) == want


def test_credits_are_no_picture():
    """White letters on black: their rows are light, but none of them is an edge."""
    letters = np.full((120, 160), 16, np.uint8)
    letters[40:80:8, 30:130:3] = 220
    assert find_crop([(letters, 16.0, 1.0)] * 5) is None


def test_deep_and_full_range_pictures(tmp_path):
    deep = film(tmp_path / "deep.mkv", FILMS["letterbox"][0], format="yuv420p10le", codec="ffv1")
    assert find_crop(lumas_of_video(deep)) == Crop(0, 14, 160, 92)


def test_the_job_cuts_them_off_and_says_so(tmp_path, tiny_model, caplog):
    caplog.set_level("INFO", "rfdn_stream")
    clip = film(tmp_path / "in.mkv", FILMS["letterbox"][0])
    found = upscale(clip, tmp_path / "auto.mkv", model=tiny_model, crop="auto", codec="ffv1")
    assert "black bars are cut off: 160x92 is left (--crop 0:14:160:92)" in caplog.text
    named = upscale(clip, tmp_path / "named.mkv", model=tiny_model, crop="0:14:160:92", codec="ffv1")
    assert (found.width, found.height, found.frames) == (320, 184, 8)
    assert found.target.stat().st_size == named.target.stat().st_size
    (video,) = probe_streams(found.target)
    assert (video["width"], video["height"]) == (320, 184)
    plain = upscale(clip, tmp_path / "plain.mkv", model=tiny_model)
    assert (plain.width, plain.height) == (320, 240)  # off by default
    whole = film(tmp_path / "whole.mkv", FILMS["no bars"][0])
    upscale(whole, tmp_path / "w.mkv", model=tiny_model, crop="auto")
    assert "no black bars were found" in caplog.text


@pytest.mark.parametrize("format", ["yuv420p", "yuv422p10le", "nv12", "gray", "rgb24", "gbrp10le"])
def test_a_part_is_a_view_of_the_same_samples(format):
    frame = random_frame(format, 40, 30)
    part = Crop(4, 6, 20, 14).of(frame)
    assert (part.width, part.height) == (20, 14)
    for whole, plane in zip(frame.planes, part.planes, strict=True):
        assert np.shares_memory(whole, plane)
    np.testing.assert_array_equal(part.planes[0], frame.planes[0][6:20, 4:24])
    assert isinstance(part, Frame)


def test_transparency_is_cut_likewise(tmp_path, tiny_model):
    alpha = (np.add.outer(np.arange(16), np.arange(24)) * 6).astype(np.uint8)
    folder = tmp_path / "in"
    folder.mkdir()
    for number in (1, 2):
        write_image(folder / f"{number}.png", random_frame("rgb24", 24, 16), alpha)
    result = upscale(folder, tmp_path / "out_%d.png", model=tiny_model, crop="8:4:12:10")
    assert (result.width, result.height) == (24, 20)
    from rfdn_stream.media.image import read_image

    _, clear, _ = read_image(tmp_path / "out_1.png")
    assert np.abs(clear[1::2, 1::2].astype(int) - alpha[4:14, 8:20]).max() <= 6


def test_bars_around_images(tmp_path, tiny_model):
    folder = tmp_path / "in"
    folder.mkdir()
    color = ColorSpec("rgb", "full", "center")
    for number in range(3):
        picture = scene(14, 106, seed=number, dark=0)
        frame = Frame((np.repeat(picture[..., None], 3, 2),), FORMATS["rgb24"], 160, 120, color, None, Fraction(1))
        write_image(folder / f"{number}.png", frame)
    result = upscale(folder, tmp_path / "out_%d.png", model=tiny_model, crop="auto")
    assert (result.width, result.height) == (320, 184)


@pytest.mark.parametrize("text", ["", "1:2:3", "a:b:c:d", "0:0:0:10", "-2:0:10:10"])
def test_parts_that_are_none(text):
    with pytest.raises(UsageError, match="crop"):
        Crop.parse(text)


def test_a_pipe_is_not_looked_all_over(tiny_model, tmp_path):
    with pytest.raises(UsageError, match="a pipe gives it once; name the part"):
        upscale("-", tmp_path / "out.mkv", model=tiny_model, crop="auto")


def test_the_matrix_is_guessed_from_the_whole_picture(tmp_path):
    """Cropping 720 lines to 540 does not turn BT.709 into BT.601."""
    clip = film(tmp_path / "in.mkv", [scene(0, 720, height=720, width=160)] * 2)
    with open_source(clip, crop=Crop(0, 90, 160, 540)) as source:
        assert (source.info.height, source.info.color.matrix) == (540, "bt709")
