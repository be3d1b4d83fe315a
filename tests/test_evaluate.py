"""`rfdn-stream evaluate` on pictures: data sets, figures, tables, JSON, and what is refused."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from rfdn_stream import Upscaler
from rfdn_stream.cli.app import run
from rfdn_stream.cli.evaluate import _progress
from rfdn_stream.errors import MediaError, RfdnError, UsageError
from rfdn_stream.evaluation.benchmark import Pair, evaluate_pictures, find_pairs
from rfdn_stream.evaluation.enlargers import Baseline, open_enlargers, resized
from rfdn_stream.evaluation.metrics import psnr_y, ssim_y
from rfdn_stream.evaluation.names import distinct
from rfdn_stream.evaluation.resize import BICUBIC, LANCZOS, bicubic, resize, shrink, windowed_sinc
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Frame, Layout
from rfdn_stream.kernels import reference
from support import EXAMPLES, save_tiny

BUNNY = EXAMPLES / "bunny.mp4"


def picture(number=0, height=60, width=82):
    """A smooth picture with some noise on it, RGB."""
    rows, columns = np.mgrid[:height, :width] / 9
    waves = np.stack([np.sin(rows + k + number) * np.cos(columns - k) for k in range(3)], axis=2)
    noise = np.random.default_rng(number).normal(0, 4, waves.shape)
    return np.clip(128 + 90 * waves + noise, 0, 255).astype(np.uint8)


def save(path, rgb):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1] if rgb.ndim == 3 else rgb)
    return path


@pytest.fixture
def originals(tmp_path):
    """A folder of three originals, one of odd size, and a file that is no picture."""
    for number, name in enumerate("abc"):
        save(tmp_path / "originals" / f"{name}.png", picture(number, 60 + number, 82))
    (tmp_path / "originals" / "readme.txt").write_text("about these pictures")
    return tmp_path / "originals"


@pytest.fixture
def pairs(tmp_path):
    """The same with small pictures, for x2."""
    for number, name in enumerate("abc"):
        large = picture(number, 60 + number, 82)
        save(tmp_path / "pairs" / "x2" / "HR" / f"{name}.png", large)
        save(tmp_path / "pairs" / "x2" / "LR" / f"{name}.png", shrink(large, 2))
    (tmp_path / "pairs" / "x4").mkdir()
    return tmp_path / "pairs"


def evaluate(*arguments):
    """Runs the command in this process, since torch takes seconds to import."""
    return run(["evaluate", *map(str, arguments)])


def test_scores_are_those_of_the_pictures(originals):
    score = evaluate_pictures(Baseline("bicubic", 2), originals)
    assert [p.name for p in score.pictures] == ["a", "b", "c"]
    for number, got in enumerate(score.pictures):
        large = picture(number, 60 + number, 82)[: 60 + number // 2 * 2]
        big = bicubic(shrink(large, 2), *large.shape[:2])
        assert (got.psnr_y, got.ssim_y) == (psnr_y(big, large, 2), ssim_y(big, large, 2))
    assert score.psnr_y == pytest.approx(np.mean([p.psnr_y for p in score.pictures]), abs=1e-12)
    assert score.ssim_y == pytest.approx(np.mean([p.ssim_y for p in score.pictures]), abs=1e-12)


def test_small_pictures_are_made_or_taken(originals, pairs):
    made, taken = (evaluate_pictures(Baseline("lanczos", 2), folder) for folder in (originals, pairs))
    assert made.pictures == taken.pictures
    # Other small pictures, other scores: they are looked at.
    save(pairs / "x2" / "LR" / "b.png", shrink(picture(7, 61, 82), 2))
    changed = evaluate_pictures(Baseline("lanczos", 2), pairs).pictures
    assert changed[1].psnr_y < made.pictures[1].psnr_y - 5
    assert (changed[0], changed[2]) == (made.pictures[0], made.pictures[2])


def test_lanczos_is_the_better_baseline_on_a_real_picture():
    lanczos, plain = (evaluate_pictures(Baseline(name, 2), EXAMPLES / "bunny.png") for name in ("lanczos", "bicubic"))
    assert lanczos.psnr_y > plain.psnr_y + 0.2
    assert lanczos.ssim_y > plain.ssim_y


def test_a_network_s_pictures_are_the_upscaler_s(originals, tiny_model):
    """More pictures than the ring has slots, each with its own original."""
    for number in range(3, 8):
        save(originals / f"{number}.png", picture(number, 40, 46))
    got = {}
    with open_enlargers([tiny_model], precision="fp32") as (enlarger,):
        score = evaluate_pictures(enlarger, originals, lambda pair, big: got.update({pair.large.stem: big.planes[0]}))
    assert [p.name for p in score.pictures] == list(got) == ["3", "4", "5", "6", "7", "a", "b", "c"]
    with Upscaler(tiny_model, precision="fp32") as upscaler:
        for each in score.pictures:
            large = cv2.imread(str(originals / f"{each.name}.png"))[..., ::-1]
            big = upscaler(np.ascontiguousarray(shrink(large, 2)))
            np.testing.assert_array_equal(got[each.name], big)
            assert each.psnr_y == psnr_y(big, large[: big.shape[0]], 2)


def test_grey_pictures_count_as_rgb_and_transparency_is_left_out(tmp_path):
    grey = picture()[..., 0]
    save(tmp_path / "grey.png", grey)
    save(tmp_path / "rgb.png", np.dstack([grey] * 3))
    assert cv2.imwrite(str(tmp_path / "rgba.png"), np.dstack([grey] * 3 + [255 - grey]))
    scores = evaluate_pictures(Baseline("bicubic", 3), tmp_path).pictures
    assert scores[0].psnr_y == scores[1].psnr_y == scores[2].psnr_y


def test_what_a_data_set_may_be(originals, pairs):
    assert [p.large.name for p in find_pairs(originals, 2)] == ["a.png", "b.png", "c.png"]
    assert find_pairs(originals / "b.png", 4) == [Pair(originals / "b.png", None, "b")]
    inside = pairs / "x2"
    want = [Pair(inside / "HR" / f"{name}.png", inside / "LR" / f"{name}.png", name) for name in "abc"]
    assert find_pairs(pairs, 2) == find_pairs(inside, 2) == want
    (inside / "LR" / "b.png").rename(inside / "LR" / "b.webp")
    assert find_pairs(inside, 2)[1].small == inside / "LR" / "b.webp"


def test_lanczos_kernel():
    assert windowed_sinc(np.array([0.0, 1, -2, 3, 3.5])) == pytest.approx([1, 0, 0, 0, 0], abs=1e-15)
    half = np.sin(np.pi / 2) / (np.pi / 2) * np.sin(np.pi / 6) / (np.pi / 6)
    assert windowed_sinc(np.array([0.5, -0.5])) == pytest.approx([half, half], abs=1e-15)
    flat = np.full((9, 7), 700, np.uint16)
    assert (resize(flat, 18, 21, LANCZOS, peak=1023) == 700).all()
    steep = np.where(np.arange(40) < 20, 0, 1023).astype(np.uint16)[None].repeat(40, axis=0)
    assert resize(steep, 80, 80, LANCZOS, peak=1023).max() == 1023  # overshoot is cut at the format's largest code


@pytest.mark.parametrize("name", ["yuv420p12le", "p010le", "yuv422p10le", "yuv444p10le", "gray12le", "gbrp10le"])
@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
@pytest.mark.parametrize("axis", [0, 1])
def test_resizing_moves_no_plane(name, siting, axis):
    """A slope in all components is the same slope at another size, by the kernels that know about siting."""
    format = FORMATS[name]
    color = RGB_FULL if format.family == "rgb" else ColorSpec("bt601", "full", siting)
    slope = 0.1 + 0.8 * np.mgrid[:64, :64][axis] / 64
    planes = reference.quantise(reference.from_rgb(np.stack([slope, 1 - slope, slope]), format, color), format)
    source = reference.to_rgb(planes, format, color)
    for size in ((32, 32), (96, 128)):
        got = resized(Frame(planes, format, 64, 64, color), *size, BICUBIC)
        assert got.layout == Layout(format, *size)
        back = reference.to_rgb(got.planes, format, color)
        want = np.stack([resize_linear(plane, *size) for plane in source])
        # A quarter of a chroma sample, were it forgotten, would be 0.006; rounding to codes is below 0.001.
        inside = (slice(None), slice(8, -8), slice(8, -8))
        assert np.abs(np.mean(back[inside] - want[inside], axis=(1, 2))).max() < 0.0015


def resize_linear(plane, width, height):
    """A straight slope at another size."""
    y = (np.arange(height) + 0.5) * plane.shape[0] / height - 0.5
    x = (np.arange(width) + 0.5) * plane.shape[1] / width - 0.5
    along = np.stack([np.interp(x, np.arange(plane.shape[1]), row) for row in plane])
    return np.stack([np.interp(y, np.arange(plane.shape[0]), column) for column in along.T]).T


def test_enlargers_are_of_one_scale(tmp_path, tiny_model):
    four = save_tiny(tmp_path / "tiny-x4.safetensors", scale=4)
    with open_enlargers(["bicubic", four, "lanczos", four]) as enlargers:
        assert [(e.name, e.scale) for e in enlargers] == [
            ("bicubic", 4),
            ("tiny-x4", 4),
            ("lanczos", 4),
            ("tiny-x4", 4),
        ]
        assert enlargers[1] is enlargers[3]
    with open_enlargers(["bicubic"]) as (alone,):
        assert alone.scale == 2
    for names, scale, message in (
        ([tiny_model, four], None, "tiny-x2 by 2, tiny-x4 by 4; evaluate them one by one"),
        ([four], 2, "tiny-x4 enlarges by 4, not by 2"),
        (["bicubic"], 5, "choose 2, 3 or 4"),
    ):
        with pytest.raises(UsageError, match=message), open_enlargers(names, scale=scale):
            pass


def test_the_table_and_the_json_say_the_same(originals, tiny_model, tmp_path, capsys):
    target = tmp_path / "scores.json"
    assert evaluate("bicubic", tiny_model, originals, "--json", target, "--precision", "fp32") == 0
    printed = capsys.readouterr().out
    assert evaluate("bicubic", tiny_model, originals, "--json", "-", "--precision", "fp32") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures == json.loads(target.read_text())
    plain, network = figures["pictures"]
    assert [entry["model"] for entry in (plain, network)] == ["bicubic", "tiny-x2"]
    assert plain["scale"] == network["scale"] == 2
    assert "fp32" in network["computed"]
    assert plain["psnr_y"] == evaluate_pictures(Baseline("bicubic", 2), originals).psnr_y
    rows = [line.split() for line in printed.splitlines() if line.strip()]
    shown = {row[0]: row[1:] for row in rows if row[0] in ("a", "b", "c", "mean")}
    for entry in [*zip(plain["pictures"], network["pictures"], strict=True), (plain, network)]:
        want = [f"{value:{form}}" for e in entry for value, form in ((e["psnr_y"], ".3f"), (e["ssim_y"], ".4f"))]
        assert shown[entry[0].get("name", "mean")] == want


def test_names_are_shown_as_they_are(tmp_path, capsys):
    save(tmp_path / "[red]one[nothing].png", picture())
    assert evaluate("lanczos", tmp_path) == 0
    assert "[red]one[nothing]" in capsys.readouterr().out


def test_equal_pictures_are_null_in_json(tmp_path, capsys):
    save(tmp_path / "flat.png", np.full((40, 40, 3), 99, np.uint8))
    assert evaluate("lanczos", tmp_path, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["pictures"][0]["pictures"][0]["psnr_y"] is None
    assert evaluate("lanczos", tmp_path) == 0
    assert "inf" in capsys.readouterr().out


def test_enlarged_pictures_are_kept(originals, pairs, tmp_path, capsys):
    kept = tmp_path / "kept"
    assert evaluate("lanczos", "bicubic", originals, pairs, "--images", kept) == 0
    files = sorted(str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file())
    assert files == [f"{d}/{m}/{n}.png" for d in ("originals", "pairs") for m in ("bicubic", "lanczos") for n in "abc"]
    large = picture(1, 61, 82)
    got = cv2.imread(str(kept / "pairs/bicubic/b.png"))[..., ::-1]
    np.testing.assert_array_equal(got, bicubic(shrink(large, 2), 60, 82))
    with pytest.raises(UsageError, match="is no empty folder"):
        evaluate("bicubic", originals, "--images", kept)


def test_files_of_one_name_are_told_apart(tmp_path, monkeypatch, capsys):
    """Every training run's weights have one name, and so have the folders of originals."""
    monkeypatch.chdir(tmp_path)
    for number, (run_of, dataset) in enumerate((("first", "Set5"), ("second", "Set14"))):
        (tmp_path / run_of).mkdir()
        save_tiny(tmp_path / run_of / "weights.safetensors", seed=number)
        save(tmp_path / dataset / "HR" / "a.png", picture(number, 40, 46))
    models, datasets = ["first/weights.safetensors", "second/weights.safetensors"], ["Set5/HR", "Set14/HR"]
    assert evaluate(*models, *datasets, "--images", "kept", "--json", "-") == 0
    figures = json.loads(capsys.readouterr().out)["pictures"]
    assert [(each["dataset"], each["model"]) for each in figures] == [(d, m) for d in datasets for m in models]
    files = sorted(path for path in (tmp_path / "kept").rglob("*.png"))
    assert [str(path.relative_to(tmp_path / "kept")) for path in files] == [
        f"{dataset}%2FHR/{run_of}%2Fweights.safetensors/a.png"
        for dataset in ("Set14", "Set5")
        for run_of in ("first", "second")
    ]
    assert len({path.read_bytes() for path in files}) == 4
    save_tiny(tmp_path / "second" / "weights.safetensors", scale=4)
    with pytest.raises(UsageError, match=r"got first/weights\.safetensors by 2, second/weights\.safetensors by 4; ev"):
        evaluate(*models, *datasets)


def test_pictures_of_one_name_but_for_the_extension(tmp_path, capsys):
    for number, name in enumerate(("a.jpg", "a.png", "b.png")):
        save(tmp_path / "set" / name, picture(number))
    assert evaluate("bicubic", tmp_path / "set", "--images", tmp_path / "kept", "--json", "-") == 0
    names = [each["name"] for each in json.loads(capsys.readouterr().out)["pictures"][0]["pictures"]]
    assert names == ["a.jpg", "a.png", "b"]
    kept = sorted((tmp_path / "kept").rglob("*.png"))
    assert [path.name for path in kept] == [f"{name}.png" for name in names]
    assert len({path.read_bytes() for path in kept}) == 3
    for folder, other in (("HR", "LR"), ("LR", "HR")):
        data = tmp_path / f"double-{folder}"
        for name in (f"{folder}/a.png", f"{folder}/a.webp", f"{other}/a.png"):
            save(data / name, picture())
        with pytest.raises(UsageError, match=rf"{folder}/a\.png and a\.webp have one name but for the extension"):
            find_pairs(data, 2)


def test_names_are_told_apart_whatever_they_are():
    assert distinct(["a", "b", "a"], ["x/a", "b", "y/a"]) == ["x/a", "b", "y/a"]
    assert distinct(["a", "a", "a.png"], ["a.png", "a.jpg", "a.png.png"]) == ["a.png", "a.jpg", "a.png.png"]


def test_the_bar_shows_brackets(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with _progress("film[b].mkv") as advance:
        advance(1, 2)
    assert "film[b].mkv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bicubic", "nowhere"], "nowhere does not exist, and no model has that name; models are erfdn-x2-video"),
        (["bicubix", "originals"], "bicubix does not exist, and no model has that name"),
        (["originals"], "no model is named"),
        (["bicubic"], "no data are named"),
        (["bicubic", "empty"], "empty holds no pictures; known are .jpeg"),
        (["bicubic", "pairs", "--scale", "3"], "pairs has pictures for x2, x4, not for x3"),
        (["bicubic", "pairs", "--scale", "4"], "x4 holds no pictures"),
        (
            ["bicubic", "unpaired"],
            "unpaired: b is in HR and has no counterpart of that name in LR, and 1 more have none",
        ),
        (["bicubic", "without"], "HR does not exist; a data set with small pictures in LR has the large ones in HR"),
        (["bicubic", "misfit"], r"LR/a.png is 20x20; at x2 it must be 41x30, as misfit/HR/a.png is 82x60"),
        (["bicubic", "minute.png"], "minute.png is 16x30; pictures measured at x2 have sides of 17 pixels or more"),
        (["bicubic", "deep.png"], "deep.png has 16 bits a sample"),
        (["bicubic", "originals", "--scale", "5"], "scale 5"),
        (["erfdn-x2-clean", "originals", "--scale", "3"], "enlarges by 2, not by 3"),
        (["bicubic", "originals", "--crf", "23"], "--crf, --codec and --frames are for videos"),
        (["bicubic", BUNNY, "--images", "new"], "no folder of pictures is named"),
        (["bicubic", "originals", "--json", "scores.txt"], "scores.txt; name a file"),
        (["bicubic", "originals", "--json", "no/scores.json"], "the folder no does not exist"),
        (["bicubic", BUNNY, "--crf", "good"], "--crf good is not understood"),
        (["bicubic", BUNNY, "--crf", "none,52"], "libx264 takes a crf of 0 to 51, got 52"),
        (["bicubic", BUNNY, "--codec", "libx246"], "did you mean .*libx264"),
        ([BUNNY, "--reference", BUNNY, "--crf", "20"], "--reference compares videos as they are"),
        (["originals/a.png", "--reference", BUNNY], "compares videos, got the picture originals/a.png"),
    ],
    ids=lambda value: " ".join(str(v).rpartition("/")[2] for v in value) if isinstance(value, list) else "",
)
def test_wrong_requests(tmp_path, monkeypatch, capsys, originals, pairs, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    save(tmp_path / "unpaired/HR/a.png", picture())
    save(tmp_path / "unpaired/HR/b.png", picture())
    save(tmp_path / "unpaired/LR/a.png", shrink(picture(), 2))
    save(tmp_path / "unpaired/LR/c.png", shrink(picture(), 2))
    save(tmp_path / "without/LR/a.png", picture())
    save(tmp_path / "misfit/HR/a.png", picture())
    save(tmp_path / "misfit/LR/a.png", picture(0, 20, 20))
    save(tmp_path / "minute.png", picture(0, 30, 16))
    assert cv2.imwrite(str(tmp_path / "deep.png"), picture().astype(np.uint16))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=message) as failure:
        evaluate(*arguments)
    assert "\n" not in str(failure.value)
    assert capsys.readouterr().out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unreadable_picture_is_named(originals):
    (originals / "b.png").write_bytes((originals / "b.png").read_bytes()[:200])
    with pytest.raises(MediaError, match=r"b\.png"):
        evaluate("bicubic", originals)
    assert issubclass(MediaError, RfdnError)


def test_help_comes_before_heavy_imports():
    code = (
        "import sys\nfrom rfdn_stream.cli.app import run\nrun(['evaluate', '--help'])\n"
        "print('HEAVY', sorted({'torch', 'av', 'numpy', 'cv2'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in result.stdout
    for option in ("--images", "--crf", "--codec", "--frames", "--reference", "--scale", "--device", "--json"):
        assert option in result.stdout
