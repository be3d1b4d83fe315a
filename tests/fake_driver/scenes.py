"""What is played in a process that sees the fake driver. Arguments and results are plain values."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager

import numpy as np

from rfdn_stream.config import EncodeOptions
from rfdn_stream.frame import ColorSpec, Frame, Layout
from rfdn_stream.media.card import Card
from rfdn_stream.media.output import plan_output
from rfdn_stream.media.reader import open_source
from rfdn_stream.media.verify import verify
from rfdn_stream.media.writer import VideoFileSink

ON_HOST, ON_CARD = 1, 2  # DLPack's device types


class FakeCard(Card):
    """A card whose memory is the host's: FFmpeg's side is real, torch's side are tensors on the CPU.

    DLPack says of each tensor where it is; on the way between the two that is changed, and nothing else.
    """

    @contextmanager
    def current(self):
        driver, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
        driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
        driver.cuCtxPushCurrent_v2(context)
        yield
        driver.cuCtxPopCurrent_v2(ctypes.byref(context))

    def _mark(self):
        return None

    def _borrowed(self, plane):
        from torch.utils.dlpack import from_dlpack

        return from_dlpack(moved(plane.__dlpack__(), ON_HOST))

    def _lent(self, tensor):
        return moved(tensor.__dlpack__(), ON_CARD)

    def _empty(self, nbytes):
        import torch

        return torch.full((nbytes,), 0xDD, dtype=torch.uint8)


def moved(capsule, device):
    """The capsule, saying that its tensor is on that device."""
    find = ctypes.pythonapi.PyCapsule_GetPointer
    find.restype, find.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    ctypes.c_int32.from_address(find(capsule, b"dltensor") + 8).value = device  # behind the address of the data
    return capsule


def decoded(path, decode="auto", *, keep=False, start=None, ahead=1):
    """What `open_source` says of its way, and all its pictures; `ahead` of them are held at once."""
    with open_source(path, start, decode=decode, card=FakeCard() if keep else None) as source:
        found, held = [], []
        for frame in source.items():
            if isinstance(frame, Frame):
                held.append(frame)
            if len(held) == ahead:
                found.append(_plain(held.pop(0)))
        found += map(_plain, held)
        return source.decoding, found, [str(damage.what) for damage in source.damage]


def _plain(frame):
    planes = frame.planes or tuple(plane.tensor.numpy() for plane in frame.card)
    return frame.pts, frame.duration, frame.format.name, [plane.copy() for plane in planes], bool(frame.card)


def encoded(path, out, codec, pix_fmt=None, *, size=(100, 52)):
    """Random pictures through a sink that takes them from the host. Returns what was put in and what came out."""
    with open_source(path) as source:
        plan = plan_output(source, out, EncodeOptions(codec=codec, pix_fmt=pix_fmt))
        layout, random, given = Layout(plan.encoding.format, *size), np.random.default_rng(0), []
        with VideoFileSink(out, source, plan, size) as sink:
            for item in source.items():
                if isinstance(item, Frame):
                    memory = np.zeros(layout.nbytes, np.uint8)
                    for plane in layout.planes(memory):
                        plane[...] = random.integers(0, layout.format.code_max + 1, plane.shape) << layout.format.shift
                    sink.write(item.like(layout.planes(memory), layout, ColorSpec()))
                    given.append([plane.copy() for plane in layout.planes(memory)])
                else:
                    sink.copy(item)
            report = sink.finish()
    verify(out, report)
    return plan.encoding.format.name, given


def enlarged(path, out, model, codec, *, decode="auto", keep=True):
    """The file's whole way, source and encoder on the card, the network on the CPU, every order checked."""
    from rfdn_stream.devices.cpu import CpuDevice
    from rfdn_stream.pipeline import run
    from rfdn_stream.upscaler import Upscaler

    card = FakeCard()
    with (
        open_source(path, decode=decode, card=card if keep else None) as source,
        Upscaler(model, device=CpuDevice(check=True)) as upscaler,
    ):
        plan = plan_output(source, out, EncodeOptions(codec=codec), card)
        size = 2 * source.info.width, 2 * source.info.height
        with VideoFileSink(out, source, plan, size) as sink:
            run(source, upscaler, sink, (plan.encoding.format, plan.encoding.color), surface=sink.surface)
            report = sink.finish()
    verify(out, report)
    return source.decoding, plan.encoding.format.name


def job(path, out, model, decode, codec):
    """`rfdn_stream.upscale`, and what it noted."""
    from rfdn_stream import upscale

    notes = []

    class Reporter:
        def note(self, text):
            notes.append(text)

        def event(self, kind, facts): ...

        def begin(self, what, frames):
            notes.append(what)

        def frame(self, stages): ...

        def end(self): ...

    upscale(path, out, model=model, device="cpu", decode=decode, codec=codec, reporter=Reporter())
    return notes
