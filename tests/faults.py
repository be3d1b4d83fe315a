"""A device that goes wrong when it is told to, one that keeps a record, and a wait that ends."""

import random
import threading
import time

from rfdn_stream.devices.cpu import CpuDevice, CpuEvent, CpuStream
from rfdn_stream.errors import DeviceError


class FaultyDevice(CpuDevice):
    """A CpuDevice with random delays that leaves out the waits for one event, or fails at one call.

    Args:
        omit: name of the event whose waits are forgotten: (event, who waits); ("released", n) = whoever fills a slot
            again takes over from all of its `readers` but number n, ("released", "host") = from none.
        fail: (what, n): the n-th copy or launch of that kind fails when it runs, the n-th ``pinned`` or ``empty``
            buffer when it is asked for.
    """

    def __init__(self, fail=None, *, check=True, seed=0, delay=0.0, omit=None, readers=1):
        super().__init__(check=check)
        self.random, self.delay, self.omit, self.fail_at, self.counts = random.Random(seed), delay, omit, fail, {}
        self.readers, self.observed = readers, 0

    def stream(self, name):
        if name not in self._streams:
            self._streams[name] = _ForgetfulStream(self, name)
        return self._streams[name]

    def event(self, name):
        return _ForgetfulEvent(self, name)

    def observe(self, token):
        number = self.observed % self.readers
        self.observed += 1
        if self.omit not in (("released", "host"), ("released", number)):
            super().observe(token)

    def pinned(self, nbytes, name):
        if nbytes:
            self._fail_if(self._is_due("pinned"))
        return super().pinned(nbytes, name)

    def empty(self, nbytes, name):
        self._fail_if(self._is_due("empty"))
        return super().empty(nbytes, name)

    def _enqueue(self, what, work, stream, reads, writes):
        due = self._is_due(what)

        def delayed():
            time.sleep(self.random.random() * self.delay)
            self._fail_if(due)
            work()

        super()._enqueue(what, delayed, stream, reads, writes)

    def _is_due(self, what):
        count = self.counts[what] = self.counts.get(what, 0) + 1
        return self.fail_at == (what, count)

    def _fail_if(self, due):
        if due:
            raise DeviceError("injected: {} {}".format(*self.fail_at))


class _ForgetfulStream(CpuStream):
    def wait(self, event):
        if self._device.omit != (event.name, self.name):
            super().wait(event)


class _ForgetfulEvent(CpuEvent):
    def synchronize(self):
        if self._device.omit != (self.name, "host"):
            super().synchronize()


class RecordingDevice(CpuDevice):
    """A checking CpuDevice that notes what each stream knew when it was given work, and each buffer that was made."""

    def __init__(self):
        super().__init__(check=True)
        self.work, self.made = {}, []

    def _enqueue(self, what, work, stream, reads, writes):
        super()._enqueue(what, work, stream, reads, writes)
        self.work.setdefault(stream.name, []).append((stream.name, self.order.snapshot(stream.name)))

    def pinned(self, nbytes, name):
        self.made.append(name)
        return super().pinned(nbytes, name)

    def empty(self, nbytes, name):
        self.made.append(name)
        return super().empty(nbytes, name)


def free_of(one, other):
    """Whether nothing orders two pieces of a RecordingDevice's work, so that a device may run them at once."""
    (agent, clock), (other_agent, other_clock) = one, other
    return clock.get(other_agent, 0) < other_clock[other_agent] and other_clock.get(agent, 0) < clock[agent]


def within(seconds, work):
    """Runs `work` on a thread; what it raises is returned, and a hang is a failure."""
    caught = []

    def run():
        try:
            work()
        except BaseException as failure:  # noqa: BLE001 - returned
            caught.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"
    return caught[0] if caught else None
