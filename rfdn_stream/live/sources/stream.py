"""What every source that FFmpeg reads has in common: opening with a deadline, reading with one, pacing."""

from __future__ import annotations

import errno
import logging
import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from types import TracebackType
from typing import Self

import av
from av.audio.stream import AudioStream
from av.container.input import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from rfdn_stream.errors import MediaError
from rfdn_stream.frame import Frame, VideoInfo
from rfdn_stream.live.base import Captured, SourceLost
from rfdn_stream.live.sources import Awaited
from rfdn_stream.live.sources.decoding import PromptDecoder
from rfdn_stream.media.deinterlace import Deinterlacer
from rfdn_stream.media.probe import choose_video, describe
from rfdn_stream.media.reader import CopiedPacket

log = logging.getLogger("rfdn_stream")

_GIVEN_UP = "Immediate exit requested"
BEHIND, CAUGHT_UP = 1.0, 0.3  # seconds of backlog from which, and down to which, only keyframes are decoded
DRIFT = 0.005  # seconds a second by which a sender's clock may part from ours
UNMOVED = 10.0  # seconds of keyframes alone after which a delay that has not fallen is the sender's own
_TOO_LATE = 1.0  # seconds behind its own timestamps after which a paced source goes on from where it is
# Seconds that times may leave out of a paced source whose format lets them begin anew; beyond, they have.
_LEAP = 10.0
KEYFRAME = 15.0  # seconds that a keyframe may be away where a stream is joined; 10 are usual
_MICROSECONDS = Fraction(1, 1_000_000)
_LISTS = ("hls", "dash", "sdp")  # what they name is long or endless, however short they are
# A listener that fails otherwise was let down by who connected, and the next one may do better.
_LASTING = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, errno.EINVAL)


class Backlog:
    """Tells whether frames are decoded slower than they are sent: they come later and later, by their own clock.

    So do those of a sender whose clock is slow, or that has paused; but only a backlog shrinks by keyframes alone.
    """

    def __init__(self) -> None:
        self._least: float | None = None  # the delay without a backlog
        self._seen = 0.0
        self._began = 0.0, 0.0  # when only keyframes were left, and how late the frames were
        self.behind = False

    def changed(self, own: float, now: float) -> bool:
        """Whether a frame of the time `own`, decoded at `now`, changes the verdict; both in seconds."""
        delay, before = now - own, self.behind
        if self._least is None or delay - self._least > 60:  # another clock
            self._least = delay
        self._least = min(delay, self._least + DRIFT * (now - self._seen)) if self._seen else delay
        self._seen = now
        late = delay - self._least
        since, at_first = self._began
        if before and now - since > UNMOVED and late > at_first / 2:
            self._least, late = delay, 0.0
        self.behind = late > (CAUGHT_UP if before else BEHIND)
        if self.behind and not before:
            self._began = now, late
        return self.behind != before


@dataclass(frozen=True)
class Opening:
    """How FFmpeg is to open a source.

    Args:
        name: as a user would call the source.
        address: as FFmpeg calls it.
        format: FFmpeg's name of the demuxer or the device; None = found out.
        options: FFmpeg's.
        timeout: seconds, for opening up to the first frame and for every read.
        paced: frames are held back until their own time; None = where it is a recording.
        endless: its end is a loss: the other end may come back.
        listening: the other end connects to the address.
        deinterlace: one of `live.sources.WAYS`.
        hints: what to do, by errno; -1 = in any other case.
    """

    name: str
    address: str
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    timeout: float = 5.0
    paced: bool | None = False
    endless: bool = True
    listening: bool = False
    deinterlace: str = "off"
    hints: dict[int, str] = field(default_factory=dict)


class Fields:
    """Deinterlaces frames as they come, which may change their size and format at any time."""

    def __init__(self, way: str) -> None:
        self._way = way
        self._deinterlacer = Deinterlacer(way)
        self._shape: object = None

    def through(self, frame: Frame | None) -> Iterator[Frame]:
        """The frames that are ready after this one; None = the last ones of what comes to its end."""
        shape = frame and (frame.width, frame.height, frame.format)
        if shape != self._shape:
            yield from self._deinterlacer.through(None)
            self._deinterlacer, self._shape = Deinterlacer(self._way), shape
        if frame is not None:
            yield from self._deinterlacer.through(frame)


class StreamSource:
    """See `live.base.Source` for the methods.

    Args:
        opening: what is opened, and how.
    """

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self.name = opening.name
        self._head: deque[Captured | CopiedPacket] = deque()
        self._origin: tuple[float, float] | None = None  # of a paced source: its time, and ours
        self._expected = math.inf  # the next frame's time, in its own seconds
        self._fruitless: float | None = None  # since when packets give no picture
        self._backlog = Backlog()

    def __enter__(self) -> Self:
        self._container = self._open()
        try:
            self._begin()
        except BaseException as error:
            self._container.close()
            if self._opening.listening and isinstance(error, MediaError):
                raise SourceLost(str(error)) from error  # another sender may do better
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._container.close()

    @property
    def info(self) -> VideoInfo:
        return self._info

    @property
    def audio(self) -> tuple[AudioStream, ...]:
        return self._audio

    def read(self) -> Captured | CopiedPacket | None:
        item = self._head.popleft() if self._head else self._next()
        if not isinstance(item, Captured):
            return item
        if self._paced:
            return self._in_time(item)
        return item if self._timed else _as_it_came(item)

    def _open(self) -> InputContainer:
        how = self._opening
        try:
            return av.open(
                how.address,
                format=how.format,
                options=how.options,
                timeout=(how.timeout, how.timeout),
            )
        except (av.FFmpegError, UnicodeError) as error:
            raise self._refused(error) from error

    def _begin(self) -> None:
        """Reads up to the first frame, so that everything known of the pictures is known."""
        self._attach()
        how = self._opening
        deadline = time.monotonic() + how.timeout
        while True:
            item = self._next()
            if item is None:
                raise MediaError(f"{how.name} ended before its first picture")
            self._head.append(item)
            if isinstance(item, Captured):
                break
            if time.monotonic() > deadline:
                raise SourceLost(f"{how.name} sent no picture within {how.timeout:g} s, though it sends audio")
        info = describe(self._container, self._video, item.frame, item.frame.origin.rotation)
        if info.interlaced and how.deinterlace != "off":
            log.info("%s is interlaced: bwdif makes frames of its fields, one frame later", how.name)
            info = replace(info, interlaced=False)
        self._info = info if self._paced or self._timed else replace(info, time_base=_MICROSECONDS)

    def _attach(self) -> None:
        """Chooses what is read of the container, and gets ready for its first packet."""
        how, container = self._opening, self._container
        self._video = (how.endless and _sizeless(container)) or choose_video(container, how.name, any_format=True)
        self._audio = tuple(s for s in container.streams.audio if s.codec_context is not None)
        self._timed = _is_timed(container)
        self._breaks = bool(container.format.flags & Flags.ts_discont.value)  # type: ignore[operator]  # as below
        is_recording, is_list = _is_recording(container), container.format.name in ("hls", "dash")
        self._paced = how.paced if how.paced is not None else is_recording or is_list
        self._endless = how.endless and not is_recording
        self._decoder = PromptDecoder(self._video)
        self._frames: deque[Frame] = deque()
        self._fields = Fields(how.deinterlace)
        self._packets: Iterator[Packet[Stream]] = container.demux((self._video, *self._audio))

    def _next(self) -> Captured | CopiedPacket | None:
        """The next item, as soon as it is there."""
        while not self._frames:
            packet = self._packet()
            if packet is None:
                self._frames.extend(self._fields.through(None))
                if not self._frames:
                    return None
            elif packet.stream is not self._video:  # the empty ones at the end have no index of their own
                if packet.size:
                    return CopiedPacket(packet, packet.stream_index)
            elif packet.size or packet.dts is None:  # the last one is empty, and asks for what the decoder holds
                self._decode(packet)  # type: ignore[arg-type]
        return Captured(self._frames.popleft(), time.monotonic())

    def _decode(self, packet: Packet[VideoStream]) -> None:
        frames = self._decoder.decode(packet)
        self._look_at_what_came(bool(frames))
        for frame in frames:
            self._frames.extend(self._fields.through(frame))
        own = frames[-1].seconds if frames else None
        if own is None or self._paced or not (self._timed and self._decoder.timed):
            return
        if self._backlog.changed(own, time.monotonic()):
            behind = self._backlog.behind
            self._decoder.hurry(behind)
            log.warning("decoding is too slow for this source: only keyframes for a moment") if behind else None

    def _look_at_what_came(self, pictures: bool) -> None:
        """Notices a source that goes on sending, but nothing that becomes a picture."""
        if pictures or self._paced or self._backlog.behind:
            self._fruitless = None
            return
        now = time.monotonic()
        self._fruitless = now if self._fruitless is None else self._fruitless
        if now - self._fruitless > max(self._opening.timeout, KEYFRAME):
            raise SourceLost(f"{self.name} sends nothing that can be decoded (no keyframe yet?)")

    def _packet(self) -> Packet[Stream] | None:
        how = self._opening
        try:
            packet = next(self._packets, None)
        except av.FFmpegError as error:
            if error.strerror == _GIVEN_UP:
                raise SourceLost(f"{how.name} sent nothing for {how.timeout:g} s") from error
            raise SourceLost(f"{how.name} is gone: {error.strerror}") from error
        if packet is None and self._endless:
            raise SourceLost(f"{how.name} has ended its stream")
        return packet

    def _in_time(self, captured: Captured) -> Captured:
        """Waits for the frame's own time."""
        due = captured.frame.seconds
        assert due is not None
        now = time.monotonic()
        leaps = self._breaks and due - self._expected > _LEAP
        if self._origin is None or leaps or now - (self._origin[1] + due - self._origin[0]) > _TOO_LATE:
            self._origin = due, now
        self._expected = due + float(captured.frame.duration * captured.frame.time_base)
        wait = self._origin[1] + due - self._origin[0] - now
        if wait > 0 and math.isfinite(wait):
            time.sleep(wait)
        return Captured(captured.frame, time.monotonic())

    def _refused(self, error: Exception) -> MediaError:
        how = self._opening
        number = getattr(error, "errno", None) or -1
        why = str(getattr(error, "strerror", error))
        if why == _GIVEN_UP:
            why, number = f"nothing came within {how.timeout:g} s", errno.ETIMEDOUT
        if how.listening and number == errno.ETIMEDOUT:
            return Awaited(f"waiting for the sender at {how.name}")
        hint = how.hints.get(number, how.hints.get(-1, ""))
        # What is only not there yet can be waited for.
        may_come = number in (errno.ETIMEDOUT, errno.ECONNREFUSED) or (how.listening and number not in _LASTING)
        kind = SourceLost if may_come else MediaError
        return kind(f"cannot open {how.name}: {why}{'; ' if hint else ''}{hint}")


def _is_timed(container: InputContainer) -> bool:
    """Whether the format has times; where it has none, FFmpeg counts frames by a rate that it guesses."""
    format = container.format
    has_none = format.flags & Flags.no_timestamps.value  # type: ignore[operator]  # an int, whatever its stub says
    return not (has_none or format.name.endswith("_pipe"))


def _is_recording(container: InputContainer) -> bool:
    """Whether it has an end that is known: what is live has neither a duration nor a size."""
    is_whole = container.format.name not in _LISTS and _is_timed(container)
    return bool(container.duration) or (is_whole and bool(container.size))


def _sizeless(container: InputContainer) -> VideoStream | None:
    """The video of a stream that was joined before its first keyframe, with which the decoder learns its size."""
    videos = [video for video in container.streams.video if video.codec_context is not None]
    return videos[0] if videos and not any(video.codec_context.width for video in videos) else None


def _as_it_came(captured: Captured) -> Captured:
    """The frame at the time of its arrival, the only one that is true of it."""
    pts = round(captured.at / _MICROSECONDS)
    return Captured(replace(captured.frame, pts=pts, time_base=_MICROSECONDS, duration=0), captured.at)
