"""Weights files: read from whatever they were saved as, recognised by what they hold, checked, written.

Read are safetensors and PyTorch checkpoints (never code inside them), bare or in the wrappers that training
programs put around a state dict. What a network is, is told by the names and shapes of its parameters.
"""

from __future__ import annotations

import os
from collections.abc import KeysView, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor
from torch.nn import functional as F

from rfdn_stream.errors import ModelError, UsageError
from rfdn_stream.nets.base import Network, NetworkOptions, architectures, blank
from rfdn_stream.nets.fold import VALUE_RANGES

State = dict[str, Tensor]

WRAPPERS = ("params_ema", "params", "state_dict", "model")
"""Keys that a state dict may lie under; where several are there, the first: averaged weights are the better."""
_DEEPEST = 3  # wrappers in each other; a pickle can hold itself
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2)


@dataclass(frozen=True)
class Description:
    """What a set of weights is: `architecture` is a name of registry.ARCHITECTURES, `value_range` of VALUE_RANGES."""

    architecture: str
    options: NetworkOptions
    value_range: str


def load(path: str | Path) -> tuple[State, dict[str, str]]:
    """The tensors of a weights file by name, on the CPU, and the file's own words about them (empty for PyTorch's).

    Raises:
        ModelError: there is no such file, or it is damaged, or it holds no weights.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except FileNotFoundError:
        raise ModelError(f"there is no weights file {path}; `rfdn-stream models` lists the models there are") from None
    except IsADirectoryError:
        raise ModelError(f"{path} is a folder; name the weights file inside it") from None
    except OSError as error:
        raise ModelError(f"the weights file {path} cannot be read: {error.strerror}") from None
    if not head:
        raise ModelError(f"the weights file {path} is empty; copy or download it again")
    content: object
    metadata: dict[str, str] = {}
    if head[8:] == b"{":  # 8 bytes of length, then JSON
        content, metadata = _read_safetensors(path)
    elif head.startswith((b"PK\x03\x04", b"\x80")):  # a zip archive, or a bare pickle as torch wrote before 1.6
        content = _read_torch(path)
    else:
        raise ModelError(f"{path} is neither a safetensors file nor a PyTorch checkpoint")
    return _state_in(content, path), metadata


def _read_safetensors(path: Path) -> tuple[State, dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except Exception as error:  # the file's fault, whatever it is that trips over it
        raise ModelError(f"the safetensors file {path} is damaged; copy or download it again") from error


def _read_torch(path: Path) -> object:
    try:
        with path.open("rb") as file:  # given a path, torch would go by its extension
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive or pickle can raise anything
        raise ModelError(
            f"the PyTorch checkpoint {path} is damaged or holds more than weights; copy or download it again, "
            "or save the network's state_dict() alone"
        ) from error


def _state_in(content: object, path: Path) -> State:
    """The state dict in a checkpoint, out of its wrappers."""
    for _ in range(_DEEPEST):
        if isinstance(content, dict) and (wrapper := next((key for key in WRAPPERS if key in content), None)):
            content = content[wrapper]
    if not (isinstance(content, dict) and content and all(isinstance(v, Tensor) for v in content.values())):
        raise ModelError(f"{path} holds no state dict of tensors; expected the weights of {_expected()}")
    if not all(str(key).isprintable() for key in content):  # names end up in messages
        raise ModelError(f"{path} is damaged: the names of its tensors are not text; copy or download it again")
    for name, tensor in content.items():
        if tensor.is_nested or (tensor.layout, tensor.device.type) != (torch.strided, "cpu"):
            raise ModelError(f"{path} holds {name} without its numbers side by side; save a plain state_dict() of it")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def build(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[Network, Description]:
    """The network that these weights belong to, holding them as float32, and its description.

    Args:
        state: tensors by name, in the authors' layout.
        metadata: what is known besides, as `metadata` of the network and `value_range`. Where the value range
            is not, it is measured (`measured_range`).

    Raises:
        ModelError: the weights belong to another network, or are not finite floating-point numbers.
    """
    architecture, options = _recognise(state, metadata)
    net = blank(architecture, options)
    if found := differences(net.state_dict(), state):
        raise ModelError(f"the weights do not fit the network that they resemble ({options}): {found}")
    _check_numbers(state)
    net.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    value_range = metadata.get("value_range") or measured_range(net)
    if value_range not in VALUE_RANGES:
        raise ModelError(f"the weights are said to work on {value_range!r}; known: {', '.join(VALUE_RANGES)}")
    return net, Description(architecture, options, value_range)


def _check_numbers(state: Mapping[str, Tensor]) -> None:
    for name, tensor in state.items():
        kind = str(tensor.dtype).removeprefix("torch.")
        if tensor.dtype not in _FLOATS:
            raise ModelError(f"the weights are {kind} numbers ({name}); save them as float32, not quantized")
        if not tensor.isfinite().all():
            raise ModelError(f"the weights are damaged: {name} holds values that are not finite numbers")


def _recognise(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[str, NetworkOptions]:
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for architecture, kind in architectures().items():
        try:
            options = kind.options_from(shapes, metadata)
        except UsageError as error:
            raise ModelError(f"the weights are of no network there is: {error}") from None
        if options is not None:
            return architecture, options
    some = ", ".join(f"{name} {list(shape)}" for name, shape in list(shapes.items())[:3])
    raise ModelError(
        f"the weights are another network's: {len(shapes)} tensors, {some}, ...; "
        f"expected {_expected()}{_nearest(state)}"
    )


def _expected() -> str:
    """The networks whose weights are read, and how to tell them."""
    return " or ".join(f"{kind.__name__} ({kind.layout})" for kind in architectures().values())


def _nearest(state: Mapping[str, Tensor]) -> str:
    """The published network with the most names in common and the names that differ; empty where all do."""
    published = {
        name: blank(architecture, options).state_dict().keys()
        for architecture, kind in architectures().items()
        for name, options in kind.published.items()
    }
    nearest, names = max(published.items(), key=lambda item: len(item[1] & state.keys()))
    if not names & state.keys():
        return ""
    return f"; nearest is {nearest}: " + "; ".join(_name_differences(names, state.keys()))


def differences(expected: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> str:
    """What sets the tensors apart from those expected, the first of each kind named; empty where they fit."""
    misshaped = [
        f"{name} is {list(got[name].shape)} and should be {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in got and got[name].shape != tensor.shape
    ]
    return "; ".join([*_name_differences(expected.keys(), got.keys()), *_first("", misshaped)])


def _name_differences(expected: KeysView[str], got: KeysView[str]) -> list[str]:
    missing = [name for name in expected if name not in got]
    unexpected = [name for name in got if name not in expected]
    return _first("missing ", missing) + _first("unexpected ", unexpected)


def _first(label: str, names: list[str]) -> list[str]:
    """One phrase that names the first; none where there is none."""
    return [label + names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")] if names else []


@torch.no_grad()
def measured_range(net: Network) -> str:
    """The value range that a network works on: the one in which it enlarges a smooth pattern most faithfully.

    The mean errors of the two differ by a factor of 8 and more for trained weights.
    """
    t = torch.linspace(0, 1, 48)
    waves = 0.5 + 0.25 * torch.sin(6 * t)[:, None] * torch.cos(5 * t)
    slope = 0.3 + 0.4 * t[:, None] * t
    pattern = torch.stack((waves, slope, 1 - slope))[None]  # [1, 3, 48, 48], from 0.25 to 0.75
    enlarged = F.interpolate(pattern, scale_factor=net.options.scale, mode="bicubic")

    def error(value_range: str) -> float:
        peak = VALUE_RANGES[value_range]
        return float((net(pattern * peak) / peak - enlarged).abs().mean())

    return min(VALUE_RANGES, key=error)


def save(path: str | Path, net: Network, metadata: Mapping[str, str]) -> None:
    """Writes a network to a safetensors file that describes itself; the file is there whole or not at all.

    Args:
        path: replaced where it exists.
        net: a network as trained. A folded one has lost what tells it from an unfolded one: ValueError.
        metadata: goes in beside the network's own; should say the `value_range`.

    Raises:
        ModelError: the file cannot be written.
    """
    if net.folded:
        raise ValueError("a folded network cannot be saved; save the one that it was folded from")
    path = Path(path)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in net.state_dict().items()}
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            with unfinished.open("wb") as file:
                file.write(to_bytes(tensors, {**net.metadata(), **metadata}))
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise ModelError(f"the weights cannot be written to {path}: {error.strerror}") from None
