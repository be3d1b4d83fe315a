"""How long a job would take, from two frames: the first warms everything up, the second one is timed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from rfdn_stream.frame import FORMATS, RGB_FULL, Frame, Layout
from rfdn_stream.jobs.outlook import Estimate, Outlook
from rfdn_stream.media.output import OutputPlan
from rfdn_stream.media.source import Source
from rfdn_stream.media.writer import VideoFileSink
from rfdn_stream.upscaler import Upscaler

_SIDE = 256  # pixels a side of the part of an image that is timed


def with_estimate(
    outlook: Outlook, source: Source, plan: OutputPlan, upscaler: Upscaler, size: tuple[int, int], *, encoded: bool
) -> Outlook:
    """The outlook of a video with an estimate. If they are to be `encoded`, the frames are, too, into nothing.

    On a processor network and encoder share it, so their times add up; beside a card the slower one counts.

    Raises:
        UsageError: the encoder refuses its settings or the size.
    """
    frames = list(islice((item for item in source.items() if isinstance(item, Frame)), 2))
    seconds, big = [], []
    for frame in (frames[0], frames[-1]):
        begun = time.perf_counter()
        ticket = upscaler.submit(frame, (plan.encoding.format, plan.encoding.color), fresh=True)
        big.append(ticket.result())
        seconds.append(time.perf_counter() - begun)
    encoder, notes = _encoder(source, plan, size, big[-len(frames) :]) if encoded else (0.0, [])
    network = seconds[-1]
    alone = upscaler.device.torch_device.type == "cpu"
    each = network + encoder if alone else max(network, encoder)
    whole = each * outlook.frames if outlook.frames else None
    return replace(outlook, estimate=Estimate(len(frames), network, encoder, whole), notes=(*outlook.notes, *notes))


def _encoder(
    source: Source, plan: OutputPlan, size: tuple[int, int], frames: Sequence[Frame]
) -> tuple[float, Sequence[str]]:
    """The seconds that each frame takes, and what the sink has to say."""
    with VideoFileSink(os.devnull, source, replace(plan, card=None), size) as sink:
        begun = time.perf_counter()
        for frame in frames:
            sink.write(frame)
        sink.finish()
        return (time.perf_counter() - begun) / len(frames), sink.notes


def with_image_estimate(outlook: Outlook, frame: Frame, upscaler: Upscaler) -> Outlook:
    """The outlook of an image with an estimate, from a part of it."""
    width, height = min(frame.width, _SIDE), min(frame.height, _SIDE)
    layout = Layout(FORMATS[frame.format.name], width, height)
    part = frame.like(tuple(plane[:height, :width] for plane in frame.planes), layout, RGB_FULL)
    seconds = []
    for _ in range(2):
        begun = time.perf_counter()
        upscaler.submit(part, fresh=True).result()
        seconds.append(time.perf_counter() - begun)
    network = seconds[-1] * (frame.width * frame.height) / (width * height)
    return replace(outlook, estimate=Estimate(1, network, 0.0, network))
