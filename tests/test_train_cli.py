"""``rfdn-stream train`` as its users meet it: help, refusals of one line, and nothing written by them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from rfdn_stream.cli.app import run
from rfdn_stream.errors import RfdnError


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with two pictures, one with a picture that is too small, an empty one."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for name, side in (("good/a.png", 256), ("good/b.png", 256), ("small/a.png", 20)):
        (folder / name).parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(folder / name), random.integers(0, 256, (side, side, 3), np.uint8))
    (folder / "empty").mkdir()
    return folder


def test_help_names_every_option_and_comes_before_heavy_imports():
    code = (
        "import sys; sys.argv = ['rfdn-stream', 'train', '--help']\n"
        "from rfdn_stream.cli import main\n"
        "try: main()\n"
        "finally: print('HEAVY', sorted({'torch', 'av', 'numpy', 'cv2', 'matplotlib'} & set(sys.modules)))"
    )
    environment = {**os.environ, "COLUMNS": "200"}
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "HEAVY []" in text.stdout
    for option in (
        "--model", "--scale", "--from", "--init", "--licence", "--degrade", "--clean-share", "--sampling",
        "--batch", "--patch", "--cache", "--steps", "--minutes", "--lr", "--schedule", "--halve-every", "--warmup",
        "--clip", "--ema", "--loss", "--seed", "--device", "--precision", "--evaluate-every", "--save-every",
        "--dry-run", "--quiet",
    ):  # fmt: skip
        assert f"{option} " in text.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Missing argument 'OUT'"),
        (["new"], 2, "new holds no run to go on with; for a new one name folders"),
        (["no/such/new", "good"], 2, "no/such does not exist; create it first"),
        (["file", "good"], 2, "file is a file; name a new folder"),
        (["full", "good"], 2, "full holds files, but no run to go on with"),
        (["new", "missing"], 2, "missing does not exist"),
        (["new", "empty"], 2, "no image"),
        (["new", "small"], 2, "small"),
        (["new", "good", "--model", "EDSR"], 2, "unknown network 'EDSR'; available: E-RFDN"),
        (["new", "good", "--scale", "5"], 2, "by 2, 3 or 4, not by 5"),
        (["new", "good", "--scale", "0"], 2, "by 2, 3 or 4, not by 0"),
        (["new", "good", "--scale", "0", "--from", "erfdn-x2-clean"], 2, "by 2, 3 or 4, not by 0"),
        (["new", "good", "--from", "erfdn-x9"], 2, "there is no model 'erfdn-x9'; available: "),
        (["new", "good", "--from", "none.pth"], 1, "there is no weights file none.pth"),
        (["new", "good", "--from", "erfdn-x2-clean", "--model", "RFDN"], 1, "do not fit RFDN x2: missing B1.cca"),
        (["new", "good", "--from", "erfdn-x2-clean", "--init", "bicubic"], 2, "--init and --from exclude"),
        (["new", "good", "--init", "zero"], 2, "unknown init 'zero'; choose random, bicubic"),
        (["new", "good", "--degrade", "jpeg"], 2, "unknown degrade 'jpeg'; choose clean, video"),
        (["new", "good", "--clean-share", "2"], 2, "clean-share 2.0 is not allowed; take 0 to 1"),
        (["new", "good", "--sampling", "best"], 2, "unknown sampling 'best'; choose even, detail"),
        (["new", "good", "--batch", "0"], 2, "batch 0 is not allowed; take 1 or more"),
        (["new", "good", "--patch", "8"], 2, "patch 8 is not allowed; take 15 or more"),
        (["new", "good", "--patch", "999"], 2, "at least 2000x2000 pixels are needed"),
        (["new", "good", "--steps", "5", "--minutes", "1"], 2, "--minutes and --steps exclude one another"),
        (["new", "good", "--steps", "many"], 2, "a valid int"),
        (["new", "good", "--minutes", "-1"], 2, "minutes -1.0 is not allowed"),
        (["new", "good", "--lr", "7"], 2, "lr 7.0 is not allowed; take above 0 and below 1"),
        (["new", "good", "--schedule", "step"], 2, "unknown schedule 'step'; choose halve, cosine"),
        (["new", "good", "--steps", "5", "--warmup", "9"], 2, "warmup 9 is not allowed; take 0 to the number of steps"),
        (["new", "good", "--clip", "0"], 2, "clip 0.0 is not allowed"),
        (["new", "good", "--ema", "1"], 2, "ema 1.0 is not allowed"),
        (["new", "good", "--loss", "gan"], 2, "unknown loss 'gan'; choose l1, l2"),
        (["new", "good", "--seed", "-3"], 2, "seed -3 is not allowed"),
        (["new", "good", "--device", "tpu"], 2, "unknown device 'tpu'; choose auto, cpu"),
        (["new", "good", "--device", "cpu:x"], 2, "unknown device 'cpu:x'"),
        (["new", "good", "--precision", "fp8"], 2, "unknown precision 'fp8'"),
        (["new", "good", "--device", "cpu", "--precision", "fp16"], 2, "fp16 is for GPUs"),
        (["new", "good", "--save-every", "0"], 2, "save-every 0 is not allowed"),
        (["new", "good", "--evaluate-every", "0"], 2, "evaluate-every 0 is not allowed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_requests(pictures, tmp_path, monkeypatch, capsys, arguments, code, message):
    """In one process, since torch takes seconds to import: what `main` prints is the exception's text."""
    monkeypatch.chdir(tmp_path)
    for name in ("good", "small", "empty"):
        (tmp_path / name).symlink_to(pictures / name)
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    cache = tmp_path / "cache"
    try:
        got = run(["train", *arguments, *(["--cache", str(cache)] if arguments else [])])
        text = capsys.readouterr().err
    except RfdnError as failure:
        got, text = failure.exit_code, str(failure)
        assert "\n" not in text
    assert message in text
    assert got == code, text
    assert sorted(path for path in tmp_path.rglob("*") if cache not in (path, *path.parents)) == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one process makes all clips")
def test_ctrl_c_as_clips_are_encoded(pictures, tmp_path):
    """As a terminal sends it, to every process of the command, while those that encode still begin."""

    def others(process):
        return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()

    command = ["train", "run", pictures / "good", "--degrade", "video", "--patch", "16", "--cache", "cache"]
    with subprocess.Popen(
        [sys.executable, "-m", "rfdn_stream", *map(str, command)],
        stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=tmp_path,
    ) as process:  # fmt: skip
        while len(others(process)) < 3:  # Python's own, and two that encode
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        time.sleep(0.1)  # they import
        os.killpg(process.pid, signal.SIGINT)
        said = process.stderr.read()  # ends when none of the processes is there any more
    assert process.returncode == 130
    assert "Traceback" not in said
    assert said.endswith("rfdn-stream: interrupted\n")
