"""TensorRT's Python API without a card: what the engine calls of it, as picky, and ONNX Runtime behind it.

It takes what the real package takes (positional arguments, flags as bits, addresses as numbers), returns None or False
where that does, and says why in the logger alone. A run reads and writes the memory at the addresses that it was given.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
from types import ModuleType, SimpleNamespace

import numpy as np
import onnx
import onnxruntime

STREAM = 77  # the only one that runs are enqueued on
OUT_OF_MEMORY = (
    "[defaultAllocator.cpp::allocate::19] Error Code 1: Cuda Runtime (out of memory)",
    "[executionContext.cpp::ExecutionContext::470] Error Code 2: OutOfMemory (no further information)",
)


class Severity(IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    Severity = Severity
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def __init__(self):
        self.made = True


class FakeTensorRT(ModuleType):
    """Put it into sys.modules as `tensorrt`.

    Attributes:
        log: what was asked for: "build", "load", "run".
        faults: what fails, to what TensorRT says of it: runtime, builder, parse, build, load, context, address, run.
        change: what becomes of a result.
        graphs: the ONNX graphs that were built.
        cleared: the builder's flags that were switched off.
    """

    ILogger = ILogger

    class NetworkDefinitionCreationFlag(IntEnum):
        STRONGLY_TYPED = 1  # 0 in TensorRT 11

    class BuilderFlag(IntEnum):
        TF32 = 7

    class ExecutionContextAllocationStrategy(IntEnum):
        STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)

    def __init__(self, version="10.13.2.6"):
        super().__init__("tensorrt")
        self.__version__ = version
        self.log, self.graphs, self.cleared, self.faults, self.change = [], [], [], {}, lambda result: result

    def Runtime(self, logger):  # noqa: N802
        return Runtime(self, logger)

    def Builder(self, logger):  # noqa: N802
        return Builder(self, logger)

    def OnnxParser(self, network, logger):  # noqa: N802
        return OnnxParser(self, network, logger)

    def fails(self, what, logger):
        """Whether that is to fail; TensorRT says so in the log, among other things."""
        logger.log(Severity.WARNING, "a warning, which is no reason")
        for line in self.faults.get(what, ()):
            logger.log(Severity.ERROR, line)
        return what in self.faults

    def start(self, what, logger):
        if not getattr(logger, "made", False):
            raise TypeError("__init__() must be called when overriding __init__")
        if self.fails(what, logger):
            raise TypeError("pybind11::init(): factory function returned nullptr")


class Builder:
    def __init__(self, trt, logger):
        trt.start("builder", logger)
        self.trt, self.logger = trt, logger

    def create_network(self, flags=0):
        assert flags == 1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return SimpleNamespace(graph=None)

    def create_builder_config(self):
        return SimpleNamespace(clear_flag=self.trt.cleared.append)

    def build_serialized_network(self, network, config):
        self.trt.log.append("build")
        if self.trt.fails("build", self.logger):
            return None
        self.trt.graphs.append(onnx.load_from_string(network.graph))
        return memoryview(self.trt.__version__.encode() + b"\n" + network.graph)


class OnnxParser:
    num_errors = 1

    def __init__(self, trt, network, logger):
        self.trt, self.network, self.logger = trt, network, logger

    def parse(self, model, path=None):
        if self.trt.fails("parse", self.logger):
            return False
        ends = [*(graph := onnx.load_from_string(model).graph).input, *graph.output]
        dimensions = [each for end in ends for each in end.type.tensor_type.shape.dim]
        assert all(each.HasField("dim_value") for each in dimensions)  # else it would want an optimization profile
        self.network.graph = model
        return True

    def get_error(self, index):
        assert index == 0
        return SimpleNamespace(desc=lambda: "In node 3 with name: Resize_3:\n Assertion failed")


class Runtime:
    def __init__(self, trt, logger):
        trt.start("runtime", logger)
        self.trt, self.logger = trt, logger

    def deserialize_cuda_engine(self, serialized_engine):
        version, _, graph = bytes(serialized_engine).partition(b"\n")
        self.trt.log.append("load")
        if version.decode() != self.trt.__version__:
            self.logger.log(Severity.ERROR, "Error Code 1: Serialization (Version tag does not match.)")
            return None
        return None if self.trt.fails("load", self.logger) else CudaEngine(self, graph)


class CudaEngine:
    def __init__(self, runtime, graph):
        self.runtime, self.graph = runtime, graph
        dimensions = onnx.load_from_string(graph).graph.input[0].type.tensor_type.shape.dim
        self.device_memory_size_v2 = 16 * int(np.prod([each.dim_value for each in dimensions]))

    def create_execution_context(self, strategy):
        trt = self.runtime.trt
        assert strategy == trt.ExecutionContextAllocationStrategy.USER_MANAGED
        return None if trt.fails("context", self.runtime.logger) else ExecutionContext(self)


class ExecutionContext:
    def __init__(self, engine):
        self.engine, self.trt, self.addresses, self.memory = engine, engine.runtime.trt, {}, None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(engine.graph, options, ["CPUExecutionProvider"])
        self.ends = {end.name: end.shape for end in (*self.session.get_inputs(), *self.session.get_outputs())}

    def set_tensor_address(self, name, memory):
        self.addresses[name] = memory
        return name in self.ends and not self.trt.fails("address", self.engine.runtime.logger)

    def set_device_memory(self, memory, size):
        assert size >= self.engine.device_memory_size_v2
        self.memory = memory, size

    def execute_async_v3(self, stream_handle):
        assert stream_handle == STREAM
        self.trt.log.append("run")
        if self.trt.fails("run", self.engine.runtime.logger):
            return False
        ctypes.memset(*self.memory[:1], 0xFF, self.memory[1])  # it is this run's own
        source, target = (self._at(name) for name in ("input", "output"))
        target[...] = self.trt.change(self.session.run(None, {"input": source})[0])
        return True

    def _at(self, name):
        pointer = ctypes.cast(self.addresses[name], ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(pointer, self.ends[name])
