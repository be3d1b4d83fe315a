"""What makes an encoder give the same bits each time."""

from __future__ import annotations

import torch


def x264_params() -> tuple[str, ...]:
    """``key=value`` pairs for x264 on this processor.

    Its code for AVX-512 does not give the same bits each time: on Zen 4 two of five 96x96 clips came out otherwise
    in another of three processes. Its code for AVX2 did each time, and gave what that for SSE4 gives.
    """
    return ("asm=avx2",) if torch.backends.cpu.get_cpu_capability().startswith("AVX512") else ()
