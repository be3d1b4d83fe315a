"""The network that a run begins with: random, or with the weights of another one, of another scale too."""

from __future__ import annotations

from dataclasses import asdict, replace

import torch

from rfdn_stream.errors import ModelError
from rfdn_stream.nets.catalogue import ModelSpec, open_model
from rfdn_stream.nets.fold import VALUE_RANGES
from rfdn_stream.nets.rfdn import PRESETS, RFDN, RFDNOptions, preset

UPSAMPLER = "upsampler."


def choose_network(model: str | None, scale: int | None, start: str | None) -> RFDNOptions:
    """What is trained: the published network that is named, else the one of the weights to begin with.

    Args:
        model: a name of `rfdn.PRESETS`; None = that of `start`, or E-RFDN where that is None too.
        scale: enlargement; None = that of `start`, else 2.
        start: a name of the catalogue, or a weights file.

    Raises:
        UsageError, ModelError: no such network, scale or weights.
    """
    if start is None:
        return preset(model or "E-RFDN", scale or 2)
    options = open_rfdn(start)[0].options
    scale = scale or options.scale
    return preset(model, scale) if model else replace(options, scale=scale)


def open_rfdn(source: str) -> tuple[RFDN, ModelSpec]:
    """A model as it was trained; ModelError where it is no RFDN, which is what is trained here."""
    net, spec = open_model(source, folded=False)
    if not isinstance(net, RFDN):
        raise ModelError(f"{source} holds a network of architecture {spec.architecture}; training takes RFDN's weights")
    return net, spec


def network_name(options: RFDNOptions) -> str:
    """For people: ``E-RFDN x2``."""
    known = (name for name, o in PRESETS.items() if replace(o, scale=options.scale) == options)
    own = f"RFDN of {options.channels} channels and {options.blocks} blocks ({options.attention})"
    return f"{next(known, own)} x{options.scale}"


def new_network(options: RFDNOptions, seed: int) -> RFDN:
    """A network with random weights (PyTorch's initialisation), the same ones for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RFDN(options)


@torch.no_grad()
def take_weights(net: RFDN, source: str) -> str:
    """Puts the weights of another model into a network, and makes it work on 0..1.

    All tensors are taken, but at another scale those of the upsampler, which keep their random values.

    Args:
        net: changed in place.
        source: a name of the catalogue, or a weights file.

    Returns:
        What was taken, for people.

    Raises:
        UsageError, ModelError: there is no such model, or it cannot be read (`open_model`).
        ModelError: it is another network; the message says which tensors differ.
    """
    donor, spec = open_rfdn(source)
    same_scale = donor.options.scale == net.options.scale
    theirs = {name: tensor for name, tensor in donor.state_dict().items() if same_scale or UPSAMPLER not in name}
    ours = {name: tensor for name, tensor in net.state_dict().items() if same_scale or UPSAMPLER not in name}
    if differences := _differences(net, donor, ours, theirs):
        raise ModelError(
            f"{source} holds {network_name(donor.options)}, whose weights do not fit {network_name(net.options)}: "
            f"{differences}; leave --model out to train the network that they are of"
        )
    for name, tensor in ours.items():
        tensor.copy_(theirs[name])
    peak = VALUE_RANGES[spec.value_range]  # as nets.fold does it: exact
    net.get_parameter("fea_conv.weight").mul_(peak)
    for name in ("upsampler.0.weight", "upsampler.0.bias"):
        net.get_parameter(name).div_(peak)
    return f"the weights of {source}" + ("" if same_scale else f" (x{donor.options.scale}), all but the upsampler's")


def _differences(net: RFDN, donor: RFDN, ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> str:
    """What keeps the donor's tensors from being taken, the first of each kind named; empty where nothing does."""
    missing = [name for name in ours if name not in theirs]
    unknown = [name for name in theirs if name not in ours]
    misshaped = [
        f"{name} is {list(theirs[name].shape)} and should be {list(tensor.shape)}"
        for name, tensor in ours.items()
        if name in theirs and theirs[name].shape != tensor.shape
    ]
    wanted, got = asdict(net.options), asdict(donor.options)
    options = [
        f"{name} is {got[name]} and should be {wanted[name]}"
        for name in ("block_residual", "attention")
        if got[name] != wanted[name]
    ]
    kinds = (("it has no ", missing), ("it has ", unknown), ("", misshaped), ("", options))
    return "; ".join(
        label + names[0] + (f" and {len(names) - 1} more like it" if len(names) > 1 else "")
        for label, names in kinds
        if names
    )
