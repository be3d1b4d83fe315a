"""The fused kernels without a card: their arithmetic by Triton's interpreter, their code by Triton's compiler, and the
engine's ways around them. test_gpu.py has the rest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rfdn_stream.nets.catalogue import open_model

triton = pytest.importorskip("triton", reason="Triton is there on Linux alone")

CARD = torch.device("cuda", 0)
SHARED = {80: 166_912, 86: 101_376, 90: 232_448, 100: 232_448, 120: 101_376}
"""Bytes of shared memory that a program may have, by compute capability."""


@pytest.fixture(scope="module")
def model(tiny_model):
    return open_model(tiny_model)


def test_the_kernels_give_what_torch_does():
    """See fused_interpreted.py."""
    script = Path(__file__).with_name("fused_interpreted.py")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=script.parents[1])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
