"""What networks cost: the papers' figures, to the digit they print, and the command that shows them."""

import json
import os
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from rfdn_stream.cli.app import run
from rfdn_stream.errors import RfdnError, UsageError
from rfdn_stream.evaluation.published import PUBLISHED as CITED
from rfdn_stream.evaluation.tradeoff import draw, measured
from rfdn_stream.nets.base import blank, named
from rfdn_stream.nets.complexity import count, count_for_output
from rfdn_stream.nets.fold import fold
from rfdn_stream.nets.rfdn import RFDN, RFDNOptions, preset

PUBLISHED = {  # parameters, and G mult-adds for a 1280x720 output, at x2, x3 and x4
    "E-RFDN": ((417_212, 91.31), (423_977, 41.27), (433_448, 23.76)),
    "RFDN": ((534_036, 120.93), (540_531, 54.41), (549_624, 31.13)),
    "RFDN-L": ((625_962, 141.79), (632_997, 63.74), (642_846, 36.42)),
    "IMDN": ((694_404, 158.77), (703_059, 71.45), (715_176, 40.89)),  # 694K, 703K and 715K in print
}


def complexity(capsys, *arguments):
    """What the command prints, and its exit code or error."""
    code = run(["models", "complexity", *map(str, arguments)])
    return code, capsys.readouterr()


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_the_papers(name, scale):
    parameters, giga_macs = PUBLISHED[name][scale - 2]
    cost = count_for_output(blank(*named(name, scale)))
    assert (cost.parameters, round(cost.macs / 1e9, 2)) == (parameters, giga_macs)


def test_counts_are_the_challenges():
    net = RFDN(preset("E-RFDN", 4))
    cost = count(net, 256, 256)
    assert (round(cost.macs / 1e9, 2), round(cost.activations / 1e6, 2), cost.convolutions) == (27.03, 112.03, 64)
    assert count_for_output(net, 1024, 1024) == cost
    assert count(fold(net), 256, 256) == cost  # folding takes additions away, no convolution
    assert net.fea_conv.weight.device.type == "cpu"  # counting leaves the network alone
    assert not any(module._forward_hooks for module in net.modules())


def test_counts_by_hand():
    """One network small enough to add up: 2 channels distilled of 8, one block, channel attention."""
    net = RFDN(RFDNOptions(channels=8, blocks=1, attention="cca", distillation=0.25))
    by_pixel = 3 * 8 * 9 + 3 * (8 * 2 + 8 * 8 * 9) + 8 * 2 * 9 + 8 * 8 + 8 * 8 + 8 * 8 * 9 + 8 * 12 * 9
    by_picture = 8 * 2 + 2 * 8  # the attention's two convolutions see one pixel
    cost = count(net, 10, 7)
    assert cost.macs == 70 * by_pixel + by_picture
    assert cost.activations == 70 * (8 + 3 * (2 + 8) + 2 + 8 + 8 + 8 + 12) + 2 + 8
    assert cost.convolutions == 14


def test_a_network_that_cannot_make_so_small_a_picture_says_so():
    with pytest.raises(UsageError, match="at x4 an output of 59x200 is too small for this network; 60x60 or more"):
        count_for_output(blank(*named("E-RFDN", 4)), 59, 200)
    assert count_for_output(blank(*named("E-RFDN", 4)), 60, 60).macs > 0


def test_the_table_shows_all_published_networks(capsys):
    code, printed = complexity(capsys)
    assert code == 0
    assert "1280x720" in printed.out
    rows = [line.split() for line in printed.out.splitlines() if any(line.split()[:1] == [n] for n in PUBLISHED)]
    assert [(row[0], int(row[1][1:]), int(row[2].replace(",", "")), float(row[3])) for row in rows] == [
        (name, scale, *PUBLISHED[name][scale - 2]) for name in PUBLISHED for scale in (2, 3, 4)
    ]


def test_the_challenges_figures_are_printed(capsys):
    _, printed = complexity(capsys, "erfdn-x4-official", "--size", "1024x1024")
    row = next(line.split() for line in printed.out.splitlines() if "erfdn-x4-official" in line)
    assert row == ["erfdn-x4-official", "x4", "433,448", "27.03", "112.03", "64"]


def test_json_is_for_programs(capsys, tiny_model):
    code, printed = complexity(capsys, "IMDN", "erfdn-x2-video", tiny_model, "RFDN-FDC", "--json", "--size", "640x360")
    assert code == 0
    result = json.loads(printed.out)
    assert (result["width"], result["height"]) == (640, 360)
    rows = result["networks"]
    assert [(row["name"], row["scale"]) for row in rows] == [
        ("IMDN", 2), ("IMDN", 3), ("IMDN", 4), ("erfdn-x2-video", 2), ("tiny-x2", 2),
        ("RFDN-FDC", 2), ("RFDN-FDC", 3), ("RFDN-FDC", 4),
    ]  # fmt: skip
    tiny = RFDN(RFDNOptions(channels=8, blocks=1))
    want = count(tiny, 320, 180)
    assert rows[4] == {
        "name": "tiny-x2",
        "architecture": "rfdn",
        "scale": 2,
        "parameters": sum(p.numel() for p in tiny.parameters()),
        "macs": want.macs,
        "activations": want.activations,
        "convolutions": want.convolutions,
        "macs_3x3": want.macs_3x3,
    }


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["SRCNN"], 2, "there is no model 'SRCNN'; available: erfdn-x2-video, .* networks: E-RFDN, RFDN, .*IMDN"),
        (["nowhere.pth"], 1, "there is no weights file nowhere.pth"),
        (["--plot", "out.jpg"], 2, r"a chart is a file \*\.png, \*\.svg, \*\.pdf, got out\.jpg"),
        (["--plot", "no/folder/out.png"], 2, "cannot write into no/folder: No such file or directory"),
        (["--size", "32x32"], 2, "E-RFDN: at x3 an output of 32x32 is too small for this network; 45x45 or more"),
    ],
)
def test_wrong_requests(tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RfdnError, match=words) as failure:
        run(["models", "complexity", *arguments])
    assert failure.value.exit_code == code
    assert "\n" not in str(failure.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("size", ["1280", "0x720", "1280x720p"])
def test_sizes_that_are_none(capsys, size):
    with pytest.raises(UsageError, match=f"{size!r} is not a frame size; write WIDTHxHEIGHT"):
        complexity(capsys, "--size", size)
    assert capsys.readouterr().out == ""


def test_files_of_unknown_networks_say_what_differs(tmp_path):
    torch.save(torch.nn.Conv2d(3, 4, 3).state_dict(), tmp_path / "other.pth")
    with pytest.raises(RfdnError, match="the weights are another network's"):
        run(["models", "complexity", str(tmp_path / "other.pth")])


def test_our_points_are_the_catalogues():
    (official,) = (result for result in measured() if result.name == "erfdn-x4-official")
    assert (official.parameters, round(official.macs / 1e9, 2), official.psnr) == (433_448, 23.76, 32.159)
    for result in CITED:
        if result.name in PUBLISHED:  # what we count ourselves is what is cited
            parameters, giga_macs = PUBLISHED[result.name][2]
            assert (result.parameters, result.macs) == (parameters, pytest.approx(giga_macs * 1e9))


def test_the_chart_is_drawn_whole(tmp_path, capsys):
    path = tmp_path / "tradeoff.png"
    path.write_text("an older one")
    code, printed = complexity(capsys, "IMDN", "--json", "--plot", path)
    assert code == 0
    assert json.loads(printed.out)["networks"]
    assert f"drawn: {path}" in printed.err
    picture = cv2.imread(str(path))
    assert picture.shape[0] > 500 < picture.shape[1]
    accent = np.abs(picture.astype(int) - [12, 65, 194]).sum(2) < 30  # BGR of what marks our own
    assert accent.sum() > 300
    assert os.listdir(tmp_path) == ["tradeoff.png"]


def test_the_chart_names_every_network_in_both_halves():
    crowd = [replace(CITED[0], name=f"crowd-{k}", psnr=31.35 + k / 1000, measured=True) for k in range(8)]
    content = draw([*CITED, *crowd], ".svg")
    for result in (*CITED, *crowd):
        assert content.count(f"<!-- {result.name} -->".encode()) == 2
    assert content == draw([*CITED, *crowd], ".svg")
    assert draw(CITED, ".pdf").startswith(b"%PDF")


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"no chart without matplotlib: pip install 'rfdn-stream\[plot\]'"):
        run(["models", "complexity", "--plot", str(tmp_path / "out.png")])
    assert capsys.readouterr().out == ""
    assert os.listdir(tmp_path) == []
