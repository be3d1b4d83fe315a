"""Compiles the engine's library with the system's C++ compiler. Needs the standard library alone: installs run it.

    python rfdn_stream/engines/winograd/build.py        # into this folder, as an install does

Each instruction set is an object of its own, built with its own flags, so that one library serves all processors and
nothing above plain x86-64 runs before the processor was asked (`rfdn_isa_works`).
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCES = FOLDER / "src"
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-math-errno", "-pthread")
# Inlined intrinsics of gcc look uninitialized to gcc (GCC bug 105593).
WARNINGS = ("-Wall", "-Wextra", "-Wno-ignored-attributes", "-Wno-maybe-uninitialized", "-Wno-uninitialized")
ISAS = {
    "avx2": ("-mavx2", "-mfma", "-mf16c"),
    "avx_vnni": ("-mavx2", "-mfma", "-mf16c", "-mavxvnni"),
    "avx512_vnni": ("-mavx2", "-mfma", "-mf16c", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni"),
}
X86_64 = ("x86_64", "amd64")


class BuildError(Exception):
    """There is no library, and why."""


def library_path(folder: Path = FOLDER) -> Path:
    """Where the library lies, or would lie."""
    suffix = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
    return folder / f"librfdn{suffix}"


def find_compiler() -> str:
    """The C++ compiler: $CXX, or the first that there is.

    Raises:
        BuildError: there is none.
    """
    wanted = os.environ.get("CXX")
    found = next((path for name in ([wanted] if wanted else COMPILERS) if (path := shutil.which(name))), None)
    if found is None:
        raise BuildError(f"no C++ compiler ({wanted or ', '.join(COMPILERS)})")
    return found


def build(folder: Path = FOLDER, flags: Sequence[str] = ()) -> Path:
    """Compiles the library into `folder`, with further flags after the usual ones.

    Raises:
        BuildError: no compiler, a processor that there is no code for, or what the compiler said.
    """
    if platform.machine().lower() not in X86_64:
        raise BuildError(f"there is no code for {platform.machine()}, only for x86-64")
    compiler, target = find_compiler(), library_path(folder)
    with tempfile.TemporaryDirectory() as scratch:

        def compiled(source: Path) -> Path:
            output = Path(scratch) / f"{source.stem}.o"
            isa = ISAS.get(source.stem.removeprefix("kernels_"), ())
            known = () if isa and not _knows(compiler, isa) else isa  # without its flags its table is empty
            _run([compiler, *FLAGS, *WARNINGS, *known, *flags, "-c", str(source), "-o", str(output)])
            return output

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compiled, sorted(SOURCES.glob("*.cpp"))))
        # Under another name first: a library that is replaced while it runs takes its program down.
        made = Path(scratch) / target.name
        _run([compiler, "-shared", "-pthread", *flags, *map(str, objects), "-o", str(made)])
        beside = target.with_name(f".{target.name}.new")
        shutil.copyfile(made, beside)
        beside.replace(target)
    return target


def _knows(compiler: str, flags: Sequence[str]) -> bool:
    """Whether the compiler has those instructions; old ones lack the newest."""
    command = [compiler, *flags, "-x", "c++", "-fsyntax-only", "-"]
    return subprocess.run(command, input=b"", capture_output=True).returncode == 0


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"{command[0]} failed: {done.stderr.strip()[-2000:]}")
    if done.stderr:
        sys.stderr.write(done.stderr)


if __name__ == "__main__":
    sys.stdout.write(f"{build()}\n")
