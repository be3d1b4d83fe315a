"""A NVIDIA driver without a card, built from C: FFmpeg's own code for NVDEC and NVENC runs, and finds it by its names.

A process has one driver, found when it starts; so what is to see it runs in a process of its own (`Driver.run`).
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

LIBRARIES = {"cuda": "libcuda.so.1", "nvcuvid": "libnvcuvid.so.1", "nvenc": "libnvidia-encode.so.1"}
_HERE = Path(__file__).parent


def build(folder: Path) -> None:
    """Compiles the libraries into a folder, each into one of its own."""
    flags = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
    for source, name in LIBRARIES.items():
        (folder / source).mkdir()
        subprocess.run(["gcc", *flags, _HERE / f"{source}.c", "-o", folder / source / name], check=True)


class Driver:
    """A process that sees the fake driver.

    Args:
        folder: of `build`.
        libraries: those that are installed.
    """

    def __init__(self, folder: Path, libraries: tuple[str, ...] = tuple(LIBRARIES)) -> None:
        self._log = folder / f"calls-{'-'.join(libraries)}.log"
        before = os.environ.get("LD_LIBRARY_PATH")
        os.environ["LD_LIBRARY_PATH"] = ":".join(str(folder / library) for library in libraries)
        try:
            self._process = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            self._process.submit(os.getpid).result()  # only now is it started
        finally:
            if before is None:
                del os.environ["LD_LIBRARY_PATH"]
            else:
                os.environ["LD_LIBRARY_PATH"] = before

    def run(self, scene: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """What a function of `scenes` returns or raises there; options in capitals are settings of the C sources."""
        self._log.write_text("")
        settings = {name: options.pop(name) for name in list(options) if name.isupper()}
        settings["FAKE_DRIVER_LOG"] = str(self._log)
        return self._process.submit(_play, scene, args, options, settings).result()

    @property
    def calls(self) -> Counter[str]:
        """What the libraries recorded during the last `run`."""
        return Counter(self._log.read_text().splitlines())

    def close(self) -> None:
        self._process.shutdown()


def _play(scene: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any], settings: dict[str, str]) -> Any:
    os.environ.update(settings)
    try:
        return scene(*args, **options)
    finally:
        for name in settings:
            del os.environ[name]
