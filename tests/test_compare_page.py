"""The page of `rfdn-stream compare`, in a real browser without a network: slider, keys, touch, both videos in step."""

import json
import re

import cv2
import numpy as np
import pytest

from browser import Browser
from live_shots import until
from media_samples import make_clip
from rfdn_stream.cli.app import run
from rfdn_stream.frame import FORMATS
from rfdn_stream.jobs.compare import Crop, media_of_videos, open_duo, write_page
from rfdn_stream.jobs.compare import page as page_module
from rfdn_stream.media.frames import plane_views

FRAMES = 8


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def grey(first, step):
    """Makes frame n one grey all over, `first` + n times `step`."""

    def prepare(picture, number):
        for plane, code in zip(
            plane_views(picture, FORMATS["yuv420p"], writeable=True), (first + number * step, 128, 128)
        ):
            plane[...] = code

    return prepare


@pytest.fixture
def videos(tmp_path):
    """A small one that gets brighter, and a large one that gets darker."""
    small = make_clip(tmp_path / "small.mkv", codec="ffv1", frames=FRAMES, prepare=grey(40, 6))
    large = make_clip(tmp_path / "large.mkv", codec="ffv1", size=(128, 96), frames=FRAMES, prepare=grey(220, -8))
    return small, large


def opened(browser, path, size=(800, 700)):
    page = browser.page(path.as_uri(), size)
    until(lambda: page.evaluate("ready"))
    return page


def line(page, path):
    """The row of pixels across the picture, in RGB, well above the divider's knob."""
    top, height = page.evaluate("(box => [box.top, box.height])(canvas.getBoundingClientRect())")
    return cv2.imread(str(page.screenshot(path)))[..., ::-1][round(top + height * 0.25)]


def shown(level):
    """What a screen shows of a luma code."""
    return round((level - 16) * 255 / 219)


def both(page, path):
    """What is left and right of the divider."""
    row = line(page, path)
    left, width = page.evaluate("(box => [box.left, box.width])(canvas.getBoundingClientRect())")
    return int(row[round(left + width * 0.1)][1]), int(row[round(left + width * 0.9)][1])


def test_two_videos_stay_in_step(tmp_path, videos, browser, capsys):
    target = tmp_path / "page.html"
    assert run(["compare", *map(str, videos), str(target)]) == 0
    assert f"{FRAMES} frames of 128x96, small.mkv to the left" in capsys.readouterr().err
    page = opened(browser, target)
    assert page.evaluate("[...document.querySelectorAll('.tag')].map(tag => tag.textContent)") == [
        "small.mkv 64x48, Lanczos",
        "large.mkv 128x96",
    ]
    for number in range(FRAMES):
        if number:
            page.press(".", 190)
        until(lambda n=number: page.evaluate("$('clock').textContent").endswith(f"frame {n}"))
        until(lambda: page.evaluate("!video.seeking"))
        want = shown(40 + 6 * number), shown(220 - 8 * number)
        # A screenshot may be of one half drawn and the other not yet.
        until(lambda want=want: both(page, tmp_path / "step.png") == pytest.approx(want, abs=3))
    page.press(",", 188)
    until(lambda: page.evaluate("$('clock').textContent").endswith(f"frame {FRAMES - 2}"))
    page.press(" ", 32)
    until(lambda: page.evaluate("!video.paused && $('play').textContent === 'pause'"))
    page.press(" ", 32)
    until(lambda: page.evaluate("video.paused"))


def test_the_divider_goes_by_key_mouse_and_touch(tmp_path, videos, browser):
    target = tmp_path / "page.html"
    assert run(["compare", *map(str, videos), str(target), "--frame", "0", "--enlarge", "nearest", "-q"]) == 0
    page = opened(browser, target)
    dark, bright = shown(40), shown(220)
    left, width = page.evaluate("(box => [box.left, box.width])(canvas.getBoundingClientRect())")

    def edge():
        row = line(page, tmp_path / "edge.png")[round(left) : round(left + width), 1].astype(int)
        assert (np.abs(row - dark) < 3).sum() + (np.abs(row - bright) < 3).sum() > len(row) - 6
        return (np.abs(row - dark) < 3).sum() / len(row)

    assert edge() == pytest.approx(0.5, abs=0.01)
    for _ in range(5):
        page.press("ArrowRight", 39)
    assert edge() == pytest.approx(0.6, abs=0.01)
    y = page.evaluate("(box => box.top + box.height / 2)(canvas.getBoundingClientRect())")
    for kind, x in (("mousePressed", 0.2), ("mouseMoved", 0.3), ("mouseReleased", 0.3)):
        where = {"x": left + width * x, "y": y}
        page.call("Input.dispatchMouseEvent", type=kind, **where, button="left", buttons=1, clickCount=1)
    assert edge() == pytest.approx(0.3, abs=0.01)
    page.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": left + width * 0.7, "y": y}])
    page.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{"x": left + width * 0.8, "y": y}])
    page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    until(lambda: float(page.evaluate("wipe.value")) > 69)
    assert edge() > 0.68
    page.press("Home", 36)
    assert edge() == 0
    assert page.evaluate("$('left').hidden && !$('right').hidden")
    page.press("End", 35)
    assert edge() == 1
    page.press("z", 90)
    assert page.evaluate("[canvas.width, canvas.height]") == [128, 96]  # a pixel of the screen for each


def test_the_page_needs_no_network_and_no_trust(tmp_path, videos, browser):
    with open_duo(*videos) as duo:
        media = media_of_videos(duo, chosen=False)
    name = "</script><b>&amp;"
    write_page(tmp_path / "page.html", name, (name, name), ("", ""), media)
    text = (tmp_path / "page.html").read_text()
    assert "default-src 'none'" in text
    assert re.findall(r"\w+://", text) == []
    page = opened(browser, tmp_path / "page.html")
    assert page.evaluate("[document.title, $('left').textContent, document.querySelector('b')]") == [
        name,
        name + " ",
        None,
    ]
    assert page.evaluate("performance.getEntriesByType('resource').filter(e => /^http/.test(e.name)).length") == 0


def test_figures_are_told_and_follow(tmp_path, videos, browser):
    target = tmp_path / "page.html"
    assert run(["compare", *map(str, videos), str(target), "--reference", str(videos[1]), "-q"]) == 0
    page = opened(browser, target, (900, 1400))
    cells = page.evaluate("[...$('means').rows].map(row => [...row.cells].map(cell => cell.textContent))")
    told = json.loads(page.evaluate("$('data').textContent"))["series"]
    assert cells[0] == [
        "",
        "PSNR-Y, dB",
        "worst frame",
        "SSIM-Y",
        "worst frame",
        "VMAF",
        "worst frame",
        "dB of this frame",
    ]
    assert cells[1][:3] == ["small.mkv", f"{told[0]['mean'][0]:.2f}", f"{told[0]['least'][0]:.2f}"]
    assert cells[2][:3] == ["large.mkv", "inf", "inf"]
    assert page.evaluate("$('frames').rows.length") == FRAMES + 1
    assert page.evaluate("$('plot').decode().then(() => $('plot').naturalWidth)") > 300
    page.press(".", 190)
    page.press(".", 190)
    until(lambda: page.evaluate("$('now0').textContent") == f"{told[0]['psnr'][2]:.2f}")
    cursor = float(page.evaluate("$('cursor').style.left").rstrip("%"))
    assert cursor == pytest.approx(100 * (0.075 + 0.91 * 2 / (FRAMES - 1)), abs=1)
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.evaluate("getComputedStyle($('player')).display") == "none"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("canvas.getBoundingClientRect().width") > 800


def test_a_page_is_bounded_and_says_so(tmp_path, monkeypatch, capsys):
    pts = list(range(14))
    clip = make_clip(tmp_path / "long.mkv", codec="ffv1", size=(128, 96), frames=14, pts=pts)
    monkeypatch.setattr(page_module, "LARGEST", (64, 32))
    monkeypatch.setattr(page_module, "MOST_BYTES", 0)
    assert (
        run(["compare", str(clip), str(clip), str(tmp_path / "page.html"), "--start", "0.08", "--duration", "0.4"]) == 0
    )
    told = capsys.readouterr().err
    assert "shown are 0.08 s to 0.48 s of 0.56 s; --start and --duration choose others" in told
    assert "shown is the most detailed part" in told
    assert "(x,y,width,height) of 128x96; --crop chooses another" in told
    assert re.search(r"cut after 0\.\d s: a page holds 0 MB of video", told)
    page = (tmp_path / "page.html").read_text()
    assert "shown are 0.08 s to 0.48 s" in page
    with open_duo(clip, clip, crop=Crop(20, 20, 100, 60)) as duo:
        media = media_of_videos(duo, chosen=True)
        assert duo.crop == Crop(38, 34, 64, 32)
    assert (media.size, media.frames) == ((64, 32), 1)


def test_one_input_in_a_page(tmp_path, tiny_model, browser):
    clip = make_clip(tmp_path / "clip.mkv", codec="ffv1", frames=2)
    target = tmp_path / "page.html"
    assert run(["compare", str(clip), str(target), "--model", str(tiny_model), "--crop", "0,0,32,24", "-q"]) == 0
    page = opened(browser, target)
    assert page.evaluate("[data.names, data.size]") == [["Lanczos", "tiny-x2"], [64, 48]]
    assert page.evaluate("$('player').hidden")
