"""What NVRTC makes of colour.cu, without a GPU. `python tests/cuda_shim/nvrtc.py` prints the registers."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from cuda.bindings import nvrtc

from rfdn_stream.kernels import cuda

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
# CuPy adds these two to ours.
OPTIONS = (*cuda.OPTIONS, "-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v")


class Usage(NamedTuple):
    """What ptxas reports of a kernel: bytes of stack frame and of spills, and registers."""

    stack: int
    spill_stores: int
    spill_loads: int
    registers: int


def usage(architecture: int) -> dict[str, Usage]:
    """Builds colour.cu for sm_`architecture`: kernel -> usage."""
    program = _checked(nvrtc.nvrtcCreateProgram(cuda.SOURCE.read_bytes(), b"colour.cu", 0, [], []))
    options = [option.encode() for option in (f"-arch=sm_{architecture}", *OPTIONS)]
    (result,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    log = b" " * _checked(nvrtc.nvrtcGetProgramLogSize(program))
    _checked(nvrtc.nvrtcGetProgramLog(program, log))
    _checked(nvrtc.nvrtcDestroyProgram(program))
    if result != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(log.decode())
    reports = re.findall(
        r"Function properties for (\w+)\n.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
        r"\nptxas info\s*: Used (\d+) registers",
        log.decode(),
    )
    return {name: Usage(*map(int, numbers)) for name, *numbers in reports}


def _checked(answer: tuple[Any, ...]) -> Any:
    status, *values = answer
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(str(status))
    return values[0] if values else None


if __name__ == "__main__":
    for architecture in ARCHITECTURES:
        print(f"sm_{architecture}:", {name: use.registers for name, use in sorted(usage(architecture).items())})
