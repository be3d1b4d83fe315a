"""What `uv build` makes: a wheel with the CPU engine's library for its platform, and without a compiler one for all."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rfdn_stream.engines.winograd.build import library_path

ROOT = Path(__file__).parents[1]
LIBRARY = f"rfdn_stream/engines/winograd/{library_path().name}"
NEEDED = "hatch_build.py", "pyproject.toml", "README.md", "LICENSE", "rfdn_stream", "plugins"
OLD_COMPILER = """#!/bin/sh
case " $* " in *" -mavxvnni "*|*" -mavx512vnni "*) exit 1;; esac
exec g++ "$@" -O0
"""

pytestmark = pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv, which builds the wheel")


def built(folder, compiler, **environment):
    """Builds a wheel from a copy of the sources: (whether it worked, the wheel or what was said)."""
    sources = folder / "sources"
    unwanted = shutil.ignore_patterns("librfdn.*", "__pycache__")
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, sources / name, ignore=unwanted)
        else:
            sources.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, sources / name)
    ran = subprocess.run(
        ["uv", "build", "--wheel", "--no-config", "--python", sys.executable, "--out-dir", folder / "made", sources],
        env={**os.environ, "CXX": str(compiler), **environment},
        capture_output=True,
        text=True,
    )
    return (True, next((folder / "made").glob("*.whl"))) if ran.returncode == 0 else (False, ran.stdout + ran.stderr)


def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_without_a_compiler_the_wheel_is_for_all_platforms(tmp_path):
    worked, wheel = built(tmp_path, "no-such-compiler")
    assert worked, wheel
    assert wheel.name.endswith("-py3-none-any.whl")
    assert LIBRARY not in names(wheel)
    assert {"rfdn_stream/__init__.py", "vsrfdn/__init__.py"} <= names(wheel)


def test_whoever_publishes_wheels_can_insist_on_the_library(tmp_path):
    worked, said = built(tmp_path, "no-such-compiler", RFDN_REQUIRE_LIBRARY="1")
    assert not worked
    assert "no C++ compiler (no-such-compiler)" in said


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++, which builds the library")
def test_the_wheel_brings_a_library_that_works(tmp_path):
    """By a compiler that is too old for the newest instructions, and unoptimized: quick."""
    compiler = tmp_path / "old-g++"
    compiler.write_text(OLD_COMPILER)
    compiler.chmod(0o755)
    worked, wheel = built(tmp_path, compiler)
    assert worked, wheel
    tag = wheel.stem.split("-", 2)[2]
    assert tag.startswith("py3-none-")
    assert not tag.endswith("-any")
    assert LIBRARY in names(wheel)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    program = "from rfdn_stream.engines.winograd import library as l; print(l.__file__, l.library().isa_name)"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    path, isa = ran.stdout.split(maxsplit=1)
    assert path.startswith(str(tmp_path / "installed"))
    assert isa.strip() == "AVX2"
