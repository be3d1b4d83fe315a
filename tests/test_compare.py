"""`rfdn-stream compare`: PNGs, wipes and figures; the page is looked at in test_compare_page.py."""

import csv
import re
from fractions import Fraction
from itertools import pairwise

import av
import cv2
import numpy as np
import pytest

from media_samples import make_clip
from rfdn_stream import Upscaler
from rfdn_stream.cli.app import run
from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.evaluation.series import Series, draw
from rfdn_stream.evaluation.small import frames_of as decoded
from rfdn_stream.evaluation.video import compare_videos
from rfdn_stream.frame import FORMATS
from rfdn_stream.jobs.compare import Crop, open_duo, score, still_of, stills_of_two, told_apart
from rfdn_stream.jobs.compare.moments import find_moment, same_moment
from rfdn_stream.jobs.compare.sheet import GAP, GROUND, MARGIN
from rfdn_stream.jobs.compare.views import at_size, detailed_crop, picture_of, repeated
from rfdn_stream.jobs.compare.wipe import REACH, wiped
from rfdn_stream.media.frames import plane_views
from rfdn_stream.media.reader import open_source
from support import EXAMPLES, save_tiny
from test_media_deinterlace import woven

EXACT = EncodeOptions("ffv1")
LYING = [0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30]  # turned by 90 degrees, as phones hold it


def compare(*arguments):
    return run(["compare", *map(str, arguments)])


def frames_of(path):
    with open_source(path) as source:
        return list(decoded(source))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clips") / "small.mkv", codec="ffv1", size=(64, 48), frames=6)


@pytest.fixture(scope="module")
def double(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clips") / "large.mkv", codec="ffv1", size=(128, 96), frames=6)


def places(sheet, picture):
    """Where a picture lies in a sheet, pixel for pixel."""
    found = cv2.matchTemplate(sheet, picture, cv2.TM_SQDIFF)
    rows, columns = picture.shape[:2]
    near = np.argwhere(found <= found.min() + 1000)
    return [(int(x), int(y)) for y, x in near if np.array_equal(sheet[y : y + rows, x : x + columns], picture)]


def paint(picture, luma):
    """One grey all over."""
    for plane, code in zip(plane_views(picture, FORMATS["yuv420p"], writeable=True), (luma, 128, 128)):
        plane[...] = code


def test_the_most_detailed_part_is_chosen():
    picture = np.full((90, 120, 3), 90, np.uint8)
    picture[:, :6] = 255  # one hard edge, along the whole side
    picture[40:64, 70:102] += np.random.default_rng(0).integers(0, 40, (24, 32, 1), dtype=np.uint8)
    found = detailed_crop(picture, 32, 24)
    assert abs(found.x - 70) <= 2
    assert abs(found.y - 40) <= 2
    assert detailed_crop(picture, 500, 500) == Crop(0, 0, 120, 90)
    assert detailed_crop(np.zeros((9, 9, 3), np.uint8), 4, 4) == Crop(0, 0, 4, 4)


def test_ways_are_what_they_are_called(clip, tiny_model):
    stills = still_of(clip, [tiny_model], number=3, crops=[Crop(4, 6, 20, 10)])
    frame = frames_of(clip)[3]
    small = picture_of(frame)
    assert [way.name for way in stills.ways] == ["nearest", "Lanczos", "tiny-x2"]
    nearest, lanczos, ours = (way.picture for way in stills.ways)
    np.testing.assert_array_equal(nearest, small.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(lanczos, picture_of(at_size(frame, (128, 96), "lanczos")))
    with Upscaler(tiny_model) as upscaler:
        np.testing.assert_array_equal(ours, picture_of(upscaler.submit(frame).result()))
    assert not np.array_equal(lanczos, ours)
    assert stills.what == "small.mkv, frame 3, 0.120 s"


def test_the_sheet_holds_the_crops_and_nothing_is_resampled_in_it(clip, tiny_model):
    crops = Crop(4, 6, 20, 10), Crop(30, 20, 20, 12)
    stills = still_of(clip, [tiny_model], number=0, crops=crops)
    sheet = stills.sheet
    times = 12  # 20 pixels at x2, to some 480
    tops = []
    for crop in crops:
        row = []
        for way in stills.ways:
            part = crop.scaled(2, 2).of(way.picture)
            ((x, y),) = places(sheet, part.repeat(times, 0).repeat(times, 1))
            row.append((x, y))
        assert {y for _, y in row} == {row[0][1]}
        assert [b - a for (a, _), (b, _) in pairwise(row)] == [480 + GAP] * 2
        assert row[0][0] == MARGIN
        tops.append(row[0][1])
    assert tops[1] - tops[0] == 240 + GAP
    assert (sheet[:, : MARGIN - 2] == GROUND).all()
    assert (sheet[: tops[0]] == sheet[: tops[0], :, :1]).all()  # the writing has no hue


def test_weights_of_one_file_name_are_told_apart(tmp_path, clip):
    paths = [tmp_path / name / "weights.safetensors" for name in ("first", "second")]
    for path in paths:
        path.parent.mkdir()
        save_tiny(path)
    stills = still_of(clip, paths, number=0)
    assert [way.name for way in stills.ways] == ["nearest", "Lanczos", *map(str, paths)]


def test_models_of_several_scales_have_one_size(tmp_path, clip, tiny_model):
    third = save_tiny(tmp_path / "tiny-x3.safetensors", scale=3)
    stills = still_of(clip, [tiny_model, third], crops=[Crop(0, 0, 40, 30)])
    assert [way.detail for way in stills.ways] == ["x3", "x3", "x2", "x3"]
    assert stills.sheet.shape[1] == 2 * MARGIN + 4 * 40 * 12 + 3 * GAP
    for way, factor in zip(stills.ways, (3, 3, 2, 3), strict=True):
        part = way.picture[: 30 * factor, : 40 * factor]
        assert len(places(stills.sheet, part.repeat(12 // factor, 0).repeat(12 // factor, 1))) == 1


def test_a_png_is_written_beside_the_user(tmp_path, monkeypatch, tiny_model, capsys, clip):
    monkeypatch.chdir(tmp_path)
    assert compare(clip, "--model", tiny_model) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["small-compared.png"]
    assert "small.mkv, 0.120 s, crop 0,0,64,48 (the most detailed part)" in capsys.readouterr().err
    picture = cv2.imread("small-compared.png")[..., ::-1]
    np.testing.assert_array_equal(picture, still_of(clip, [tiny_model]).sheet)
    with pytest.raises(UsageError, match=r"small-compared\.png exists; pass --overwrite"):
        compare(clip, "--model", tiny_model)
    assert compare(clip, "--model", tiny_model, "--overwrite") == 0


def test_figures_stand_beside_the_reference(clip, double, tiny_model):
    stills = still_of(clip, [tiny_model], number=2, reference=double)
    *ways, reference = stills.ways
    assert (reference.name, reference.detail) == ("reference", "128x96")
    np.testing.assert_array_equal(reference.picture, picture_of(frames_of(double)[2]))
    for way in ways:
        weights = np.array([65.481, 128.553, 24.966]) / 255
        error = np.mean(((way.picture.astype(float) - reference.picture) @ weights) ** 2)
        assert f", {10 * np.log10(255**2 / error):.2f} dB, SSIM 0." in way.detail
    same = stills_of_two(double, double, reference=double)
    assert [way.detail for way in same.ways] == ["128x96, inf dB, SSIM 1.0000"] * 2 + ["128x96"]


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
def test_the_same_moment_is_the_same_frame(tmp_path, rate):
    """Matroska rounds to milliseconds, MP4 does not; and the other file begins later."""
    base = 1 / rate
    one = make_clip(tmp_path / "a.mp4", time_base=base, rate=rate, frames=9)
    two = make_clip(tmp_path / "b.mkv", time_base=base, rate=rate, frames=9, codec="ffv1", pts=list(range(20, 29)))
    both = [picture_of(frame) for frame in frames_of(two)]
    for number in range(9):
        found = same_moment(two, find_moment(one, number=number))
        assert [k for k, picture in enumerate(both) if np.array_equal(picture, found.picture)] == [number]
        back = find_moment(one, at=float(number * base) - 1e-4 if number else 0)
        assert back.seconds == pytest.approx(float(number * base), abs=1e-3)


def test_phones_pictures_stand_upright(tmp_path, tiny_model):
    lying = make_clip(tmp_path / "lying.mp4", frames=2, matrix=LYING)
    stills = still_of(lying, [tiny_model], number=0)
    stored = [picture_of(frame) for frame in frames_of(lying)]
    np.testing.assert_array_equal(stills.ways[0].picture, repeated(np.rot90(stored[0], -1), 128, 96))
    assert {way.picture.shape for way in stills.ways} == {(128, 96, 3)}
    with open_duo(lying, lying) as duo:
        assert duo.size == (48, 64)
        pairs = list(duo.frames(duo.plan(tmp_path / "x.mkv", EXACT)))
        upright = picture_of(pairs[1][0]).astype(int)
        assert np.abs(upright - np.rot90(stored[1], -1)).mean() < 6  # chroma lies between other pixels


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """Interlaced, each picture a keyframe."""
    options = {"flags": "+ildct+ilme", "qp": "1", "g": "1"}
    return make_clip(tmp_path_factory.mktemp("clips") / "fields.mkv", frames=40, prepare=woven, options=options)


@pytest.mark.parametrize("which", [{"number": 30}, {"at": 1.2}, {"number": 0}, {"at": 0.0}, {"at": 0.04}])
def test_an_interlaced_moment_is_the_picture_that_upscale_enlarges(fields, which):
    with open_source(fields, deinterlace="auto") as source:
        whole = [picture_of(frame) for frame in decoded(source)]
    found = find_moment(fields, **which)
    place = which.get("number", round(25 * which.get("at", 0)))
    np.testing.assert_array_equal(found.picture, whole[place])
    assert found.seconds == pytest.approx(place / 25)
    assert found.where.endswith(f"{place / 25:.3f} s, deinterlaced")
    np.testing.assert_array_equal(same_moment(fields, found).picture, whole[place])


def test_interlaced_videos_are_shown_and_measured_deinterlaced(tmp_path, fields):
    with open_source(fields, deinterlace="auto") as source:
        whole = [frame.planes[0].copy() for frame in decoded(source)]
    note = f"{fields} is interlaced; whole frames were made of its fields, as upscale does"
    with open_duo(fields, fields) as duo:
        pairs = list(duo.frames(duo.plan(tmp_path / "x.mkv", EXACT)))
        assert duo.notes == [note]
    for (_, frame), want in zip(pairs, whole, strict=True):
        np.testing.assert_array_equal(frame.planes[0], want)
    series = score(fields, fields, "same", frames=3)
    assert (series.mean[0], series.notes) == (float("inf"), (note,))


@pytest.mark.parametrize("way", ["nearest", "lanczos"])
def test_a_wipe_is_one_to_the_left_and_the_other_to_the_right(tmp_path, clip, double, way):
    with open_duo(clip, double, way=way) as duo:
        plan = duo.plan(tmp_path / "x.mkv", EXACT)
        frames = list(wiped(duo, plan, ("", ""), 0.25))
    assert len(frames) == 6
    for small, large, both in zip(frames_of(clip), frames_of(double), frames, strict=True):
        assert (both.pts, both.time_base) == (large.pts, large.time_base)
        left = at_size(small, (128, 96), way)
        for index, (plane, first, second) in enumerate(zip(both.planes, left.planes, large.planes, strict=True)):
            edge, line, top = (16, 1, 20) if index else (32, 2, 40)  # the plates are above
            np.testing.assert_array_equal(plane[top:, :edge], first[top:, :edge])
            np.testing.assert_array_equal(plane[top:, edge + line :], second[top:, edge + line :])
        assert (both.planes[0][:, 32:34] == 235).all()


def test_nearest_is_nearest_in_any_format(double, clip):
    frame = frames_of(clip)[1]
    for plane, small in zip(at_size(frame, (128, 96), "nearest").planes, frame.planes, strict=True):
        np.testing.assert_array_equal(plane, small.repeat(2, 0).repeat(2, 1))
    assert repeated(np.arange(3)[:, None], 5, 1)[:, 0].tolist() == [0, 0, 1, 2, 2]


def test_a_wipe_moves_and_is_a_file_of_its_own(tmp_path, capsys):
    """Uneven times are kept; the divider is where its formula says; both names are seen; no sound."""
    pts = [0, 30, 40, 75, 80, 119]
    grey = {"prepare": lambda picture, number: paint(picture, 100)}
    one = make_clip(tmp_path / "one.mkv", codec="ffv1", size=(320, 64), pts=pts, audio=["aac"], **grey)
    two = make_clip(tmp_path / "two.mkv", codec="ffv1", size=(320, 64), pts=pts, **grey)
    assert compare(one, two, tmp_path / "wipe.mp4") == 0
    assert "wipe.mp4: 6 frames of 320x64, one.mkv to the left, two.mkv right" in capsys.readouterr().err
    with av.open(str(tmp_path / "wipe.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        frames = list(container.decode(video=0))
    assert [frame.time for frame in frames] == pytest.approx([number / 25 for number in pts], abs=2e-3)
    for frame in frames:
        want = 320 * (0.5 + REACH * np.sin(2 * np.pi * frame.time / 6))
        rows = frame.to_ndarray(format="gray")[40:].astype(int)
        assert abs(int(np.argmax(rows.mean(axis=0))) - want) < 4


def test_a_part_of_two_videos(tmp_path, clip, double):
    with open_duo(clip, double, start=0.1, duration=0.1, crop=Crop(5, 6, 20, 10)) as duo:
        pairs = list(duo.frames(duo.plan(tmp_path / "x.mkv", EXACT)))
    assert len(pairs) == 2
    for (_, ours), whole in zip(pairs, frames_of(double)[3:5], strict=True):
        np.testing.assert_array_equal(ours.planes[0], whole.planes[0][12:32, 10:50])
        np.testing.assert_array_equal(ours.planes[1], whole.planes[1][6:16, 5:25])


def test_the_shorter_one_ends_it_and_other_frames_are_refused(tmp_path, clip, capsys):
    longer = make_clip(tmp_path / "longer.mkv", codec="ffv1", frames=9)
    assert compare(clip, longer, tmp_path / "wipe.mkv") == 0
    assert f"{clip} ends after 6 frames and the other goes on; what both have is shown" in capsys.readouterr().err
    slower = make_clip(tmp_path / "slower.mkv", codec="ffv1", frames=6, pts=[0, 2, 4, 6, 8, 10])
    with pytest.raises(MediaError, match="only videos with the same frames can be compared"):
        compare(clip, slower, tmp_path / "other.mkv")
    assert not list(tmp_path.glob("*other*"))


def test_figures_of_every_frame(tmp_path, clip, double, capsys):
    series = score(double, double, "same")
    assert series.mean[:2] == (float("inf"), 1.0)
    series = score(clip, double, "small")
    assert len(series.seconds) == len(series.vmaf) == 6
    assert series.seconds[5] == pytest.approx(0.2)
    target, table, chart = tmp_path / "wipe.mkv", tmp_path / "figures.csv", tmp_path / "chart.png"
    assert compare(clip, double, target, "--reference", double, "--csv", table, "--plot", chart) == 0
    printed = capsys.readouterr().out
    for value, digits in zip((*series.mean, *series.least), (2, 4, 2, 2, 4, 2), strict=True):
        assert f"{value:.{digits}f}" in printed
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["video"], row["frame"]) for row in rows] == [
        (name, str(n)) for name in ("small.mkv", "large.mkv") for n in range(6)
    ]
    assert [float(row["psnr_y"]) for row in rows[:6]] == pytest.approx(series.psnr, abs=1e-4)
    assert rows[7]["psnr_y"] == "inf"
    picture = cv2.imread(str(chart))
    assert picture.shape[1] > 1000
    for colour in ("#6e7781", "#c2410c"):
        bgr = [int(colour[k : k + 2], 16) for k in (5, 3, 1)]
        assert (np.abs(picture.astype(int) - bgr).max(axis=2) < 4).sum() > 200 * (colour == "#6e7781")


@pytest.mark.parametrize(("one", "other"), [("yuv444p10le", "yuv422p10le"), ("yuv420p", "yuv420p")])
def test_a_phone_s_video_is_measured_as_it_is_shown(tmp_path, one, other):
    def upright(picture, number):
        plane_views(picture, FORMATS[one], writeable=True)[0][...] = code + 9 * number

    def lying(picture, number):
        plane_views(picture, FORMATS[other], writeable=True)[0][...] = np.rot90(code + 9 * number)

    code = np.random.default_rng(0).integers(30, 180, (64, 48))
    reference = make_clip(tmp_path / "a.mkv", codec="ffv1", format=one, size=(48, 64), frames=2, prepare=upright)
    options = {"codec": "ffv1", "format": other, "matrix": LYING, "frames": 2, "prepare": lying}
    turned = make_clip(tmp_path / "b.mkv", **options)
    for pair in ((turned, reference), (reference, turned), (turned, turned)):
        assert score(*pair, "same").mean[:2] == (float("inf"), 1.0)


def test_the_mean_is_evaluate_s(clips):
    one, two = clips / "carphone_distorted.mp4", clips / "carphone_pristine.mp4"
    want = compare_videos(one, two, frames=5)
    found = score(one, two, "distorted", frames=5)
    assert found.mean == pytest.approx((want.psnr_y, want.ssim_y, want.vmaf))
    assert found.first(2).mean != found.mean
    assert len(found.first(2).vmaf) == 2


def test_charts_show_names_as_they_are():
    names = "cost $5_ {a$.mkv", "_hidden.mkv", "plain.mkv"
    series = [Series(name, (0.0, 1.0), (4.0, 5.0), (0.9, 0.8)) for name in names]
    chart = draw(series, ".svg").decode()
    assert all(f"<!-- {name} -->" in chart for name in names)


def test_files_of_one_name_are_told_apart():
    assert told_apart("a/film.mkv", "a/film-2x.mkv") == ("film.mkv", "film-2x.mkv")
    assert told_apart("a/film.mkv", "b/film.mkv") == ("a/film.mkv", "b/film.mkv")


WRONG = {
    "clip.mkv a.png --crop 60,0,10,10": "crop 60,0,10,10 .* does not lie inside the picture, which is 64x48",
    "clip.mkv a.png --crop 0,0,0,10": "the crop 0,0,0,10",
    "clip.mkv a.png --crop 1,2,3": "not a part of a picture; write X,Y,W,H",
    "clip.mkv a.png --frame 6": "clip.mkv has no frame 6; it has 6, and the first one is frame 0",
    "clip.mkv a.png --at 9": r"nothing begins at 9.0 s or later; the file ends at 0.240 s",
    "clip.mkv a.png --at 1 --frame 1": "leave one of them out",
    "clip.mkv a.xyz": "one input is compared in OUT.png or OUT.html, got a.xyz",
    "clip.mkv clip.mkv a.xyz": "the extension '.xyz' of a.xyz is unknown",
    "clip.mkv clip.mkv a": "a has no extension",
    "clip.mkv clip.mkv b.mkv a.png": "one or two files are compared",
    "nowhere.mkv a.png": "nowhere.mkv does not exist",
    "text.mkv a.png": "text.mkv is a text file|text.mkv is no",
    "clip.mkv nowhere.mkv a.mkv": "nowhere.mkv does not exist",
    "clip.mkv nowhere.mkv a.html": "nowhere.mkv does not exist",
    "clip.mkv wide.mkv a.mkv": "clip.mkv is 64x48 and wide.mkv is 96x32; only pictures of one shape",
    "clip.mkv wide.mkv a.png": "clip.mkv is 64x48 and wide.mkv is 96x32; only pictures of one shape",
    "clip.mkv clip.mkv a.mkv --reference wide.mkv": "the reference wide.mkv is 96x32 and clip.mkv 64x48",
    "clip.mkv a.png --model MODEL --reference clip.mkv": "the reference clip.mkv is 64x48, and what is compared 128x96",
    "clip.mkv clip.mkv a.mkv --divider 1.5": "the divider stands at 1.5",
    "clip.mkv clip.mkv a.mkv --divider left": "'left' is no place for the divider",
    "clip.mkv clip.mkv a.mkv --enlarge cubic": "--enlarge takes lanczos or nearest, got 'cubic'",
    "clip.mkv clip.mkv a.mkv --at 0": "--at and --frame choose one frame, for OUT.png or OUT.html",
    "clip.mkv clip.mkv a.mkv --csv a.csv": "--csv and --plot hold what --reference measures",
    "clip.mkv clip.mkv a.mkv --reference clip.mkv --plot a.gif": "a chart is .png, .svg, .pdf, got .gif",
    "clip.mkv clip.mkv a.mkv --start 5": "nothing begins at 5.0 s or later",
    "clip.mkv clip.mkv a.mkv --model x": "--model enlarges one input, and two are named",
    "bunny.png bunny.png a.mkv": "images are compared in OUT.png or OUT.html",
    "bunny.png a.png --at 1": "bunny.png is an image; leave them out",
    "clip.mkv clip.mkv clip.mkv -y": "the output clip.mkv is the input itself",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_requests(tmp_path, monkeypatch, capsys, clip, tiny_model, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mkv").write_bytes(clip.read_bytes())
    (tmp_path / "bunny.png").write_bytes((EXAMPLES / "bunny.png").read_bytes())
    (tmp_path / "text.mkv").write_text("no video")
    make_clip(tmp_path / "wide.mkv", codec="ffv1", size=(96, 32), frames=6)
    before = sorted(path.name for path in tmp_path.iterdir())
    words = [str(tiny_model) if word == "MODEL" else word for word in line.split()]
    try:
        code = compare(*words)
        message = capsys.readouterr().err.removeprefix("rfdn-stream: ")
        assert code == 2
    except (UsageError, MediaError) as error:
        message = str(error)
    assert re.search(WRONG[line], message), message
    assert "\n" not in message.strip()
    assert sorted(path.name for path in tmp_path.iterdir()) == before
