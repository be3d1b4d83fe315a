"""Builds the CPU engine's library while the package is installed or a wheel is made.

Without a C++ compiler, or for a processor that there is no code for, the package is built all the same and torch does
the work; `rfdn-stream doctor` says so. RFDN_REQUIRE_LIBRARY=1 makes that an error, for those who publish wheels.
"""

from __future__ import annotations

import importlib.util
import os
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ENGINE = "rfdn_stream/engines/winograd"


class LibraryHook(BuildHookInterface[Any]):
    """Compiles `librfdn` into the package's folder; the wheel is then for this platform only."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        build = _builder(Path(self.root))
        try:
            library: Path = build.build()
        except build.BuildError as failure:
            if os.environ.get("RFDN_REQUIRE_LIBRARY") == "1":
                raise
            self.app.display_warning(f"without the CPU engine: {failure}")
            return
        build_data["artifacts"].append(f"/{ENGINE}/{library.name}")
        # Called through ctypes, it fits every Python of the platform.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"


def _builder(root: Path) -> ModuleType:
    """The module that compiles, without its package: what that imports is not there yet."""
    spec = importlib.util.spec_from_file_location("build_winograd", root / ENGINE / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
