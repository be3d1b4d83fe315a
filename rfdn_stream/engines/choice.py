"""In which order `auto` tries a device's engines: the device's own, except on a CPU with AMX.

AMX multiplies bf16 matrices many times as fast as vectors do, so that OpenVINO or torch may be faster there than
the project's own code, which has nothing of AMX. Nobody has told yet: the engines run once, and the answer is kept.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import platformdirs
import torch
from torch import nn

from rfdn_stream import __version__, registry
from rfdn_stream.engines.base import Engine, EngineUnavailableError
from rfdn_stream.nets.catalogue import ModelSpec

log = logging.getLogger("rfdn_stream")

SIZE = 270, 480
ROUNDS = 3


def has_amx() -> bool:
    """Whether this CPU multiplies matrices of bf16."""
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16"))


def order(
    names: Sequence[str],
    network: nn.Module,
    spec: ModelSpec,
    device: torch.device,
    precision: str,
    folder: Path | None = None,
) -> Sequence[str]:
    """A device's engines in the order in which `auto` tries them.

    Args:
        names: in the device's own order, which is kept unless the CPU has AMX and `precision` is ``auto``.
        network, spec, device, precision: as for the engines.
        folder: of what was found earlier; None = in the user's cache.
    """
    if device.type != "cpu" or precision != "auto" or not has_amx():
        return names
    folder = folder or Path(platformdirs.user_cache_dir("rfdn-stream", appauthor=False)) / "engines"
    key = _key(names, spec)
    file = folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.json"
    seconds = _kept(file)
    if seconds is None:
        log.info("a CPU with AMX: measuring once which engine is the fastest")
        seconds = measure(names, network, spec, device)
        _keep(file, {**key, "seconds": seconds})
    log.info("a CPU with AMX: %s (%s)", ", ".join(f"{name} {s:.3f} s" for name, s in seconds.items()), file)
    return sorted(names, key=lambda name: seconds.get(name, float("inf")))


def measure(names: Sequence[str], network: nn.Module, spec: ModelSpec, device: torch.device) -> dict[str, float]:
    """Seconds a frame of each engine that can run here, at its best precision: the least of some, in turn."""
    engines: dict[str, Engine] = {}
    for name in names:
        try:
            make = registry.load(registry.ENGINES, name, "engine")
            engines[name] = make(copy.deepcopy(network), spec, device, "auto")  # which rounds its weights
        except EngineUnavailableError as failure:
            log.info("not measured: %s", failure)
    rgb = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0))
    taken: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(1 + ROUNDS):  # the first one warms up
        for name, engine in engines.items():
            begun = time.perf_counter()
            engine(rgb)
            taken[name].append(time.perf_counter() - begun)
    return {name: min(seconds[1:]) for name, seconds in taken.items()}


def _key(names: Sequence[str], spec: ModelSpec) -> dict[str, object]:
    """All that the answer depends on."""
    return {
        "cpu": _cpu(),
        "threads": torch.get_num_threads(),
        "versions": {name: _version(name) for name in ("torch", "openvino")} | {"rfdn-stream": __version__},
        "engines": list(names),
        "network": f"{spec.architecture} {spec.options}",
    }


def _cpu() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _kept(file: Path) -> dict[str, float] | None:
    """What was found earlier; None where nothing readable is there."""
    try:
        seconds = json.loads(file.read_text())["seconds"]
        return {str(name): float(each) for name, each in seconds.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _keep(file: Path, found: Mapping[str, object]) -> None:
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(found, indent=2))
        beside.replace(file)
    except OSError as failure:
        log.info("not kept, and measured again next time: %s: %s", file, failure.strerror)
