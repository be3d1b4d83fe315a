"""`rfdn-stream evaluate` on videos: against FFmpeg's own filters, by definition, and as its users meet it."""

import contextlib
import json
import weakref
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from av.filter import Graph

from media_samples import frames_of as decoded
from media_samples import make_clip
from rfdn_stream import upscale
from rfdn_stream.cli.app import run
from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.evaluation import vmaf
from rfdn_stream.evaluation.enlargers import Baseline, open_enlargers
from rfdn_stream.evaluation.flicker import Flicker
from rfdn_stream.evaluation.resize import shrink
from rfdn_stream.evaluation.small import LOSSLESS, frames_of, make_small
from rfdn_stream.evaluation.video import Pairs, compare_videos, evaluate_video, luma_of, measured
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Frame
from rfdn_stream.media.frames import plane_views
from rfdn_stream.media.reader import open_source
from support import random_frame
from test_media_deinterlace import woven

X264 = EncodeOptions("libx264", 28)
TURNS = {90: [0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30], 180: [-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30]}


@pytest.fixture(scope="module")
def carphone(clips):
    return clips / "carphone_pristine.mp4"


@pytest.fixture(scope="module")
def distorted(clips):
    return clips / "carphone_distorted.mp4"


def pictures(path, count):
    with av.open(str(path)) as container:
        for number, picture in zip(range(count), container.decode(video=0)):
            picture.pts, picture.time_base = number, Fraction(1, 25)
            yield picture


def filtered(name, result, reference, count, **options):
    """The metadata of each frame that one of FFmpeg's own filters makes of two files."""
    graph = Graph()
    filter, sink = graph.add(name, **options), graph.add("buffersink")
    sources = []
    for pad, path in enumerate((result, reference)):
        first = next(pictures(path, 1))
        size = {"width": first.width, "height": first.height}
        sources.append(graph.add_buffer(**size, format=first.format, time_base=Fraction(1, 25), name=f"in{pad}"))
        sources[pad].link_to(filter, 0, pad)
    filter.link_to(sink)
    graph.configure()
    for pair in zip(pictures(result, count), pictures(reference, count), strict=True):
        for source, picture in zip(sources, pair, strict=True):
            source.push(picture)
    for source in sources:
        source.push(None)
    found = []
    for _ in range(count):
        found.append(dict(sink.pull().metadata))
    return found


def test_psnr_is_ffmpeg_s(carphone, distorted):
    score = compare_videos(distorted, carphone, frames=12)
    errors = [float(frame["lavfi.psnr.mse.y"]) for frame in filtered("psnr", distorted, carphone, 12)]
    assert len(errors) == score.frames == 12
    assert (score.width, score.height) == (176, 144)
    assert score.psnr_y == pytest.approx(10 * np.log10(255**2 / np.mean(errors)), abs=0.01)  # printed to 0.01
    assert 20 < score.psnr_y < 40
    assert 0.4 < score.ssim_y < 0.99
    assert score.notes == ()


def test_vmaf_is_libvmaf_s(carphone, distorted, tmp_path):
    """On the very pictures that the decoder gives, by a graph and a log format of its own."""
    score = compare_videos(distorted, carphone, frames=5).vmaf
    log = tmp_path / "vmaf.json"
    filtered("libvmaf", distorted, carphone, 5, log_path=str(log), log_fmt="json")
    vmaf.gc.collect()
    want = [frame["metrics"]["vmaf"] for frame in json.loads(log.read_text())["frames"]]
    assert len(want) == 5
    assert score == pytest.approx(np.mean(want), abs=1e-5)
    assert compare_videos(carphone, carphone, frames=5).vmaf > 95 > score + 5


def test_vmaf_that_is_abandoned_leaves_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(vmaf.tempfile, "tempdir", str(tmp_path))
    luma = np.full((40, 40), 99.0)
    with contextlib.suppress(KeyError), vmaf.open_vmaf(40, 40, 8) as meter:
        meter.add(luma, luma)
        assert list(tmp_path.iterdir())
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_vmaf_is_left_out_where_it_cannot_be(monkeypatch, carphone, tmp_path):
    clip = make_clip(tmp_path / "small.mkv", codec="ffv1", size=(64, 24), frames=2)
    score = compare_videos(clip, clip)
    assert score.vmaf is None
    assert score.notes == ("VMAF is left out: it needs sides of 32 pixels or more",)
    monkeypatch.setattr(vmaf, "filters_available", {"psnr", "ssim"})
    score = compare_videos(carphone, carphone, frames=2)
    assert score.vmaf is None
    assert score.notes == ("VMAF is left out: this FFmpeg was built without the libvmaf filter",)


def flicker_by_definition(results, references):
    """One pixel after another."""
    changes = []
    for (a, b), (x, y) in zip(pairwise(references), pairwise(results), strict=True):
        for row, column in np.ndindex(a.shape):
            around = slice(max(row - 4, 0), row + 5), slice(max(column - 4, 0), column + 5)
            if np.abs(b[around] - a[around]).max() <= 1:
                changes.append((abs(y[row, column] - x[row, column]), abs(b[row, column] - a[row, column])))
    return (*np.mean(changes, axis=0), len(changes) / (len(references) - 1) / references[0].size)


def test_flicker_is_its_definition():
    random = np.random.default_rng(0)
    base = random.integers(16, 236, (30, 44)).astype(np.float64)
    references = [base + random.choice([0, 0, 0, 1], base.shape) for _ in range(4)]
    references[2][5:8, 30:35] += 9  # something passes by
    results = [frame + random.normal(0, 2, base.shape) for frame in references]
    flicker = Flicker()
    for pair in zip(results, references, strict=True):
        flicker.add(*pair)
    want = flicker_by_definition(results, references)
    assert 0.7 < want[2] < 0.95
    assert (flicker.result, flicker.reference, flicker.still) == pytest.approx(want, abs=1e-12)
    assert flicker.result > 4 * flicker.reference


def test_flicker_needs_something_still():
    flicker = Flicker()
    for level in (20.0, 22.0, 24.0):
        flicker.add(np.full((20, 20), level), np.full((20, 20), level))
        assert (flicker.result, flicker.reference, flicker.still) == (None, None, 0.0)


def test_luma_is_on_one_scale():
    """What 8 bits of limited range hold is taken as it is; other depths and ranges are brought to it."""
    for name, step in (
        ("yuv420p", 1),
        ("nv12", 1),
        ("gray", 1),
        ("yuv422p10le", 4),
        ("p010le", 4),
        ("yuv444p12le", 16),
    ):
        frame = random_frame(name, 20, 14)
        codes = (frame.planes[0] >> frame.format.shift).astype(np.float64)
        np.testing.assert_array_equal(luma_of(frame), codes / step)
    full = Frame((np.array([[0, 255, 51]], np.uint8),), FORMATS["gray"], 3, 1, ColorSpec("bt601", "full"))
    assert luma_of(full) == pytest.approx(np.array([[16, 235, 16 + 219 / 5]]), abs=1e-12)
    with pytest.raises(MediaError, match="gbrp has no luma"):
        luma_of(random_frame("gbrp", color=RGB_FULL))


@pytest.mark.parametrize("format", ["yuv420p", "yuv420p10le", "yuv444p", "gray"])
@pytest.mark.parametrize(("scale", "size"), [(2, (52, 36)), (3, (54, 36)), (4, (48, 32))])
def test_the_small_video(tmp_path, format, scale, size):
    """Sides that the scale or the chroma does not divide are cropped; luma is what benchmarks are made with."""
    clip = make_clip(tmp_path / "clip.mkv", codec="ffv1", format=format, size=(54, 38), frames=3)
    if format in ("yuv444p", "gray"):
        size = (54 // scale * scale, 38 // scale * scale)
    small = tmp_path / "small.mkv"
    assert make_small(clip, small, scale, frames=2) == "lossless"
    frames = decoded(small)
    assert len(frames) == 2
    for (_, _, got), (_, _, want) in zip(frames, decoded(clip)):
        assert got[0].shape == (size[1] // scale, size[0] // scale)
        if format != "yuv420p10le":
            np.testing.assert_array_equal(got[0], shrink(want[0][: size[1], : size[0]], scale))
        else:
            assert got[0].max() > 255


def test_compression_is_named_and_costs(carphone):
    rows = evaluate_video(carphone, [Baseline("lanczos", 2)], [LOSSLESS, EncodeOptions("libx264", 23), X264], frames=5)
    assert [row.encoding for row in rows] == ["lossless", "libx264 crf 23", "libx264 crf 28"]
    for better, worse in pairwise(row.score for row in rows):
        assert better.psnr_y > worse.psnr_y + 0.5
        assert better.ssim_y > worse.ssim_y
        assert better.vmaf > worse.vmaf


def test_a_network_s_video_is_the_file_door_s(carphone, tiny_model, tmp_path):
    """`evaluate` tells of the very frames that `upscale` writes."""
    make_small(carphone, tmp_path / "small.mkv", 2, X264, frames=6)
    upscale(tmp_path / "small.mkv", tmp_path / "big.mkv", model=tiny_model, precision="fp32", codec="ffv1")
    with open_enlargers([tiny_model, "lanczos"], precision="fp32") as enlargers:
        network, lanczos = evaluate_video(carphone, enlargers, [X264], frames=6)
    assert network.score == compare_videos(tmp_path / "big.mkv", carphone, frames=6)
    assert network.score.frames == 6
    assert (network.enlarger, lanczos.enlarger) == ("tiny-x2", "lanczos")
    assert network.score != lanczos.score


def test_a_cropped_original_is_compared_with_its_part(tmp_path):
    clip = make_clip(tmp_path / "clip.mkv", codec="ffv1", size=(54, 38), frames=2)
    (row,) = evaluate_video(clip, [Baseline("bicubic", 4)])
    assert (row.score.width, row.score.height) == (48, 32)
    assert row.score.psnr_y < 40


def test_equal_videos(carphone):
    score = compare_videos(carphone, carphone, frames=3)
    assert (score.psnr_y, score.ssim_y, score.frames) == (float("inf"), 1.0, 3)
    assert score.flicker == score.flicker_reference
    assert 0 < score.still < 1


def test_the_longer_video_is_compared_as_far_as_the_other_goes(tmp_path):
    long, short = (make_clip(tmp_path / f"{n}.mkv", codec="ffv1", frames=n) for n in (9, 6))
    for result, reference in ((short, long), (long, short)):
        score = compare_videos(result, reference)
        assert score.frames == 6
        assert score.notes == (f"{short} ends after 6 frames and the other goes on; what both have was compared",)
    assert compare_videos(short, long, frames=6).notes == ()


def test_times_are_compared_from_the_first_frame_on(tmp_path):
    """Another start or container is no difference; a frame that is missing is one."""
    clip = make_clip(tmp_path / "clip.mkv", codec="ffv1", frames=8)
    later = make_clip(tmp_path / "later.mp4", codec="libx264", frames=8, pts=[50 + n for n in range(8)])
    assert compare_videos(later, clip).frames == 8
    gap = make_clip(tmp_path / "gap.mkv", codec="ffv1", frames=7, pts=[0, 1, 2, 4, 5, 6, 7])
    message = r"frame 3 of .*gap\.mkv is shown 0\.1600 s after its first frame and that of .*clip\.mkv 0\.1200 s"
    with pytest.raises(MediaError, match=message):
        compare_videos(gap, clip)
    counted = make_clip(tmp_path / "counted.avi", codec="ffv1", frames=8)  # its ticks are whole frames
    with pytest.raises(MediaError, match=r"0\.1600 s after its first frame and that of .*counted\.avi 0\.1200 s"):
        compare_videos(gap, counted)


def test_more_frames_than_matroska_has_ticks(tmp_path):
    """Times are rounded to milliseconds in the small video, and in those that others have made."""
    base = Fraction(1, 2000)
    clip = make_clip(tmp_path / "fast.mp4", time_base=base, rate=1 / base, frames=20)
    (row,) = evaluate_video(clip, [Baseline("lanczos", 2)])
    assert (row.score.frames, row.score.notes) == (20, ())
    exact, rounded = (
        make_clip(tmp_path / name, time_base=Fraction(1, 900), rate=Fraction(900), frames=9)
        for name in ("exact.mp4", "rounded.mkv")
    )
    assert compare_videos(rounded, exact).frames == 9


@pytest.mark.parametrize(("degrees", "matrix"), TURNS.items())
def test_a_phone_s_video_is_compared_as_it_is_shown(tmp_path, degrees, matrix):
    def upright(picture, number):
        plane_views(picture, picture_format, writeable=True)[0][...] = code + 9 * number

    def lying(picture, number):
        plane_views(picture, picture_format, writeable=True)[0][...] = np.rot90(code + 9 * number, degrees // 90)

    picture_format, code = FORMATS["yuv420p"], np.random.default_rng(0).integers(30, 180, (64, 48))
    whole = make_clip(tmp_path / "whole.mkv", codec="ffv1", size=(48, 64), frames=2, prepare=upright)
    stored = np.rot90(code, degrees // 90).shape[::-1]
    options = {"codec": "ffv1", "size": stored, "frames": 2, "matrix": matrix, "prepare": lying}
    turned = make_clip(tmp_path / "turned.mkv", **options)
    for pair in ((turned, whole), (whole, turned), (turned, turned)):
        score = compare_videos(*pair)
        assert (score.psnr_y, score.ssim_y, score.frames) == (float("inf"), 1.0, 2)
    other = make_clip(tmp_path / "other.mkv", codec="ffv1", size=(64, 48), frames=2)
    with pytest.raises(UsageError, match=r"turned\.mkv is 48x64 and .*other\.mkv 64x48"):
        compare_videos(turned, other)


def test_interlaced_video_is_measured_as_upscale_makes_frames_of_it(tmp_path):
    fields = make_clip(tmp_path / "fields.mkv", frames=8, prepare=woven, options={"flags": "+ildct+ilme", "qp": "1"})
    with open_source(fields, deinterlace="auto") as source:
        made = [frame.copy() for frame in frames_of(source)]

    def copied(picture, number):
        for plane, want in zip(plane_views(picture, made[number].format, writeable=True), made[number].planes):
            plane[...] = want

    frames = make_clip(tmp_path / "frames.mkv", codec="ffv1", frames=8, prepare=copied)
    score = compare_videos(frames, fields)
    assert (score.psnr_y, score.frames) == (float("inf"), 8)
    note = f"{fields} is interlaced; whole frames were made of its fields, as upscale does"
    assert score.notes == (note,)
    (ours,), (want,) = (evaluate_video(clip, [Baseline("lanczos", 2)]) for clip in (fields, frames))
    assert ours.score == replace(want.score, notes=(note,))


def test_memory_does_not_depend_on_the_length(tiny_model):
    """Frames alive at once, on the way of a hundred: those in the ring, and the pair at hand."""
    alive, most = set(), [0]

    def frames(width, height):
        for number in range(100):
            frame = random_frame("yuv420p", width, height, seed=number % 3, pts=number)
            alive.add(id(frame))
            weakref.finalize(frame, alive.discard, id(frame))
            most[0] = max(most[0], len(alive))
            yield frame

    with open_enlargers([tiny_model]) as (enlarger,):
        pairs = Pairs(enlarger.map(frames(16, 16)), frames(32, 32), None, ("result", "reference"))
        assert measured(pairs).frames == 100
    assert 2 <= most[0] <= 8


def evaluate(*arguments):
    return run(["evaluate", *map(str, arguments)])


def test_the_table_shows_the_gain(carphone, tiny_model, capsys):
    assert evaluate(tiny_model, carphone, "--crf", "none,28", "--frames", "3", "--json", "-") == 0
    rows = json.loads(capsys.readouterr().out)["videos"]
    assert [(row["small"], row["model"]) for row in rows] == [
        (small, model) for small in ("lossless", "libx264 crf 28") for model in ("lanczos", "tiny-x2")
    ]
    assert {row["frames"] for row in rows} == {3}
    assert evaluate(tiny_model, carphone, "--crf", "none,28", "--frames", "3") == 0
    text = capsys.readouterr().out
    assert "carphone_pristine.mp4, 3 frames of 176x144, made small by 2" in text
    for lanczos, network in ((rows[0], rows[1]), (rows[2], rows[3])):
        line = next(line for line in text.splitlines() if lanczos["small"] in line)
        assert f"{lanczos['psnr_y']:.2f}" in line
        assert f"{network['psnr_y']:.2f} {network['psnr_y'] - lanczos['psnr_y']:+.2f}" in text
        assert f"{network['vmaf']:.2f} {network['vmaf'] - lanczos['vmaf']:+.2f}" in text
        assert f"{network['flicker']:.3f}" in text
    assert f"{rows[0]['flicker_reference']:.3f}" in text


def test_two_files_are_compared(carphone, distorted, capsys):
    assert evaluate(distorted, carphone, "--reference", carphone, "--frames", "3") == 0
    text = capsys.readouterr().out
    score = compare_videos(distorted, carphone, frames=3)
    for fact in ("carphone_distorted.mp4", f"{score.psnr_y:.2f}", f"{score.vmaf:.2f}", "inf", "1.0000"):
        assert fact in text


def test_the_vmaf_column_is_left_out(tmp_path, capsys):
    clip = make_clip(tmp_path / "clip.mkv", codec="ffv1", size=(64, 24), frames=2)
    assert evaluate("lanczos", clip) == 0
    text = capsys.readouterr().out
    assert "VMAF is left out: it needs sides of 32 pixels or more" in text
    assert text.count("VMAF") == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["big.mkv", "--reference", "small.mkv"], UsageError, "big.mkv is 64x48 and small.mkv 32x24; the reference is"),
        (["tiny.mkv", "--reference", "tiny.mkv"], UsageError, "tiny.mkv is 16x8; videos to be compared have 11x11"),
        (["lanczos", "tiny.mkv"], UsageError, "tiny.mkv is 16x8; divided by 2 and enlarged again"),
        (["lanczos", "rgb.mkv"], MediaError, r"rgb\.mkv is RGB \(gbrp\) and has no luma"),
        (["rgb.mkv", "--reference", "rgb.mkv"], MediaError, r"rgb\.mkv is RGB \(gbrp\) and has no luma"),
        (["lanczos", "text.mkv"], MediaError, "text.mkv"),
        (["lanczos", "big.mkv", "--codec", "mpeg4", "--crf", "20"], UsageError, "mpeg4 takes no crf"),
        (["lanczos", "deep.mkv", "--codec", "libvpx-vp9"], MediaError, "does not take the gray12le of deep.mkv"),
        (["nowhere.mkv", "--reference", "big.mkv"], MediaError, "nowhere.mkv does not exist"),
        (["big.mkv", "--reference", "nowhere.mkv"], MediaError, "nowhere.mkv does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_requests(tmp_path, monkeypatch, capsys, arguments, error, message):
    monkeypatch.chdir(tmp_path)
    for name, size in (("big", (64, 48)), ("small", (32, 24)), ("tiny", (16, 8))):
        make_clip(tmp_path / f"{name}.mkv", codec="ffv1", size=size, frames=2)
    make_clip(tmp_path / "rgb.mkv", codec="libx264rgb", format="rgb24", frames=2)
    make_clip(tmp_path / "deep.mkv", codec="ffv1", format="gray12le", frames=2)
    (tmp_path / "text.mkv").write_text("no video")
    with pytest.raises(error, match=message) as failure:
        evaluate(*arguments)
    assert "\n" not in str(failure.value)
    assert capsys.readouterr().out == ""
