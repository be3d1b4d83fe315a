"""A model as an ONNX file, checked against the network before it gets its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rfdn_stream.errors import ModelError, RfdnError, UsageError
from rfdn_stream.media.target import settle_target, whole_or_nothing
from rfdn_stream.nets.base import Network
from rfdn_stream.nets.catalogue import ModelSpec, open_model

TOLERANCE = 1e-4  # of values in 0..1; sums in another order differ by some 1e-6
# ONNX Runtime on a CPU rounds the weights alone (about 84 dB are left); where each map is rounded too it is 74.
FP16_LEAST_DB = 60.0

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """How far ONNX Runtime's pictures are from torch's in float32: at most (values in 0..1), and in dB of PSNR."""

    sizes: tuple[str, ...]
    difference: float
    psnr: float

    def __str__(self) -> str:
        return f"at most {self.difference:.1e} from torch's fp32 ({self.psnr:.1f} dB) at {', '.join(self.sizes)}"


@dataclass(frozen=True)
class Exported:
    """What was written; `agreement` is None where it was not checked."""

    target: Path
    precision: str
    opset: int
    nodes: int
    size: int
    agreement: Agreement | None

    def __str__(self) -> str:
        checked = f"checked, {self.agreement}" if self.agreement else "not checked"
        graph = f"{self.precision}, opset {self.opset}, {self.nodes} nodes, {self.size / 1e6:.1f} MB"
        return f"{self.target}: {graph}; {checked}"


def export(
    model: str | Path,
    target: str | Path,
    *,
    fp16: bool = False,
    opset: int | None = None,
    check: bool = True,
    overwrite: bool = False,
) -> Exported:
    """Writes a model as an ONNX file that describes itself (`nets.onnx`).

    Args:
        model: a name of the catalogue, or a weights file.
        target: ends in ``.onnx``.
        fp16: weights and arithmetic in float16; input and output stay float32.
        opset: version of ONNX's operators; None = `nets.onnx.DEFAULT_OPSET`.
        check: runs the file with ONNX Runtime, and the network with torch, on pictures of several sizes.
        overwrite: replace an existing target.

    Raises:
        UsageError: the request cannot be carried out, or a package is missing; nothing was written.
        RfdnError: the file cannot be written, or does not do what the network does; nothing was left behind.
    """
    target = Path(target)
    settle_target(Path(model), target, overwrite=overwrite)
    if target.suffix.lower() != ".onnx":
        raise UsageError(f"the output {target} would be an ONNX file; let its name end in .onnx")
    writer = _nets_onnx()
    runtime = _onnxruntime() if check else None
    net, spec = open_model(model)
    if fp16 and "fp16" not in spec.precisions:
        raise UsageError(f"model {spec.name} was not measured in fp16; leave out --fp16")
    opset = writer.DEFAULT_OPSET if opset is None else opset
    precision = "fp16" if fp16 else "fp32"
    graph = writer.to_onnx(net, _metadata(spec, precision), fp16=fp16, opset=opset)
    content: bytes = graph.SerializeToString()
    with whole_or_nothing(target) as partial:
        try:
            partial.write_bytes(content)
        except OSError as failure:
            raise RfdnError(
                f"cannot write {target}: {failure.strerror}; free some space or choose another folder"
            ) from None
        agreement = _compare(runtime, partial, net, spec) if runtime else None
        if agreement:
            _judge(agreement, fp16)
    return Exported(target, precision, opset, len(graph.graph.node), len(content), agreement)


def _metadata(spec: ModelSpec, precision: str) -> dict[str, str]:
    """What the file says of its model, beside what ONNX has keys for."""
    return {
        "name": spec.name,
        "architecture": spec.architecture,
        "scale": str(spec.scale),
        "value_range": "0..1",
        "minimum_size": str(spec.minimum_size),
        "precision": precision,
        "licence": spec.licence,
        "source": spec.source,
        "training": spec.training,
        "weights_sha256": spec.sha256,
    }


def _nets_onnx() -> ModuleType:
    try:
        from rfdn_stream.nets import onnx
    except ImportError as error:
        raise _missing(error, "onnx") from None
    return onnx


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing(error, "onnxruntime", ", or pass --no-check") from None
    return onnxruntime


def _missing(error: ImportError, package: str, otherwise: str = "") -> Exception:
    if error.name != package:
        return error
    return UsageError(f"the package {package} is not installed; pip install 'rfdn-stream[export]'{otherwise}")


@torch.no_grad()
def _compare(runtime: Any, path: Path, net: Network, spec: ModelSpec) -> Agreement:
    """The smallest picture that the network takes, an odd batch, and one that is larger."""
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    least = spec.minimum_size
    shapes = (1, least, least), (2, least + 8, least + 22), (1, 96, 128)
    pairs = []
    for shape in shapes:
        picture = _picture(*shape)
        pairs.append((session.run(None, {"input": picture})[0], net(torch.from_numpy(picture)).numpy()))
    differences = np.concatenate([(got - want).ravel() for got, want in pairs])
    mean_square = float(np.mean(np.square(differences, dtype=np.float64)))
    return Agreement(
        tuple(f"{width}x{height}" + (f" (batch of {batch})" if batch > 1 else "") for batch, height, width in shapes),
        float(np.abs(differences).max()),
        float("inf") if mean_square == 0 else float(-10 * np.log10(mean_square)),
    )


def _picture(batch: int, height: int, width: int) -> Array:
    """Slopes, edges and grain, float32 [batch, 3, height, width] in 0..1."""
    y, x = np.mgrid[:height, :width]
    slopes = 0.4 + 0.2 * np.sin(x / 9) * np.cos(y / 7)
    edges = 0.3 * ((x + 2 * y) % 24 < 9)
    grain = np.random.default_rng(0).uniform(-0.1, 0.1, (batch, 3, height, width))
    return np.asarray(np.clip(slopes + edges + grain, 0, 1), np.float32)


def _judge(agreement: Agreement, fp16: bool) -> None:
    """ModelError where the file does not do what the network does."""
    if fp16:
        good, allowed = agreement.psnr >= FP16_LEAST_DB, f"at least {FP16_LEAST_DB:g} dB"
        remedy = "export it without --fp16"
    else:
        good, allowed = agreement.difference <= TOLERANCE, f"at most {TOLERANCE:g}"
        remedy = "please report this"
    if not good:
        raise ModelError(f"ONNX Runtime's pictures are {agreement}, and must be {allowed}; {remedy}")
