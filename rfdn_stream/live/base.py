"""What a live session is made of: a source that gives frames as they come, and sinks that show them.

Sources and sinks know nothing of each other. Each runs on a thread of its own, so each may block: the session
keeps only the newest frame before the network and before every sink.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from rfdn_stream.errors import MediaError
from rfdn_stream.frame import ColorSpec, Frame, PixelFormat, VideoInfo
from rfdn_stream.media.reader import CopiedPacket

if TYPE_CHECKING:
    from av.audio.stream import AudioStream


class SourceLost(MediaError):  # noqa: N818 - an event of a session's life, from which it recovers
    """A source stalled or vanished; it may come back, so the session opens it again."""


@dataclass(frozen=True, eq=False)
class Captured:
    """A frame that a source has given.

    Args:
        frame: its planes are the receiver's own.
        at: when it was complete on this machine, in seconds of `time.monotonic()`.
    """

    frame: Frame
    at: float


@dataclass(frozen=True, eq=False)
class Shot:
    """A frame for the sinks.

    Args:
        frame: the larger picture, in the format that the session agreed on. Sinks only read it, and it stays valid
            as long as they hold it. Its time is the session's: the first frame is near 0, later ones are later,
            also where the source begins anew.
        before: the frame that it was made of.
        captured: when `before` was complete on this machine, in seconds of `time.monotonic()`.
        made: when `frame` was.
        note: what a viewer should know, such as a step of the ladder or a lost source; "" = all is well.
        repeated: the source has nothing newer: `frame` was shown before, and stands here at a later time.
    """

    frame: Frame
    before: Frame
    captured: float
    made: float
    note: str = ""
    repeated: bool = False


class Source(Protocol):
    """Where frames come from. Entering opens it; leaving closes it, also while another thread reads."""

    @property
    def name(self) -> str:
        """As a user would call it: ``/dev/video0``, ``rtsp://...``."""
        ...

    @property
    def info(self) -> VideoInfo:
        """Of the first frame; known once the source is entered."""
        ...

    @property
    def audio(self) -> Sequence[AudioStream]:
        """Streams whose packets `read` gives beside the frames, each with its own `CopiedPacket.index`; () = none."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    def read(self) -> Captured | CopiedPacket | None:
        """The next frame or audio packet, waited for as long as the source's timeout; None at a real end.

        Raises:
            SourceLost: nothing came within the timeout, or the other end is gone.
            MediaError: what came cannot be used, now or later.
        """
        ...


class Sink(Protocol):
    """Where frames go. Entering opens it for `info`; every call comes from one thread, and may block.

    `finish` completes what is to last (a file); leaving without it leaves nothing that looks whole.
    """

    @property
    def name(self) -> str:
        """As a user would call it."""
        ...

    @property
    def closed(self) -> bool:
        """The viewer has ended it: the key q, the window's cross. The session ends."""
        ...

    @property
    def lasting(self) -> bool:
        """What it makes is to stay: it is completed however long that takes, also after Ctrl-C, or it is a failure."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Sentences for the user, known once the sink is open: an audio stream that it leaves out."""
        ...

    def wants(self, info: VideoInfo) -> tuple[PixelFormat, ColorSpec]:
        """Format and colour that the sink takes without converting, for a source of `info`."""
        ...

    def listen(self, audio: Sequence[AudioStream]) -> None:
        """Is told, before `open`, of the streams whose packets `copy` will bring; () = none.

        They are not to be touched after `open` has returned: the source may be opened anew. Their packets' times
        are on the same clock as the frames'.
        """
        ...

    def open(self, info: VideoInfo, size: tuple[int, int], output: tuple[PixelFormat, ColorSpec]) -> None:
        """Gets ready for frames of `size` (width, height) in the format `output`, which another sink may have chosen.

        Raises:
            UsageError, MediaError: the sink cannot be had; what to do instead.
        """
        ...

    def show(self, shot: Shot) -> None:
        """Shows a frame; `size` and format are those of `open`, whatever the source does.

        Raises:
            MediaError: the sink is lost.
        """
        ...

    def copy(self, packet: CopiedPacket) -> None:
        """Takes an audio packet of the source, or lets it fall."""
        ...

    def finish(self) -> None:
        """Completes what was begun."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None: ...
