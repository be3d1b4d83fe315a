"""The doctor tells the truth about this machine, and about a machine that lacks things."""

import importlib.util
import json
import os
import platform
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import av
import pytest
import torch

from program import rfdn_stream
from rfdn_stream.doctor.finding import State
from rfdn_stream.doctor.machine import examine
from rfdn_stream.engines.winograd import library as winograd
from rfdn_stream.engines.winograd.library import Library
from rfdn_stream.nets import catalogue
from rfdn_stream.upscaler import Upscaler


def by_part(folder):
    return {finding.part: finding for finding in examine(folder)}


def test_this_machine(tmp_path):
    found = by_part(tmp_path)
    assert torch.__version__ in found["torch"].detail
    with Upscaler(device="cpu") as upscaler:
        assert found["engine by auto"].detail.startswith(f"{upscaler.engine.description}; the first that can of ")
    assert av.__version__ in found["PyAV"].detail
    assert "libx264" in found["encoders"].detail
    assert found["model for video"].detail == f"{catalogue.default_model(2).name}, whole"
    assert str(tmp_path) in found["free space"].detail
    assert not [f for f in found.values() if f.state is State.OK and (f.cost or f.remedy)]
    assert not [f for f in found.values() if f.state is not State.OK and not f.cost]


@pytest.mark.parametrize(("name", "extra", "cost"), [("ray", "ray", "cluster"), ("onnx", "export", "openvino")])
def test_an_absent_library_names_its_extra_and_its_cost(tmp_path, monkeypatch, name, extra, cost):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None if asked == name else find(asked))
    library = by_part(tmp_path)[name]
    assert (library.state, library.remedy) == (State.ABSENT, f"pip install 'rfdn-stream[{extra}]'")
    assert cost in library.cost


@pytest.mark.parametrize(("machine", "state"), [("x86_64", State.BROKEN), ("arm64", State.OK)])
def test_only_an_x86_processor_lacks_avx2(tmp_path, monkeypatch, machine, state):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert by_part(tmp_path)["CPU"].state is state


def test_a_machine_without_the_cpu_engines_library_is_told_how_to_get_it(tmp_path, monkeypatch):
    def missing():
        return Library(tmp_path / "librfdn.so")

    monkeypatch.setattr(winograd, "library", missing)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    found = by_part(tmp_path)["CPU engine"]
    assert found.state is State.ABSENT
    assert "no C++ compiler" in found.detail
    assert "three times slower" in found.cost
    assert "C++ compiler" in found.remedy


def test_missing_weights_are_broken(tmp_path, monkeypatch):
    gone = [catalogue.ModelSpec(**{**vars(model), "file": tmp_path / "none.safetensors"}) for model in catalogue.MODELS]
    monkeypatch.setattr(catalogue, "MODELS", tuple(gone))
    found = by_part(tmp_path)["model for video"]
    assert found.state is State.BROKEN
    assert "not here" in found.detail


def test_a_nearly_full_disk_is_named(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12, 10**12 - 10**9, 10**9))
    assert by_part(tmp_path)["free space"].state is State.BROKEN


def test_a_folder_that_is_not_there(tmp_path):
    assert by_part(tmp_path / "none")["free space"].state is State.BROKEN


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_the_command(tmp_path, arguments):
    ran = rfdn_stream("doctor", "--folder", tmp_path, *arguments)
    broken = [f.part for f in examine(tmp_path) if f.state is State.BROKEN]
    assert ran.returncode == (1 if broken else 0), ran.stderr
    if arguments:
        assert [f["part"] for f in json.loads(ran.stdout) if f["state"] == "broken"] == broken
    else:
        assert "encoders" in ran.stdout


def test_vspipe_is_tried_with_the_filter(tmp_path, vs_environment, monkeypatch):
    pytest.importorskip("vapoursynth")
    for name in ("XDG_CONFIG_HOME", "PYTHONPATH"):
        monkeypatch.setenv(name, vs_environment[name])
    assert by_part(tmp_path)["vspipe"].detail.endswith("vspipe runs the filter")
    broken = tmp_path / "broken" / "vsrfdn"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('half installed')")
    with monkeypatch.context() as shadowed:
        shadowed.setenv("PYTHONPATH", str(broken.parent))
        vspipe = by_part(tmp_path)["vspipe"]
    assert vspipe.state is State.BROKEN
    assert "cannot use the filter: Python exception: half installed" in vspipe.detail
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    elsewhere = (f for f in os.environ["PATH"].split(os.pathsep) if Path(f) != Path(sys.executable).parent)
    monkeypatch.setenv("PATH", os.pathsep.join(elsewhere))  # on which vspipe would find this Python all the same
    vspipe = by_part(tmp_path)["vspipe"]
    assert (vspipe.state, vspipe.remedy) == (State.ABSENT, f"{sys.executable} -m vapoursynth config")
