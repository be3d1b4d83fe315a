"""Training: it learns, it can be killed at any moment, and it says what is wrong."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import torch

from rfdn_stream.errors import ModelError, UsageError
from rfdn_stream.nets.catalogue import open_model
from rfdn_stream.nets.rfdn import RFDN, RFDNOptions, preset
from rfdn_stream.training import loop as loop_module
from rfdn_stream.training import state as state_module
from rfdn_stream.training.config import TrainConfig, begin
from rfdn_stream.training.job import train
from rfdn_stream.training.network import new_network, take_weights
from rfdn_stream.training.trainer import Trainer, TrainingError
from support import save_tiny

TINY = RFDNOptions(channels=8, blocks=1)
QUICK = {"batch": 2, "patch": 16, "lr": 1e-3, "evaluate_every": 5, "seed": 3}


@pytest.fixture(scope="module")
def photos(tmp_path_factory, clips):
    """Four stills of a real film."""
    from rfdn_stream.media.reader import open_source
    from rfdn_stream.training.sources import rgb_of

    folder = tmp_path_factory.mktemp("photos")
    with open_source(clips / "bikes.mp4") as source:
        frames = [item for item in source.items() if hasattr(item, "planes")][::60][:4]
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{number}.png"), rgb_of(frame)[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("start") / "tiny.safetensors")


@pytest.fixture
def asked(photos, start):
    return {"folders": (str(photos),), "start": str(start), "steps": 12, **QUICK}


def tensors(path):
    return open_model(path, folded=False)[0].state_dict()


def assert_same_weights(one, two):
    ours, theirs = tensors(one), tensors(two)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_twenty_steps_on_one_patch_halve_the_error():
    torch.manual_seed(0)
    hr = torch.rand(1, 3, 12, 12).repeat_interleave(4, 2).repeat_interleave(4, 3)
    lr = torch.nn.functional.avg_pool2d(hr, 2)
    config = TrainConfig(folders=("none",), network=TINY, batch=1, patch=24, lr=1e-2, steps=20)
    trainer = Trainer(config, new_network(TINY, 0), torch.device("cpu"))
    losses = []
    for _ in range(20):
        loss = trainer.gradients(lr, hr)
        losses.append(float(loss))
        trainer.apply(loss)
    assert losses[-1] < 0.5 * losses[0]


def test_a_run_leaves_weights_a_card_and_a_log(asked, cache, tmp_path):
    result = train(tmp_path / "run", asked, device="cpu", cache=cache)
    assert result.weights == tmp_path / "run" / "weights.safetensors"
    _, spec = open_model(result.weights)
    assert spec.scale == 2
    assert "12 steps of 2 patches of 16x16 px" in spec.training
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["steps_done"] == 12
    assert card["weights"]["psnr_y"] == pytest.approx(result.psnr)
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows][-1] == 12
    picture = cv2.imread(str(tmp_path / "run" / "log.png"))
    assert picture is not None
    assert picture.std() > 5
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {
        "weights.safetensors", "card.json", "log.csv", "log.png", "state.pt", "state.previous.pt",
    }  # fmt: skip


def test_two_runs_give_the_same_bits(asked, cache, tmp_path):
    one, two = (train(tmp_path / name, asked, device="cpu", cache=cache) for name in "ab")
    assert_same_weights(one.weights, two.weights)


KILLED = """
import os, signal, sys
from pathlib import Path
from rfdn_stream.training import loop
from rfdn_stream.training.job import train

class Killer(loop.LogReporter):
    def step(self, progress):
        if progress.step == int(sys.argv[1]):
            os.kill(os.getpid(), getattr(signal, sys.argv[2]))

asked = eval(sys.argv[5])
minutes = 1e-9 if sys.argv[2] == "SIGKILL" else 9
train(Path(sys.argv[3]), asked, device="cpu", cache=Path(sys.argv[4]), save_minutes=minutes, reporter=Killer())
"""


def interrupted(how, step, out, cache, asked):
    command = [sys.executable, "-c", KILLED, str(step), how, str(out), str(cache), repr(asked)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_killed_run_ends_in_the_same_bits(asked, cache, tmp_path):
    whole = train(tmp_path / "whole", asked, device="cpu", cache=cache)
    ran = interrupted("SIGKILL", 7, tmp_path / "killed", cache, asked)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    state = torch.load(tmp_path / "killed" / "state.pt", weights_only=True)
    assert 0 < state["trainer"]["step"] <= 7
    resumed = train(tmp_path / "killed", {}, device="cpu", cache=cache)
    assert_same_weights(whole.weights, resumed.weights)
    assert resumed.step == whole.step
    logs = [
        [
            (row["step"], row["loss"], row["lr"])
            for row in csv.DictReader((tmp_path / name / "log.csv").read_text().splitlines())
        ]
        for name in ("whole", "killed")
    ]
    assert logs[0] == logs[1]


def test_a_stopped_run_goes_on_where_it_was(asked, cache, tmp_path):
    whole = train(tmp_path / "whole", asked, device="cpu", cache=cache)
    ran = interrupted("SIGTERM", 5, tmp_path / "stopped", cache, asked)
    assert "InterruptedTraining" in ran.stderr
    assert torch.load(tmp_path / "stopped" / "state.pt", weights_only=True)["trainer"]["step"] == 5
    resumed = train(tmp_path / "stopped", {}, device="cpu", cache=cache)
    assert_same_weights(whole.weights, resumed.weights)


def test_changed_options_are_refused_by_name(asked, cache, tmp_path):
    train(tmp_path / "run", asked, device="cpu", cache=cache)
    with pytest.raises(UsageError, match=r"was begun with lr 0.001, not 0.5; leave the option out to go on"):
        train(tmp_path / "run", {**asked, "lr": 0.5}, device="cpu", cache=cache)


def test_a_torn_state_falls_back_to_the_one_before(asked, cache, tmp_path):
    whole = train(tmp_path / "whole", asked, device="cpu", cache=cache)
    interrupted("SIGKILL", 7, tmp_path / "torn", cache, asked)
    path = tmp_path / "torn" / "state.pt"
    path.write_bytes(path.read_bytes()[:1000])
    resumed = train(tmp_path / "torn", {}, device="cpu", cache=cache)
    assert_same_weights(whole.weights, resumed.weights)


def test_numbers_that_are_none_stop_the_run_and_keep_the_last_good_state(asked, cache, tmp_path, monkeypatch):
    gradients = Trainer.gradients

    def spoilt(self, lr, hr):
        loss = gradients(self, lr, hr)
        return loss * float("nan") if self.step == 8 else loss

    monkeypatch.setattr(Trainer, "gradients", spoilt)
    with pytest.raises(TrainingError, match=r"no longer a finite number at step 9.*--lr 0.0005, --clip 0.5"):
        train(tmp_path / "run", asked, device="cpu", cache=cache, save_minutes=1e-9)
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert state["trainer"]["step"] == 8
    assert all(bool(t.isfinite().all()) for t in state["trainer"]["net"].values())


def test_a_full_disk_leaves_the_old_state_and_training_goes_on(asked, cache, tmp_path, monkeypatch, caplog):
    whole = train(tmp_path / "whole", asked, device="cpu", cache=cache)
    write, full = state_module._write_beside, []

    def sometimes_full(path, content):
        if path.name == "state.pt" and len(full) < 4:
            full.append(path.exists() and path.read_bytes())
            if len(full) > 1:
                raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(state_module, "_write_beside", sometimes_full)
    result = train(tmp_path / "run", asked, device="cpu", cache=cache, save_minutes=1e-9)
    assert "No space left on device" in caplog.text
    assert full[1] == full[2]  # the state of before is untouched
    assert_same_weights(whole.weights, result.weights)


def test_transfer_to_another_scale_takes_all_but_the_upsampler(start):
    net = new_network(RFDNOptions(channels=8, blocks=1, scale=3), 0)
    fresh = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    words = take_weights(net, str(start))
    theirs = tensors(start)
    assert "all but the upsampler's" in words
    for name, tensor in net.state_dict().items():
        if name.startswith("upsampler"):
            assert torch.equal(tensor, fresh[name])
        else:
            assert torch.equal(tensor, theirs[name])


def test_weights_of_another_network_are_refused_with_the_keys_that_differ(start):
    net = RFDN(preset("RFDN", 2))
    with pytest.raises(
        ModelError, match=r"it has no B1\.cca.* and \d+ more like it; .*fea_conv\.weight is \[8, 3, 3, 3\]"
    ):
        take_weights(net, str(start))


def test_a_config_survives_its_text():
    config = begin({"folders": ("a", "b"), "minutes": 2.0}, TINY)
    assert TrainConfig.from_json(config.to_json()) == config
    assert (config.schedule, config.lr) == ("cosine", 1e-3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lr": 0.0}, "lr 0.0 is not allowed"),
        ({"patch": 8}, "15 or more"),
        ({"loss": "l3"}, "choose l1, l2"),
        ({"steps": 5, "minutes": 1.0}, "exclude one another"),
        ({"folders": ()}, "no folder to train on"),
    ],
)
def test_options_out_of_range(wrong, message):
    with pytest.raises(UsageError, match=message):
        begin({"folders": ("a",), **wrong}, TINY)


def test_a_folder_with_other_files_is_left_alone(asked, cache, tmp_path):
    (tmp_path / "thesis.txt").write_text("do not touch")
    with pytest.raises(UsageError, match="holds files, but no run to go on with"):
        train(tmp_path, asked, device="cpu", cache=cache)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_dry_run_writes_nothing(asked, cache, tmp_path, monkeypatch):
    notes = []

    class Listener(loop_module.LogReporter):
        def note(self, text):
            notes.append(text)

    assert train(tmp_path / "run", asked, device="cpu", cache=cache, dry_run=True, reporter=Listener()) is None
    assert not (tmp_path / "run").exists()
    assert notes[0].startswith("training RFDN of 8 channels and 1 blocks (esa) x2")
    assert "12 steps about" in notes[-1]


def test_the_command(photos, start, cache, tmp_path):
    command = [sys.executable, "-m", "rfdn_stream", "train", str(tmp_path / "run"), str(photos), "--from", str(start)]
    command += ["--steps", "500000", "--batch", "1", "--patch", "16", "--cache", str(cache), "--evaluate-every", "50"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    state, weights = tmp_path / "run" / "state.pt", tmp_path / "run" / "weights.safetensors"
    deadline = time.monotonic() + 120
    while not (state.exists() and weights.exists()) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"rfdn-stream train {tmp_path / 'run'}" in said
    assert "Traceback" not in said
    assert torch.load(state, weights_only=True)["trainer"]["step"] >= 50
    picture = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    assert open_model(weights)[0](torch.from_numpy(picture).permute(2, 0, 1)[None] / 255).shape == (1, 3, 40, 48)
