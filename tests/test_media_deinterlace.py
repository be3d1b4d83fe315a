"""Fields become whole frames at the right times; film, and what is told to be left alone, stays as it is."""

from itertools import pairwise

import numpy as np
import pytest

from media_samples import ffprobe, make_clip
from rfdn_stream.errors import UsageError
from rfdn_stream.frame import Frame
from rfdn_stream.media.reader import open_source

COMB = 100


def woven(picture, number):
    """Two moments in one picture: a bar that has moved on in the top field: bottom field first."""
    luma = np.full((48, 64), 50, np.uint8)
    for parity in (0, 1):
        left = 8 + 4 * number + 2 * (1 - parity)
        luma[parity::2, left : left + 12] = 200
    picture.planes[0].update(np.pad(luma, ((0, 0), (0, picture.planes[0].line_size - 64))).tobytes())
    for plane in picture.planes[1:]:
        plane.update(bytes([128]) * plane.buffer_size)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(
        tmp_path_factory.mktemp("woven") / "in.mkv", frames=8, prepare=woven,
        options={"flags": "+ildct+ilme", "qp": "1"},
    )  # fmt: skip


def chunks(folder, progressive, interlaced):
    """Raw H.264 of so many pictures of each kind."""
    film = make_clip(folder / "film.h264", frames=progressive, muxer="h264")
    fields = make_clip(
        folder / "fields.h264", frames=interlaced, muxer="h264", prepare=woven, options={"flags": "+ildct+ilme"}
    )
    return film.read_bytes(), fields.read_bytes()


def frames(path, way, *span):
    with open_source(path, *span, deinterlace=way) as source:
        return [item for item in source.items() if isinstance(item, Frame)], source


def combs(frame):
    """How many samples differ from both neighbours above and below, in one direction."""
    luma = frame.planes[0].astype(int)
    up, down = luma[1:-1] - luma[:-2], luma[1:-1] - luma[2:]
    return int(((up * down > 0) & (abs(up) > COMB) & (abs(down) > COMB)).sum())


def test_combs_go_and_times_stay(clip):
    (left, off), (made, auto) = (frames(clip, way) for way in ("off", "auto"))
    assert {f["top_field_first"] for f in ffprobe(clip, "-show_frames")["frames"]} == {0}
    assert off.info.interlaced
    assert not auto.info.interlaced
    assert auto.deinterlaced
    assert [(f.pts, f.duration, f.time_base) for f in made] == [(f.pts, f.duration, f.time_base) for f in left]
    assert all(combs(frame) > 100 for frame in left)
    assert all(combs(frame) == 0 for frame in made[1:-1])


@pytest.mark.parametrize("span", [(), (0.08, 0.12)])
def test_bob_makes_a_frame_of_each_field(clip, span):
    (whole, _), (halves, source) = (frames(clip, way, *span) for way in ("off", "bob"))
    assert len(halves) == 2 * len(whole)
    assert source.info.rate == 50
    assert source.info.time_base == whole[0].time_base / 2
    for number, frame in enumerate(whole):
        first, second = halves[2 * number : 2 * number + 2]
        assert first.pts * first.time_base == frame.pts * frame.time_base
        assert second.pts == first.pts + first.duration
        assert first.duration * first.time_base == frame.duration * frame.time_base / 2
    for one, other in pairwise(halves[1:-1]):  # the bar moves on by two columns a field
        assert np.argmax(other.planes[0][24] > 125) - np.argmax(one.planes[0][24] > 125) == pytest.approx(2, abs=1)


def test_film_passes_untouched_and_the_rest_is_counted(tmp_path):
    mixed = tmp_path / "mixed.h264"
    mixed.write_bytes(b"".join(chunks(tmp_path, 8, 8)))
    (left, _), (made, source) = (frames(mixed, way) for way in ("off", "auto"))
    assert [f.pts for f in made] == [f.pts for f in left]
    for number, (old, new) in enumerate(zip(left, made, strict=True)):
        assert all(map(np.array_equal, old.planes, new.planes)) == (number < 8)
    assert "8 of 16 frames were interlaced and have been deinterlaced" in source.notes


def test_a_telecine_is_announced(tmp_path):
    pulled = tmp_path / "pulled.h264"
    pulled.write_bytes(b"".join(chunks(tmp_path, 3, 2)) * 10)
    notes = frames(pulled, "auto")[1].notes
    assert "20 of 50 frames were interlaced and have been deinterlaced" in notes
    assert any("two interlaced frames in five are what a telecine makes" in note for note in notes)


def test_the_card_leaves_interlaced_video_to_the_processor(clip):
    with pytest.raises(UsageError, match=r"NVDEC cannot decode .*deinterlaced on the processor; --deinterlace off"):
        open_source(clip, decode="cuda", deinterlace="auto")


def test_pictures_that_do_not_say_so_are_taken_for_interlaced_when_told(tmp_path):
    silent = make_clip(tmp_path / "in.nut", codec="rawvideo", frames=6, prepare=woven)
    assert all(combs(frame) > 100 for frame in frames(silent, "auto")[0])
    assert all(combs(frame) == 0 for frame in frames(silent, "tff")[0][1:-1])
    # The wrong field first: the picture of the other moment.
    assert all(combs(frame) == 0 for frame in frames(silent, "bff")[0][1:-1])


@pytest.mark.parametrize("format", ["nv12", "yuv422p10le", "yuvj420p", "gray"])
def test_formats_stay(tmp_path, format):
    path = make_clip(
        tmp_path / "in.mkv", format=format, frames=4, options={"flags": "+ildct+ilme",
                                                               "preset": "medium"},
    )  # fmt: skip
    (left, _), (made, _) = (frames(path, way) for way in ("off", "auto"))
    assert [(f.format, f.color) for f in made] == [(f.format, f.color) for f in left]
    assert not np.array_equal(made[1].planes[0], left[1].planes[0])


def test_unknown_way(clip):
    with pytest.raises(UsageError, match="unknown --deinterlace 'yadif'; choose one of auto, off, bob, tff, bff"):
        open_source(clip, deinterlace="yadif")
