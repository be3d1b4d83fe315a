"""TensorRT's own Python API, as much as is needed of it: from an ONNX graph to a plan, and from a plan to what runs.

What is called here is the same in TensorRT 10.13 and 11.4. A network's types are those of its graph (11 knows no
others), so that half precision is the graph's matter.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import torch

from rfdn_stream.engines.base import EngineUnavailableError
from rfdn_stream.errors import DeviceError, UsageError

log = logging.getLogger("rfdn_stream")

LEAST_VERSION = 10, 13


class TensorRT:
    """TensorRT on one card.

    Attributes:
        version: as its package says it.

    Raises:
        EngineUnavailableError: it is not installed, too old, or does not start.
    """

    def __init__(self, device: torch.device) -> None:
        self._trt = _package()
        self.version: str = self._trt.__version__
        if tuple(int(part) for part in self.version.split(".")[:2]) < LEAST_VERSION:
            least = ".".join(map(str, LEAST_VERSION))
            raise EngineUnavailableError(
                f"TensorRT {self.version} is too old, engine tensorrt needs {least}; "
                f"pip install --upgrade '{_extra()}', or choose engine graph"
            )
        self._device = device
        self._log = _logger(self._trt)
        self._memory = torch.empty(0, dtype=torch.uint8, device=device)
        with torch.cuda.device(device):
            try:
                self._runtime = self._trt.Runtime(self._log)
            except (TypeError, RuntimeError) as failure:  # the first is pybind11's, for what returned nothing
                raise EngineUnavailableError(
                    f"TensorRT {self.version} does not start on {device}: {self._said(str(failure))}; "
                    "choose engine graph"
                ) from failure

    def build(self, graph: bytes, *, tf32: bool) -> bytes:
        """A plan of an ONNX graph for the current card; takes a minute or more.

        Args:
            graph: of one size.
            tf32: whether fp32 may be multiplied with 10 bits of each factor.

        Raises:
            UsageError: TensorRT cannot build it.
            torch.OutOfMemoryError: not in the card's memory.
        """
        trt = self._trt
        self._log.errors.clear()
        try:
            builder = trt.Builder(self._log)
        except (TypeError, RuntimeError) as failure:
            raise self._failure("build networks", self._said(str(failure))) from failure
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self._log)
        if not parser.parse(graph):
            raise self._failure("read the network", " ".join(parser.get_error(0).desc().split()))
        config = builder.create_builder_config()
        if not tf32:
            config.clear_flag(trt.BuilderFlag.TF32)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise self._failure("build the network")
        return bytes(plan)

    def load(self, plan: bytes) -> Any:
        """TensorRT's engine of a plan; None where the plan is not for this version, driver or card."""
        self._log.errors.clear()
        return self._runtime.deserialize_cuda_engine(plan)

    def runner(self, engine: Any, **tensors: torch.Tensor) -> Callable[[], None]:
        """What enqueues a run on the card's current stream, from and into these tensors, without asking for memory.

        All runners compute in the same memory: one runs at a time. Each raises DeviceError where TensorRT refuses.

        Raises:
            UsageError: TensorRT does not make it.
            torch.OutOfMemoryError: not in the card's memory.
        """
        if engine is None:
            raise self._failure("load what it has built")
        self._log.errors.clear()
        context = engine.create_execution_context(self._trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise self._failure("run what it has built")
        for name, tensor in tensors.items():
            if not context.set_tensor_address(name, tensor.data_ptr()):
                raise self._failure(f"find {name} in what it has built")
        size = engine.device_memory_size_v2
        if self._memory.numel() < size:
            self._memory = torch.empty(size, dtype=torch.uint8, device=self._device)

        def run() -> None:
            context.set_device_memory(self._memory.data_ptr(), self._memory.numel())
            if not context.execute_async_v3(torch.cuda.current_stream(self._device).cuda_stream):
                raise DeviceError(f"TensorRT {self.version} failed: {self._said()}; choose engine graph")

        return run

    def give_back(self) -> None:
        """Frees the memory of the runners, none of which runs or is used again."""
        self._memory = self._memory.new_empty(0)

    def _failure(self, what: str, said: str | None = None) -> Exception:
        """What is raised where TensorRT returned nothing; its log tells why."""
        said = self._said() if said is None else said
        if any("out of memory" in line.lower() or "outofmemory" in line.lower() for line in self._log.errors):
            return torch.OutOfMemoryError(f"TensorRT {self.version} is out of memory: {said}")
        return UsageError(f"TensorRT {self.version} cannot {what}: {said}; choose engine graph")

    def _said(self, instead: str = "no reason given") -> str:
        """TensorRT's last complaint, on one line."""
        said: str = self._log.errors[-1] if self._log.errors else instead
        return " ".join(said.split())


def _package() -> Any:
    try:
        import tensorrt
    except ModuleNotFoundError as failure:
        raise not_installed(str(failure.name)) from None
    except (ImportError, OSError) as failure:  # its libraries
        raise EngineUnavailableError(
            f"TensorRT does not start: {failure}; pip install --force-reinstall '{_extra()}', or choose engine graph"
        ) from failure
    return tensorrt


def not_installed(package: str) -> EngineUnavailableError:
    """The error of a package that is not there."""
    return EngineUnavailableError(
        f"engine tensorrt is not there: the package {package} is not installed; "
        f"pip install '{_extra()}', or choose engine graph"
    )


def _extra() -> str:
    """What to install, for the CUDA version of this torch."""
    major = (torch.version.cuda or "13").partition(".")[0]
    return f"rfdn-stream[tensorrt{major}]"


def _logger(trt: Any) -> Any:
    """Takes what TensorRT says; `errors` are the last ones."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # not super(): pybind11 asks for it by name
            self.errors: deque[str] = deque(maxlen=20)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(msg)
            log.debug("TensorRT: %s", msg)

    return Log()
