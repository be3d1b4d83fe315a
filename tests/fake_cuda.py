"""torch's CUDA without a card: runs everything at once on the CPU, keeps a log, and proves the order of all accesses.

What a real card leaves to chance is decided here by vector clocks (`devices/happens_before.py`): each operation of
torch's belongs to the stream that is current, or to the default one, and each memory that it reads or writes is
entered in the books. So a copy on the wrong stream, or a wait for the wrong event, is a RaceError, whatever the
timing.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from types import SimpleNamespace
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rfdn_stream.devices import cuda
from rfdn_stream.devices.happens_before import HappensBefore
from rfdn_stream.kernels import cpu

DEFAULT = "default"


class FakeStream:
    def __init__(self, runtime):
        self.runtime, self.name = runtime, f"stream {next(runtime.numbers)}"

    def wait_event(self, event):
        self.runtime.order.join(self.name, event.clock)

    def synchronize(self):
        self.runtime.log.append(("stream synchronize", self.name))
        self.runtime.host_joins(self.name)


class FakeEvent:
    def __init__(self, runtime, blocking=False, enable_timing=False):
        self.runtime, self.clock, self.blocking, self.timing = runtime, {}, blocking, enable_timing

    def record(self, stream=None):
        agent = self.runtime.current if stream is None else stream.name
        self.clock = self.runtime.order.snapshot(agent)

    def wait(self):
        self.runtime.order.join(self.runtime.current, self.clock)

    def query(self):
        return True

    def synchronize(self):
        self.runtime.log.append(("event synchronize", self.blocking))
        if self.runtime.failure is not None:
            raise self.runtime.failure
        self.runtime.order.join(HappensBefore.thread(), self.clock)

    def elapsed_time(self, end):
        assert self.timing
        assert end.timing
        return 1000.0


class FakeCuda(TorchDispatchMode):
    """Enter it after networks are made; `log` tells what was asked for.

    Attributes:
        log: ("copy", stream, bytes, non_blocking), ("allocate", where, bytes), ("item",), synchronisations.
        failure: what events raise from now on.
        fail_at: (name of an operation, n): the n-th one fails, and with it everything that is waited for afterwards.
    """

    def __init__(self, monkeypatch, cards=("Card A", "Card B")):
        super().__init__()
        self.order, self.log, self.failure = HappensBefore(), [], None
        self.fail_at, self._counts = None, Counter()
        self.current, self.numbers = DEFAULT, iter(range(100))
        self.users = WeakKeyDictionary()  # card memory: the streams that record_stream was told of
        self.pinned = WeakSet()
        fakes = {
            "init": lambda: None,
            "device_count": lambda: len(cards),
            "get_device_name": lambda index: cards[index],
            "Stream": lambda device: FakeStream(self),
            "Event": lambda **options: FakeEvent(self, **options),
            "stream": self._stream,
            "device": lambda device: contextlib.nullcontext(),
            "default_stream": lambda device: SimpleNamespace(name=DEFAULT),
            "synchronize": self._forbidden,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        for name in ("empty", "zeros"):
            monkeypatch.setattr(torch, name, self._allocator(getattr(torch, name)))
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda t, s: self.users[t.untyped_storage()].add(s.name))
        monkeypatch.setattr(cuda.cuda, "choose", lambda device: cpu)

    def _forbidden(self, *device):
        raise AssertionError("a wait for the whole card, which is an error while another thread records a graph")

    def _fail_if_due(self, name):
        self._counts[name] += 1
        if self.fail_at == (name, self._counts[name]):
            self.failure = torch.AcceleratorError(f"CUDA error: unspecified launch failure in {name}\nmore lines")
            raise self.failure

    def host_joins(self, agent):
        self.order.join(HappensBefore.thread(), self.order.snapshot(agent))

    @contextlib.contextmanager
    def _stream(self, stream):
        before, self.current = self.current, stream.name
        try:
            yield
        finally:
            self.current = before

    def _allocator(self, real):
        def allocate(*size, device=None, pin_memory=False, **options):
            on_card = device is not None and torch.device(device).type == "cuda"
            tensor = real(*size, **options)
            if on_card or pin_memory:
                self.log.append(("allocate", "card" if on_card else "host", tensor.nbytes))
            if on_card:
                self.users[tensor.untyped_storage()] = {self.current}
            if pin_memory:
                self.pinned.add(tensor.untyped_storage())
            return tensor

        return allocate

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        schema, name = function._schema, function._schema.name.removeprefix("aten::")
        moves = name == "copy_" and any(t.untyped_storage() in self.pinned for t in args[:2])
        self._fail_if_due("pinned copy" if moves else name)
        result = function(*args, **kwargs)
        if name == "_local_scalar_dense":
            self.log.append(("item",))
            self.host_joins(self.current)
        if moves:
            non_blocking = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
            self.log.append(("copy", self.current, args[0].nbytes, non_blocking))
        if "empty" in name or any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns):
            return result  # new memory, or a view: nothing is read or written
        given = zip(schema.arguments, (*args, *(kwargs.get(a.name) for a in schema.arguments[len(args) :])))
        touched = {}
        for argument, value in given:
            write = argument.alias_info is not None and argument.alias_info.is_write
            for tensor in tree_leaves(value):
                if isinstance(tensor, torch.Tensor):
                    storage = tensor.untyped_storage()
                    touched[storage] = touched.get(storage, False) or write
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                touched.setdefault(tensor.untyped_storage(), True)
        self.order.join(self.current, self.order.snapshot(HappensBefore.thread()))
        for storage, write in touched.items():
            users = self.users.get(storage)
            assert users is None or self.current in users, f"{name}: record_stream was not told of {self.current}"
            self.order.access(self.current, storage, "memory", name, write=write)
        return result


class HostWatchedDevice(cuda.CudaDevice):
    """A CudaDevice whose host accesses are in the books too; engines find its tensors where they are: on the CPU."""

    def __init__(self, runtime, index=None):
        super().__init__(index)
        self.runtime, self.torch_device = runtime, torch.device("cpu")

    def host(self, buffer, *, write):
        array = super().host(buffer, write=write)
        storage = buffer.tensor.untyped_storage()
        self.runtime.order.access(HappensBefore.thread(), storage, buffer.name, "host access", write=write)
        return array

    def _allocate(self, nbytes, what, **where):
        if "device" in where:
            where["device"] = "cuda"
        return super()._allocate(nbytes, what, **where)
