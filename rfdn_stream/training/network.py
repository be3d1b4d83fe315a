"""The network that a run begins with: random, or with the weights of another one, of another scale too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rfdn_stream.errors import ModelError
from rfdn_stream.evaluation.resize import cubic
from rfdn_stream.nets.base import Network, NetworkOptions, architectures, named
from rfdn_stream.nets.catalogue import describe, open_model
from rfdn_stream.nets.checkpoint import differences
from rfdn_stream.nets.fold import VALUE_RANGES

UPSAMPLER = "upsampler."
DAMPED = 0.1


def choose_network(model: str | None, scale: int | None, start: str | None) -> NetworkOptions:
    """What is trained: the published network that is named, else the one of the weights to begin with.

    Args:
        model: a name that `nets.base.named` knows; None = the network of `start`, or E-RFDN where that is None too.
        scale: enlargement; None = that of `start`, else 2.
        start: a name of the catalogue, or a weights file.

    Raises:
        UsageError, ModelError: no such network, scale or weights.
    """
    if start is None:
        return named(model or "E-RFDN", 2 if scale is None else scale)[1]
    spec = describe(start)
    scale = spec.scale if scale is None else scale
    return named(model, scale)[1] if model else replace(spec.options, scale=scale)


def architecture_of(options: NetworkOptions) -> str:
    """The name in registry.ARCHITECTURES of the architecture whose options these are."""
    return next(name for name, kind in architectures().items() if isinstance(options, type(_any_of(kind))))


def options_of(architecture: str, values: Mapping[str, Any]) -> NetworkOptions:
    """The options of an architecture from their values by name; KeyError or TypeError where there are no such."""
    return replace(_any_of(architectures()[architecture]), **values)


def _any_of(kind: type[Network]) -> NetworkOptions:
    return next(iter(kind.published.values()))


def network_name(options: NetworkOptions) -> str:
    """For people: ``E-RFDN x2``."""
    networks = (item for kind in architectures().values() for item in {**kind.published, **kind.variants}.items())
    known = (name for name, o in networks if replace(o, scale=options.scale) == options)
    own = f"{architectures()[architecture_of(options)].__name__} (channels {options.channels}, blocks {options.blocks})"
    return f"{next(known, own)} x{options.scale}"


def new_network(options: NetworkOptions, seed: int, init: str = "random") -> Network:
    """A network with random weights (PyTorch's initialisation), the same ones for the same seed.

    Args:
        options: of any architecture.
        seed: of the weights.
        init: ``random``, or ``bicubic`` for a network that begins as bicubic enlargement (`_begin_as_bicubic`).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net: Network = architectures()[architecture_of(options)](options)
    if init == "bicubic":
        _begin_as_bicubic(net)
    return net


@torch.no_grad()
def _begin_as_bicubic(net: Network) -> None:
    """Makes the shortest way through a network nearly a bicubic enlargement, and damps what the rest adds to it.

    The first three channels carry the picture, and the upsampler enlarges them by Keys' kernel. Of its four taps
    an axis a 3x3 convolution has the nearest three; what is left out is 0.03 or less.
    """
    scale, carried = net.options.scale, range(3)
    for module in (net.LR_conv, net.upsampler[0]):
        for parameter in module.parameters():
            parameter.mul_(DAMPED)
    net.fea_conv.weight[:3] = 0
    net.fea_conv.bias[:3] = 0  # type: ignore[index]
    net.fea_conv.weight[carried, carried, 1, 1] = 1
    centres = (np.arange(scale) + 0.5) / scale - 0.5  # of the output's samples, in LR pixels from the middle tap
    taps = cubic(np.array([-1, 0, 1]) - centres[:, None])  # [scale, 3]
    taps /= taps.sum(axis=1, keepdims=True)
    kernels = torch.from_numpy(np.einsum("iy,jx->ijyx", taps, taps).reshape(-1, 3, 3))  # [scale * scale, 3, 3]
    weight = net.get_parameter("upsampler.0.weight").view(3, scale**2, -1, 3, 3)  # as PixelShuffle takes them
    weight[:, :, :3] = 0
    for channel in carried:
        weight[channel, :, channel] = kernels


@torch.no_grad()
def take_weights(net: Network, source: str) -> str:
    """Puts the weights of another model into a network, and makes it work on 0..1.

    All tensors are taken; at another scale, the upsampler's between those of the other one (`_resampled`).

    Args:
        net: changed in place.
        source: a name of the catalogue, or a weights file.

    Returns:
        What was taken, for people.

    Raises:
        UsageError, ModelError: there is no such model, or it cannot be read (`open_model`).
        ModelError: it is another network; the message says which tensors differ.
    """
    donor, spec = open_model(source, folded=False)
    if found := _differences(net, donor):
        raise ModelError(
            f"{source} holds {network_name(donor.options)}, whose weights do not fit {network_name(net.options)}: "
            f"{found}; leave --model out to train the network that they are of"
        )
    same_scale = donor.options.scale == net.options.scale
    theirs = donor.state_dict()
    for name, tensor in net.state_dict().items():
        if same_scale or not name.startswith(UPSAMPLER):
            tensor.copy_(theirs[name])
        else:
            tensor.copy_(_resampled(theirs[name], donor.options.scale, net.options.scale))
    peak = VALUE_RANGES[spec.value_range]  # as nets.fold does it: exact
    net.get_parameter("fea_conv.weight").mul_(peak)
    for name in ("upsampler.0.weight", "upsampler.0.bias"):
        net.get_parameter(name).div_(peak)
    return f"the weights of {source}" + ("" if same_scale else f" (x{donor.options.scale}), the upsampler's resampled")


def _resampled(tensor: Tensor, scale: int, target: int) -> Tensor:
    """The upsampler's weight or bias for another scale.

    What an output channel puts at its place within an LR pixel changes smoothly with that place: a kernel for a
    new place is interpolated linearly between those of the nearest two places there are, or extrapolated from them.
    Of erfdn-x2-clean that makes networks for x3 and x4 that are 1 dB better than bicubic before any training.
    """
    places = ((np.arange(target) + 0.5) / target - 0.5) * scale + scale / 2 - 0.5  # in steps of the given ones
    lower = np.clip(np.floor(places), 0, scale - 2).astype(int)
    mix = np.zeros((target, scale))
    mix[np.arange(target), lower] = lower + 1 - places
    mix[np.arange(target), lower + 1] = places - lower
    axis = torch.from_numpy(mix).float()
    planes = tensor.view(3, scale, scale, -1)  # [RGB, row, column, kernel], as PixelShuffle takes them
    return torch.einsum("ir,jc,Crck->Cijk", axis, axis, planes).reshape(3 * target**2, *tensor.shape[1:])


def _differences(net: Network, donor: Network) -> str:
    """What keeps the donor's tensors from being taken; empty where nothing does."""
    ours, theirs = ({k: v for k, v in n.state_dict().items() if not k.startswith(UPSAMPLER)} for n in (net, donor))
    if found := differences(ours, theirs):
        return found
    wanted, got = asdict(net.options), asdict(donor.options)  # identities have no parameters
    return "; ".join(f"{k} is {got[k]} and should be {v}" for k, v in wanted.items() if k != "scale" and got[k] != v)
