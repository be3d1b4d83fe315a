"""What other networks cost and give, as comparisons in print commonly cite it.

For x4: parameters, mult-adds for a 1280x720 output, and PSNR of luma on Set5. The networks: VDSR (Kim, Lee, Lee,
CVPR 2016), DRRN (Tai, Yang, Liu, CVPR 2017), LapSRN (Lai et al., CVPR 2017), MemNet (Tai et al., ICCV 2017), IDN
(Hui, Wang, Gao, CVPR 2018), CARN-M (Ahn, Kang, Sohn, arXiv 1803.08664), IMDN (Hui et al., arXiv 1909.11856), RFDN
(Liu, Tang, Wu, arXiv 2009.11551). The costs of IMDN and RFDN are counted by `nets.complexity`; IMDN's agree with
print. Comparisons differ here and there: IDN is also given with 600K or 678K parameters and 34.5 G mult-adds, MemNet
with 623.9 G.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One network at x4.

    Args:
        name: as papers write it.
        parameters: weights and biases.
        macs: mult-adds for an output of 1280x720.
        psnr: on Set5, of luma, in dB.
        measured: by this project; else taken from print.
    """

    name: str
    parameters: float
    macs: float
    psnr: float
    measured: bool = False


PUBLISHED = (
    Result("VDSR", 665e3, 612.6e9, 31.35),
    Result("DRRN", 297e3, 6796.9e9, 31.68),
    Result("LapSRN", 813e3, 149.4e9, 31.54),
    Result("MemNet", 677e3, 2662.4e9, 31.74),
    Result("IDN", 553e3, 32.3e9, 31.82),
    Result("CARN-M", 412e3, 32.5e9, 31.92),
    Result("IMDN", 715_176, 40.89e9, 32.21),
    Result("RFDN", 549_624, 31.13e9, 32.24),
)
