"""The device and the engine that the user names, or the best there are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from rfdn_stream import registry
from rfdn_stream.devices.base import Device, NoDeviceError
from rfdn_stream.engines.base import Engine, EngineUnavailableError
from rfdn_stream.engines.choice import order
from rfdn_stream.errors import DeviceError, UsageError
from rfdn_stream.nets.base import Network
from rfdn_stream.nets.catalogue import ModelSpec

log = logging.getLogger("rfdn_stream")


def open_device(name: str) -> Device:
    """The device that the user names: ``auto``, ``cpu``, ``cuda:1``.

    ``auto`` takes the first kind of registry.DEVICES that works, and says why it passed over the ones before.

    Raises:
        UsageError: no such device, and what there is.
        DeviceError: it is there, but does not work.
    """
    kind, colon, index = name.partition(":")
    if "," in name:
        raise UsageError(f"one Upscaler runs on one device, got {name!r}; name one, or take a MultiUpscaler")
    if (colon and not index.isdecimal()) or (colon and kind == "auto"):
        raise UsageError(f"device {name!r} is not understood; write auto, cpu or cuda:N")
    if kind != "auto":
        device: Device = registry.load(registry.DEVICES, kind, "device")(int(index) if index else None)
        return device
    *better, last = registry.DEVICES
    for kind in better:
        try:
            return open_device(kind)
        except (UsageError, DeviceError) as failure:
            # A machine without a card is no cause for alarm; a card that does not work is.
            level = logging.INFO if isinstance(failure, NoDeviceError) else logging.WARNING
            log.log(level, "not on %s: %s", kind, str(failure))  # a record of it would hold on to its traceback
    return open_device(last)


def open_engine(
    device: Device, asked: str, network: Network, model: ModelSpec, precision: str, tile: int | None
) -> Engine:
    """The engine that the user names; ``auto`` takes the device's first one that can, and says why not those before.

    Raises:
        UsageError: no such engine on that device, or it cannot run this network so; and what there is.
    """
    if asked in registry.ENGINES and asked not in device.engines:
        raise UsageError(f"engine {asked} does not run on {device.name}; choose {', '.join(device.engines)}")
    if asked == "auto":
        *better, last = order(device.engines, network, model, device.torch_device, precision)
    else:
        better, last = [], asked
    for name in better:
        try:
            return _engine(name)(network, model, device.torch_device, precision, tile)
        except EngineUnavailableError as failure:
            log.info("not by engine %s: %s", name, str(failure))
    return _engine(last)(network, model, device.torch_device, precision, tile)


def open_engines(
    device: Device, asked: str, networks: Sequence[tuple[Network, ModelSpec]], precision: str, tile: int | None
) -> list[Engine]:
    """The engines of networks in sequence, as `open_engine`: one name for all, or each one's with commas between.

    Raises:
        UsageError: several names, but not one for each network.
    """
    names = [name.strip() for name in asked.split(",")]
    if len(names) not in (1, len(networks)):
        raise UsageError(f"engine {asked!r} is not understood for {len(networks)} networks; name one for all, or each")
    each = names * len(networks) if len(names) == 1 else names
    return [
        open_engine(device, name, network, spec, precision, tile)
        for name, (network, spec) in zip(each, networks, strict=True)
    ]


def _engine(name: str) -> Callable[..., Engine]:
    """The class of the engine of that name."""
    found: Callable[..., Engine] = registry.load(registry.ENGINES, name, "engine")
    return found
