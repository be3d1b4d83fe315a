"""A live session's state for people: one line that stays up to date on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from rfdn_stream.cli.progress import PLAIN_INTERVAL, ConsoleReporter

if TYPE_CHECKING:
    from rfdn_stream.frame import VideoInfo
    from rfdn_stream.live.base import Sink
    from rfdn_stream.live.meter import Status
    from rfdn_stream.upscaler import Upscaler


def line(status: Status) -> str:
    """The figures that matter, in one line."""
    minutes, rest = divmod(int(status.seconds), 60)
    text = (
        f"{minutes}:{rest:02}  in {status.fps_in:.1f} fps, out {status.fps_out:.1f} fps, "
        f"latency {1000 * status.p50:.0f} ms (95 %: {1000 * status.p95:.0f} ms), dropped {status.dropped:.0%}"
    )
    return f"{text}  {status.note}" if status.note else text


class LiveReporter(ConsoleReporter):
    """Notes above, figures below; all of it on stderr."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(quiet=quiet)
        self._live: Live | None = None

    def begin_live(self, info: VideoInfo, size: tuple[int, int], upscaler: Upscaler, sinks: Sequence[Sink]) -> None:
        """Source and sinks are open."""
        names = ", ".join(sink.name for sink in sinks)
        self.note(
            f"{info.width}x{info.height} {info.format.name} at {float(info.rate):.4g} fps to {size[0]}x{size[1]}: "
            f"{upscaler.description}; to {names}; Ctrl-C ends it"
        )
        if self._quiet:
            self._tell_pages(sinks)
        self._told = time.monotonic()
        if self._console.is_terminal and not self._quiet:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()

    def _tell_pages(self, sinks: Sequence[Sink]) -> None:
        """Says where pages are, for their ports and tokens cannot be found otherwise."""
        from rfdn_stream.live.sinks.page import PageSink

        for sink in sinks:
            if isinstance(sink, PageSink):
                self._console.print(sink.name, markup=False, highlight=False, soft_wrap=True)

    def status(self, status: Status) -> None:
        """How things are now."""
        if self._live is not None:
            self._live.update(Text(line(status), no_wrap=True, overflow="ellipsis"), refresh=True)
        elif time.monotonic() - self._told >= PLAIN_INTERVAL:
            self._told = time.monotonic()
            self.note(line(status))

    def end(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def summary(self, status: Status) -> None:
        """How it was, at the end."""
        lost = 1 - status.shown / status.arrived if status.arrived else 0.0
        self.note(
            f"{status.shown} frames shown in {status.seconds:.1f} s, {max(0.0, lost):.1%} of {status.arrived} dropped; "
            f"latency {1000 * status.p50:.0f} ms (95 %: {1000 * status.p95:.0f} ms)"
        )
