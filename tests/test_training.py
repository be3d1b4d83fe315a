"""Training: it learns, it can be killed at any moment, and it says what is wrong."""

import csv
import json
import os
import re
import resource
import shutil
import signal
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fake_cuda import FakeCuda
from program import Fork, entry, script
from rfdn_stream.errors import ModelError, UsageError
from rfdn_stream.evaluation.metrics import psnr_y
from rfdn_stream.evaluation.resize import bicubic as bicubic_resize
from rfdn_stream.evaluation.resize import shrink
from rfdn_stream.lock import locked
from rfdn_stream.media.reader import open_source
from rfdn_stream.nets import checkpoint
from rfdn_stream.nets.base import named
from rfdn_stream.nets.catalogue import open_model
from rfdn_stream.nets.rfdn import RFDN, RFDNOptions, preset
from rfdn_stream.training.config import TrainConfig, begin, check_unchanged
from rfdn_stream.training.held_out import HeldOut, enlarge
from rfdn_stream.training.job import LOCK, _fill_minutes, train
from rfdn_stream.training.log import Log, read_log
from rfdn_stream.training.loop import InterruptedTraining, LogReporter
from rfdn_stream.training.network import new_network, take_weights
from rfdn_stream.training.recorded import RecordedTrainer
from rfdn_stream.training.results import Facts
from rfdn_stream.training.schedule import ema_decay, learning_rate
from rfdn_stream.training.sources import rgb_of
from rfdn_stream.training.trainer import Trainer, TrainingError, choose_device
from support import save_tiny

TINY = RFDNOptions(channels=8, blocks=1)
QUICK = {"batch": 2, "patch": 16, "lr": 1e-3, "evaluate_every": 5, "seed": 3}


@pytest.fixture(scope="module")
def photos(tmp_path_factory, clips):
    """Four stills of a real film."""
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


@pytest.fixture(scope="module")
def asked(photos, start):
    return {"folders": (str(photos),), "start": str(start), "steps": 12, **QUICK}


class Ear(LogReporter):
    """Hears notes."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def tensors(path):
    return open_model(path, folded=False)[0].state_dict()


def assert_same_weights(one, two):
    ours, theirs = tensors(one), tensors(two)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


# On a card fp16 skips the first steps, until its scale is found.
ON_A_CARD = [pytest.param("cuda", name, 40, marks=pytest.mark.gpu) for name in ("auto", "fp16", "fp32")]


@pytest.mark.parametrize(("device", "precision", "steps"), [("cpu", "auto", 20), *ON_A_CARD])
def test_a_few_steps_on_one_patch_halve_the_error(device, precision, steps):
    torch.manual_seed(0)
    hr = torch.rand(1, 3, 12, 12).repeat_interleave(4, 2).repeat_interleave(4, 3)
    lr = torch.nn.functional.avg_pool2d(hr, 2)
    config = TrainConfig(folders=("none",), network=TINY, batch=1, patch=24, lr=1e-2, steps=steps, precision=precision)
    trainer = Trainer(config, new_network(TINY, 0), choose_device(device))
    losses = []
    for _ in range(steps):
        loss = trainer.gradients(lr, hr)
        losses.append(float(loss))
        trainer.apply(loss)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_run_leaves_weights_a_card_and_a_log(asked, cache, tmp_path, device):
    result = train(tmp_path / "run", asked, device=device, cache=cache)
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


def test_two_runs_give_the_same_bits_and_another_seed_others(whole, asked, cache, tmp_path):
    again = train(tmp_path / "again", asked, device="cpu", cache=cache)
    assert_same_weights(again.weights, whole.weights)
    other = train(tmp_path / "other", {**asked, "seed": 4, "steps": 1, "evaluate_every": 1}, device="cpu", cache=cache)
    assert not torch.equal(tensors(other.weights)["fea_conv.weight"], tensors(whole.weights)["fea_conv.weight"])


KILLED = """
import os, signal, sys
from pathlib import Path
from rfdn_stream.training import loop
from rfdn_stream.training.held_out import enlarge
from rfdn_stream.training.job import train
from rfdn_stream.training.log import Log, read_log
from rfdn_stream.training.loop import LogReporter

class Killer(loop.LogReporter):
    def step(self, progress):
        if progress.step == int(sys.argv[1]):
            os.kill(os.getpid(), getattr(signal, sys.argv[2]))

asked = eval(sys.argv[5])
minutes = 1e-9 if sys.argv[2] == "SIGKILL" else 9
train(Path(sys.argv[3]), asked, device="cpu", cache=Path(sys.argv[4]), save_minutes=minutes, reporter=Killer())
"""


def interrupted(how, step, out, cache, asked):
    """The fork's exit code and what it said."""
    with Fork(script, KILLED, str(step), how, str(out), str(cache), repr(asked)) as fork:
        _, said = fork.communicate()
    return fork.returncode, said


@pytest.fixture(scope="module")
def whole(asked, cache, tmp_path_factory):
    """An undisturbed run: its result."""
    return train(tmp_path_factory.mktemp("whole") / "run", asked, device="cpu", cache=cache)


@pytest.fixture(scope="module")
def killed(asked, cache, tmp_path_factory):
    """The folder of a run that kill -9 has met after 7 steps, with a state of step 6 or 7; to be copied."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    code, said = interrupted("SIGKILL", 7, folder, cache, asked)
    assert code == -signal.SIGKILL, said
    assert torch.load(folder / "state.pt", weights_only=True)["trainer"]["step"] in (6, 7)
    return folder


def logged(result):
    """All columns but the seconds."""
    rows = csv.DictReader((result.weights.parent / "log.csv").read_text().splitlines())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_a_killed_run_ends_in_the_same_bits(whole, killed, tmp_path, monkeypatch):
    """From another current folder, and without naming the cache again."""
    monkeypatch.chdir(tmp_path)
    resumed = train(shutil.copytree(killed, tmp_path / "run"), {}, device="cpu")
    assert_same_weights(whole.weights, resumed.weights)
    assert resumed.step == whole.step
    assert logged(resumed) == logged(whole)


def test_a_stopped_run_goes_on_where_it_was(whole, asked, cache, tmp_path):
    _, said = interrupted("SIGTERM", 5, tmp_path / "stopped", cache, asked)
    assert "InterruptedTraining" in said
    assert torch.load(tmp_path / "stopped" / "state.pt", weights_only=True)["trainer"]["step"] == 5
    resumed = train(tmp_path / "stopped", {}, device="cpu", cache=cache)
    assert_same_weights(whole.weights, resumed.weights)


def test_a_run_that_is_stopped_while_it_first_measures_begins_again(whole, asked, cache, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(HeldOut, "psnr", interrupt)
    with pytest.raises(InterruptedTraining, match="interrupted at step 0"):
        train(tmp_path / "run", asked, device="cpu", cache=cache)
    monkeypatch.undo()
    resumed = train(tmp_path / "run", {}, device="cpu")
    assert logged(resumed) == logged(whole)
    assert_same_weights(whole.weights, resumed.weights)


def test_a_disk_without_room_for_the_first_state(whole, asked, cache, tmp_path, unlimited):
    limit(30_000)  # the weights would fit
    with pytest.raises(TrainingError, match=r"state of step 0 cannot be written .*; make room, and run the same"):
        train(tmp_path / "run", asked, device="cpu", cache=cache)
    limit(resource.RLIM_INFINITY)
    assert_same_weights(whole.weights, train(tmp_path / "run", asked, device="cpu", cache=cache).weights)


def test_two_processes_never_train_in_one_folder(whole, asked, tmp_path):
    (tmp_path / "new").mkdir()
    for folder in (tmp_path / "new", whole.weights.parent):
        with (
            locked(folder, "run", LOCK),
            pytest.raises(UsageError, match=f"process {os.getpid()} is working on the run in {folder}; wait for it"),
        ):
            train(folder, asked, device="cpu")
    train(whole.weights.parent, {}, device="cpu")  # which is free again


def test_a_device_without_room_is_an_error_of_one_line(asked, cache, tmp_path, monkeypatch):
    gradients = Trainer.gradients

    def full(self, lr, hr):
        if self.step == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return gradients(self, lr, hr)

    monkeypatch.setattr(Trainer, "gradients", full)
    for dry_run, where in ((True, ""), (False, " in another folder")):
        message = f"^cpu is out of memory; .* choose a smaller --batch or --patch{where}$"
        with pytest.raises(TrainingError, match=message):
            train(tmp_path / "run", asked, device="cpu", cache=cache, dry_run=dry_run)


def test_a_card_that_does_not_exist(monkeypatch):
    FakeCuda(monkeypatch, cards=("RTX 4090",))
    with pytest.raises(UsageError, match=r"^there is no cuda:1; there is cuda:0 \(RTX 4090\)$"):
        choose_device("cuda:1")
    assert choose_device("cuda") == torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lr": 0.5}, r"was begun with lr 0\.001, not 0\.5; leave the option out to go on"),
        ({"scale": 3}, r"was begun with network RFDN \(channels 8, blocks 1\) x2, not .* x3"),
        ({"scale": 0}, "enlarges by 2, 3 or 4, not by 0"),
        ({"model": "E-RFDN"}, r"was begun with network RFDN \(channels 8, blocks 1\) x2, not E-RFDN x2"),
        ({"folders": ("elsewhere",)}, "was begun with folders .*, not elsewhere"),
    ],
)
def test_changed_options_are_refused_by_name(killed, asked, changed, message):
    with pytest.raises(UsageError, match=message):
        train(killed, {**asked, **changed}, device="cpu")


def test_a_torn_state_falls_back_to_the_one_before(whole, killed, tmp_path):
    torn = shutil.copytree(killed, tmp_path / "torn")
    (torn / "state.pt").write_bytes((torn / "state.pt").read_bytes()[:1000])
    ear = Ear()
    resumed = train(torn, {}, device="cpu", reporter=ear)
    assert re.search(r"state\.pt cannot be read .*; going on from state\.previous\.pt, of step [56]", ear.notes[0])
    assert_same_weights(whole.weights, resumed.weights)


def test_without_any_state_that_can_be_read_nothing_is_lost(killed, tmp_path):
    torn = shutil.copytree(killed, tmp_path / "torn")
    for path in torn.glob("state*"):
        path.write_bytes(b"noise")
    with pytest.raises(ModelError, match=r"state\.pt cannot be read .*; .*previous\.pt cannot be read .*; remove"):
        train(torn, {}, device="cpu")
    assert (torn / "weights.safetensors").exists()


def test_weights_that_training_spoils_are_kept_as_they_were(asked, cache, tmp_path):
    spoiling = {**asked, "start": "erfdn-x2-clean", "lr": 0.9, "steps": 2}
    result = train(tmp_path / "run", spoiling, device="cpu", cache=cache)
    assert result.step == 0
    assert_same_weights(result.weights, "erfdn-x2-clean")
    assert [row["step"] for row in logged(result)] == ["0", "2"]


def test_a_run_that_is_done_says_so(whole):
    ear = Ear()
    again = train(whole.weights.parent, {}, device="cpu", reporter=ear)
    assert ear.notes == ["this run is done; to train its weights further, begin another one --from them"]
    assert again == whole


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


class FullDisk(Ear):
    """From step 3 to step 9 no file of this process may grow beyond 30 kB: room for all but states and plots."""

    def __init__(self, folder, until):
        super().__init__()
        self.folder, self.until, self.states = folder, until, []

    def step(self, progress):
        if progress.step == 3:
            limit(30_000)
        if 3 <= progress.step < 9:
            self.states.append((self.folder / "state.pt").read_bytes())
        if progress.step == self.until:
            limit(resource.RLIM_INFINITY)


def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.fixture
def unlimited():
    yield
    limit(resource.RLIM_INFINITY)


def test_a_full_disk_leaves_the_old_state_and_training_goes_on(whole, asked, cache, tmp_path, caplog, unlimited):
    disk = FullDisk(tmp_path / "run", 9)
    result = train(tmp_path / "run", asked, device="cpu", cache=cache, save_minutes=1e-9, reporter=disk)
    assert len(set(disk.states)) == 1
    assert len(caplog.messages) == 1
    assert re.search(r"state of step 4 cannot be written .*; the one of step 3 is kept, and training", caplog.text)
    assert_same_weights(whole.weights, result.weights)
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["trainer"]["step"] == 12


def test_a_disk_that_stays_full_is_an_error_at_the_end_and_no_loss(whole, asked, cache, tmp_path, unlimited):
    disk = FullDisk(tmp_path / "run", None)
    with pytest.raises(TrainingError, match=r"state of step 12 cannot be written .*; make room, and run the same"):
        train(tmp_path / "run", asked, device="cpu", cache=cache, save_minutes=1e-9, reporter=disk)
    assert not list((tmp_path / "run").glob(".*"))
    limit(resource.RLIM_INFINITY)
    assert_same_weights(whole.weights, train(tmp_path / "run", asked, device="cpu", cache=cache).weights)


def test_weights_that_cannot_be_written_at_the_end_are_an_error_and_no_loss(whole, asked, cache, tmp_path, unlimited):
    class FullAtTheEnd(Ear):
        def step(self, progress):
            if progress.step == 11:
                limit(4_000)

    with pytest.raises(TrainingError, match=r"weights cannot be written .*; make room, and run the same"):
        train(tmp_path / "run", asked, device="cpu", cache=cache, reporter=FullAtTheEnd())
    limit(resource.RLIM_INFINITY)
    assert_same_weights(whole.weights, train(tmp_path / "run", asked, device="cpu", cache=cache).weights)


def test_a_log_waits_for_room(tmp_path, unlimited, caplog):
    log = Log(tmp_path / "log.csv")
    log.row(1, 1.0, 1e-3, 0.5, None)
    limit(log.position + 10)  # the next row would be torn
    log.row(2, 2.0, 1e-3, 0.25, 30.0)
    log.row(3, 3.0, 1e-3, 0.125, None)
    assert len(caplog.messages) == 1
    limit(resource.RLIM_INFINITY)
    log.row(4, 4.0, 1e-3, 0.0625, None)
    columns = read_log(tmp_path / "log.csv")
    assert columns["loss"] == [(1, 0.5), (2, 0.25), (3, 0.125), (4, 0.0625)]
    assert columns["psnr_y"] == [(2, 30.0)]


@pytest.mark.parametrize("model", ["E-RFDN", "RFDN", "IMDN"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_bicubic_beginning_is_near_to_bicubic(model, scale, photos):
    picture = cv2.imread(str(photos / "0.png"))[:144, 48:192]
    small = shrink(picture, scale)
    bicubic = bicubic_resize(small, 144, 144)
    options = named(model, scale)[1]
    assert psnr_y(enlarge(new_network(options, 0, "bicubic"), small), bicubic, scale) > 40
    assert psnr_y(enlarge(new_network(options, 0), small), bicubic, scale) < 20


def test_other_architectures_train_too(photos, cache, tmp_path):
    asked = {"folders": (str(photos),), "model": "IMDN", "steps": 1, **QUICK}
    result = train(tmp_path / "run", asked, device="cpu", cache=cache)
    net, spec = open_model(result.weights)
    assert (spec.architecture, net.metadata()["architecture"]) == ("imdn", "IMDN")
    with pytest.raises(UsageError, match="was begun with network IMDN x2, not E-RFDN x2"):
        train(tmp_path / "run", {"model": "E-RFDN"}, device="cpu", cache=cache)


def test_weights_on_0_to_255_are_made_to_work_on_0_to_1(tmp_path):
    net = new_network(TINY, 0)
    checkpoint.save(tmp_path / "old.safetensors", net, {"value_range": "0..255"})
    made = new_network(TINY, 1)
    take_weights(made, str(tmp_path / "old.safetensors"))
    x = torch.rand(1, 3, 20, 20)
    torch.testing.assert_close(made(x), net(255 * x) / 255)


@given(steps=st.integers(1, 10**6), warmup=st.integers(0, 1000), data=st.data())
def test_schedules(steps, warmup, data):
    common = {"folders": ("a",), "network": TINY, "steps": steps, "warmup": min(warmup, steps), "lr": 0.1}
    step = data.draw(st.integers(0, steps - 1))
    halve, cosine = (TrainConfig(schedule=name, halve_every=1000, **common) for name in ("halve", "cosine"))
    for config in (halve, cosine):
        assert 0 < learning_rate(config, step) <= 0.1
    if step >= warmup:
        assert learning_rate(halve, step) == 0.1 * 0.5 ** (step // 1000)
        assert learning_rate(cosine, step) == pytest.approx(0.05 * (1 + np.cos(np.pi * step / steps)))
    assert learning_rate(halve, 0) == pytest.approx(0.1 / (common["warmup"] + 1))
    assert 0.1 <= ema_decay(halve, step) <= 0.999


def test_transfer_to_another_scale_takes_all_and_resamples_the_upsampler(start):
    net = new_network(RFDNOptions(channels=8, blocks=1, scale=3), 0)
    words = take_weights(net, str(start))
    theirs = tensors(start)
    assert words == f"the weights of {start} (x2), the upsampler's resampled"
    for name, tensor in net.state_dict().items():
        if not name.startswith("upsampler"):
            assert torch.equal(tensor, theirs[name])
    # Places within a pixel: -1/4 and 1/4 of x2, -1/3, 0 and 1/3 of x3. The middle one is the mean of all.
    ours = net.upsampler[0].bias.view(3, 3, 3)
    mean = theirs["upsampler.0.bias"].view(3, 4).mean(1)
    torch.testing.assert_close(ours[:, 1, 1], mean)
    torch.testing.assert_close(ours.mean((1, 2)), mean)


@pytest.mark.parametrize("scale", [3, 4])
def test_transferred_weights_beat_bicubic_before_any_training(scale, clips):
    with open_source(clips / "bigbuckbunny.mp4") as source:
        picture = rgb_of(next(item for item in source.items() if hasattr(item, "planes")))[120:408, 300:588]
    net = new_network(preset("E-RFDN", scale), 0)
    take_weights(net, "erfdn-x2-clean")
    small = shrink(picture, scale)
    bicubic = psnr_y(bicubic_resize(small, 288, 288), picture, scale)
    assert psnr_y(enlarge(net, small), picture, scale) > bicubic + 0.5


def test_weights_of_another_network_are_refused_with_the_keys_that_differ(start):
    net = RFDN(preset("RFDN", 2))
    with pytest.raises(
        ModelError, match=r"missing B1\.cca.* and \d+ more; unexpected B1\.esa.*; fea_conv\.weight is \[8, 3, 3, 3\]"
    ):
        take_weights(net, str(start))


def test_a_config_survives_its_text():
    config = begin({"folders": ("a", "b"), "minutes": 2.0}, TINY)
    assert TrainConfig.from_json(config.to_json()) == config
    assert (config.schedule, config.init) == ("cosine", "bicubic")


def test_with_minutes_a_warm_up_may_be_longer_than_the_run():
    """How long that is depends on the machine; what was asked for stays, so that the same command goes on."""
    asked = {"folders": ("a",), "minutes": 60.0, "warmup": 1500}
    config = _fill_minutes(begin(asked, TINY), step=7.2, evaluation=0.0, spent=0.0)
    assert (config.steps, config.warmup) == (500, 1500)
    check_unchanged(TrainConfig.from_json(config.to_json()), asked, "out")
    rates = [learning_rate(config, step) for step in range(500)]
    assert 0 < max(rates) < config.lr


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"minutes": 1.0, "warmup": -1}, "warmup -1 is not allowed; take 0 or more"),
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
    ear = Ear()
    assert train(tmp_path / "run", asked, device="cpu", cache=cache, dry_run=True, reporter=ear) is None
    assert not (tmp_path / "run").exists()
    assert ear.notes[0].startswith("training RFDN (channels 8, blocks 1) x2 (4,244 parameters) on cpu")
    assert "12 steps about" in ear.notes[-1]


def test_the_command(photos, start, cache, tmp_path):
    command = ["train", str(tmp_path / "run"), str(photos), "--from", str(start)]
    command += ["--steps", "500000", "--batch", "1", "--patch", "16", "--cache", str(cache), "--evaluate-every", "50"]
    state, weights, log = (tmp_path / "run" / name for name in ("state.pt", "weights.safetensors", "log.csv"))
    with Fork(entry, *command) as process:
        deadline = time.monotonic() + 120
        while not (log.exists() and "\n20," in log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130, said
    assert f"rfdn-stream train {tmp_path / 'run'}" in said
    assert "Traceback" not in said
    assert torch.load(state, weights_only=True)["trainer"]["step"] >= 20
    picture = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    assert open_model(weights)[0](torch.from_numpy(picture).permute(2, 0, 1)[None] / 255).shape == (1, 3, 40, 48)


WIDER = RFDNOptions(channels=10, blocks=2, attention="esa", block_residual=False, scale=2)  # no multiple of anything


def some_batches(count):
    torch.manual_seed(1)
    hrs = torch.rand(count, 2, 3, 48, 48)
    return [(torch.nn.functional.avg_pool2d(hr, 2), hr) for hr in hrs]


def trained(trainer, batches):
    for lr, hr in batches:
        trainer.apply(trainer.gradients(lr, hr))
    return trainer.averaged().state_dict()


def assert_alike(got, want, net, share=0.02):
    """They differ by a small part of the way from `net`: Adam amplifies the smallest gradients, and their rounding."""
    start = net.state_dict()
    way = sum(float((want[name] - start[name]).square().sum()) for name in want) ** 0.5
    apart = sum(float((got[name] - want[name]).square().sum()) for name in want) ** 0.5
    assert way > 0.01
    assert apart < share * way


def wider_config(**changes):
    return TrainConfig(folders=("none",), network=WIDER, steps=20, lr=1e-3, clip=0.5, precision="fp32", **changes)


@pytest.mark.parametrize("block_residual", [False, True])
def test_padded_channels_train_the_network_itself(block_residual):
    options = replace(WIDER, block_residual=block_residual, attention="cca" if block_residual else "esa")
    net, batches = new_network(options, 0), some_batches(6)
    plain, padded = (Trainer(wider_config(), net, torch.device("cpu"), multiple=m) for m in (1, 8))
    assert padded.net.fea_conv.out_channels == 16
    want, got = trained(plain, batches), trained(padded, batches)
    assert_alike(got, want, net)
    for name, value in padded.net.state_dict().items():
        padding = padded._padding
        assert torch.equal(padding.pad(name, padding.crop(name, value)), value)  # nothing but zeros around


def test_a_state_moves_between_padded_and_plain_trainers():
    net, batches = new_network(WIDER, 0), some_batches(6)
    plain, padded = (Trainer(wider_config(), net, torch.device("cpu"), multiple=m) for m in (1, 8))
    want = trained(plain, batches[:3])
    padded.restore(plain.state())
    assert all(torch.equal(padded.averaged().state_dict()[name], want[name]) for name in want)
    want, got = trained(plain, batches[3:]), trained(padded, batches[3:])
    assert_alike(got, want, net)
    plain.restore(padded.state())
    assert plain.step == 6


def replayed(work):
    """What a card records, done anew each time."""
    result = work().clone()
    return result, lambda: result.copy_(work())


@pytest.mark.parametrize("resumed", [False, True])
def test_recorded_steps_are_those_of_the_plain_trainer(resumed):
    net, batches = new_network(WIDER, 0), some_batches(6)
    plain = Trainer(wider_config(), net, torch.device("cpu"))
    recorded = RecordedTrainer(wider_config(), net, torch.device("cpu"), record=replayed)
    if resumed:
        trained(plain, batches[:3])
        recorded.restore(plain.state())
    for lr, hr in batches[3:]:
        for trainer in (plain, recorded):
            trainer.apply(trainer.gradients(lr, hr))
        assert recorded.loss() == pytest.approx(plain.loss(), rel=1e-5)
    assert_alike(recorded.averaged().state_dict(), plain.averaged().state_dict(), net)


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
def test_recorded_steps_on_a_card(compiled):
    net, batches = new_network(WIDER, 0), some_batches(12)
    device = torch.device("cuda", 0)
    plain = Trainer(wider_config(), net, device)
    recorded = RecordedTrainer(wider_config(), net, device, compiled=compiled)
    want, got = trained(plain, batches), trained(recorded, batches)
    assert recorded.loss() == pytest.approx(plain.loss(), rel=1e-2)
    assert_alike(got, want, net, 0.1)
    again = RecordedTrainer(wider_config(), net, device)
    again.restore(recorded.state())
    assert again.step == 12
    want, got = trained(recorded, batches), trained(again, batches)
    assert_alike(got, want, net, 0.1)


def test_figures_on_other_pictures_are_no_measure():
    facts = Facts("data", "random weights", 28.25, 8)
    assert facts.measured_alike({"bicubic": 28.25 + 1e-9, "pictures": 8})  # another machine rounds otherwise
    assert not facts.measured_alike({"bicubic": 28.26, "pictures": 8})
    assert not facts.measured_alike({"bicubic": 28.25, "pictures": 16})
    assert not facts.measured_alike({"bicubic": None, "pictures": 0})
    assert Facts("data", "random weights", None, 0).measured_alike({"bicubic": None, "pictures": 0})
