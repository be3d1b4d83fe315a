"""Before the first frame: what the network costs here, so that a session begins on a step that holds."""

from __future__ import annotations

from collections import deque

import numpy as np

from rfdn_stream.frame import Frame, Layout, VideoInfo
from rfdn_stream.live.ladder import FULL, PLAIN, Step
from rfdn_stream.upscaler import Output, Upscaler

TRIAL = (96, 64)  # pixels of a picture that any machine enlarges in no time
LONG = 0.5  # seconds above which a whole frame is not tried, but reckoned


def measure(upscaler: Upscaler, plans: deque[Step], info: VideoInfo, output: Output) -> tuple[float, float]:
    """Makes frames of the source's size, which also gets everything ready that depends on it.

    Returns:
        Seconds of the network for a whole frame; seconds for one without the network, all else included.
    """

    def seconds(step: Step, width: int, height: int) -> tuple[float, float]:
        """(in the network or the resampler, on the device) of the second of two frames: the first one warms up."""
        layout = Layout(info.format, width, height)
        frame = Frame(layout.planes(np.zeros(layout.nbytes, np.uint8)), info.format, width, height, info.color)
        for _ in range(2):
            before = upscaler.work.network_seconds, upscaler.work.colour_seconds
            plans.append(step)
            upscaler.submit(frame, output, fresh=True).result()
        network = upscaler.work.network_seconds - before[0]
        return network, network + upscaler.work.colour_seconds - before[1]

    width, height = info.width, info.height
    trial = min(TRIAL[0], width), min(TRIAL[1], height)
    network = seconds(FULL, *trial)[0] * width * height / (trial[0] * trial[1])
    if network <= LONG:
        network = seconds(FULL, width, height)[0]
    return network, seconds(PLAIN, width, height)[1]
