"""Tables from a name to the class that answers to it, imported only when it is asked for.

Adding an engine, a device or an architecture is one line here and one file in its folder. A class in a
table describes itself, so that nothing outside ever asks "which one is it?".
"""

from __future__ import annotations

import importlib
from typing import Any

from rfdn_stream.errors import UsageError

DEVICES = {  # the best first
    "cuda": "rfdn_stream.devices.cuda:CudaDevice",
    "cpu": "rfdn_stream.devices.cpu:CpuDevice",
}
ENGINES = {
    "winograd": "rfdn_stream.engines.winograd.engine:WinogradEngine",
    "openvino": "rfdn_stream.engines.openvino:OpenVinoEngine",
    "torch": "rfdn_stream.engines.torch_engine:TorchEngine",
    "fused": "rfdn_stream.engines.fused.engine:FusedEngine",
    "graph": "rfdn_stream.engines.graph:GraphEngine",
    "compile": "rfdn_stream.engines.compiled:CompiledEngine",
    "tensorrt": "rfdn_stream.engines.tensorrt.engine:TensorRTEngine",
}
ARCHITECTURES = {
    "rfdn": "rfdn_stream.nets.rfdn:RFDN",
    "imdn": "rfdn_stream.nets.imdn:IMDN",
}


def load(table: dict[str, str], name: str, kind: str) -> Any:
    """The class registered under `name`; UsageError lists the table's names where there is none."""
    if name not in table:
        raise UsageError(f"unknown {kind} {name!r}; available: {', '.join(table)}")
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
