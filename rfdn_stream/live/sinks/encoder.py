"""What network and file have in common: frames into an encoder, packets into a container, at once."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Self

import av
from av.format import Flags
from av.packet import Packet
from av.stream import Stream
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import Frame, VideoInfo
from rfdn_stream.live.sinks import SinkOptions
from rfdn_stream.live.sinks.picture import converted
from rfdn_stream.media.encoders import Encoding, choose_encoding
from rfdn_stream.media.feed import HostFeed
from rfdn_stream.media.frames import fraction
from rfdn_stream.media.hardware import nvenc_refusal
from rfdn_stream.media.hdr import StaticHdr
from rfdn_stream.media.output import holds
from rfdn_stream.media.passthrough import LABELS, MOV_FAMILY, TS_CODECS, has_flag
from rfdn_stream.media.reader import CopiedPacket
from rfdn_stream.media.shape import even_size
from rfdn_stream.media.steady import open_encoder
from rfdn_stream.media.tags import ColorTags

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

# Ticks of what is written: MPEG's, and whole milliseconds, which other containers have, fit into them.
_TICK = Fraction(1, 90_000)
_NEAREST = _TICK * 90
_KEYFRAMES = 2
"""Seconds between keyframes: as long as a viewer who comes later may have to wait."""
# The default preset, so that the encoder keeps up; what that takes besides; and what gives every packet at once.
_KEEPS_UP = {"libx264": "veryfast", "libx264rgb": "veryfast", "libx265": "superfast", "libsvtav1": "10",
             "libvpx-vp9": "8", "h264_nvenc": "p4", "hevc_nvenc": "p4", "av1_nvenc": "p4"}  # fmt: skip
_IN_TIME = {"libvpx-vp9": {"deadline": "realtime"}}  # else it takes no preset above 5, and many times as long
_NVENC = {"tune": "ull", "zerolatency": "1", "delay": "0", "bf": "0", "forced-idr": "1"}
_AT_ONCE = {
    "libx264": {"tune": "zerolatency", "forced-idr": "1"},
    "libx265": {"tune": "zerolatency", "forced-idr": "1"},
    "libsvtav1": {"svtav1-params": "pred-struct=1"},
    "libvpx-vp9": {"lag-in-frames": "0"},
    "h264_nvenc": _NVENC,
    "hevc_nvenc": _NVENC,
    "av1_nvenc": _NVENC,
}
_ROOM = "free some space or write to another disk"
_GONE = "the receiver is gone; start it, then this again"
_HINTS = {
    errno.ENOSPC: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EPIPE: _GONE,
    errno.ECONNRESET: _GONE,
    errno.ECONNREFUSED: "nobody listens there; start the receiver first",
    errno.EINVAL: "it may not take this codec, leave --codec out",
    errno.EIO: "is the address right, and does it take a stream?",
}


def settle_encoding(
    muxer: str,
    info: VideoInfo,
    options: SinkOptions,
    *,
    crf: dict[str, float] | None = None,
    pix_fmt: str | None = None,
) -> Encoding:
    """The encoder of a live stream or recording; see `choose_encoding`.

    Args:
        muxer: FFmpeg's name of the container.
        info: of the source.
        crf: the default quality by encoder, where it is not that of files.
        pix_fmt: the default pixel format; None = that of the source, as near as the encoder has it.
    """

    def choose(codec: str | None, quality: float | None, preset: str | None) -> Encoding:
        asked = EncodeOptions(codec, quality, preset, options.pix_fmt or pix_fmt)
        return choose_encoding(info.format, info.color, lambda name: holds(muxer, name), asked)

    codec = choose(options.codec, None, None).codec
    preset = options.preset or _KEEPS_UP.get(codec)
    return choose(codec, (crf or {}).get(codec) if options.crf is None else options.crf, preset)


class LiveEncoder:
    """An encoder and a container, open for frames.

    Args:
        target: a file's path or an address.
        name: of the target, for the user.
        muxer: FFmpeg's name of the container.
        encoding: of `settle_encoding`.
        bitrate: at most this many kbit/s; None = as many as the quality takes.
        at_once: every packet leaves the encoder when its frame has come.
        settings: the container's options.
        timeout: seconds for opening, and for a write that goes nowhere; None = for ever.

    Attributes:
        notes: what to tell the user, known once it is open.
    """

    def __init__(
        self,
        target: str,
        name: str,
        muxer: str,
        encoding: Encoding,
        *,
        bitrate: int | None = None,
        at_once: bool = False,
        settings: dict[str, str] | None = None,
        timeout: tuple[float, float] | None = None,
    ) -> None:
        self._target, self._name, self._muxer, self._encoding = target, name, muxer, encoding
        self._bitrate, self._at_once, self._settings, self._timeout = bitrate, at_once, settings or {}, timeout
        self._audio: dict[int, Stream] = {}
        self._last_dts: dict[int, int] = {}
        self._last_pts: int | None = None
        self._next_key = Fraction(0)
        self._stuck = False
        self.notes = list(encoding.notes)
        self.frames = 0

    def open(self, info: VideoInfo, size: tuple[int, int], audio: Sequence[AudioStream]) -> Self:
        """Opens the encoder, then the target, and writes the header.

        Raises:
            UsageError: the encoder refuses its settings, or the container the encoder.
            MediaError: the target cannot be had.
        """
        self._size = even_size(size, self._encoding.format)
        self._feed = HostFeed(self._encoding.format, self._size)
        self._tick = 1 / info.rate if self._encoding.constant_rate else _TICK
        self._step = 1 if self._encoding.constant_rate else round(_NEAREST / _TICK)
        with self._writing(opening=True):
            self._output = av.open(
                self._target, "w", format=self._muxer, container_options=self._settings, timeout=self._timeout
            )
        self._add_video(info)
        for stream in audio:
            self._add_audio(stream)
        self._open_codec()
        self._patiently(self._output.start_encoding, opening=True)
        return self

    def write(self, frame: Frame) -> None:
        """Encodes a frame; one that is not at least a millisecond later than the last is passed over.

        Raises:
            MediaError: the target takes no more.
        """
        assert frame.pts is not None
        pts = round(frame.pts * frame.time_base / self._tick)
        if self._last_pts is not None and pts < self._last_pts + self._step:
            return
        self._last_pts = pts
        picture = self._feed.picture(converted(frame, self._encoding.format, self._encoding.color), pts)
        picture.pts, picture.time_base = pts, self._tick
        picture.pict_type = PictureType.NONE
        # By time, not by number, as the rate of live frames changes.
        if pts * self._tick >= self._next_key:
            picture.pict_type = PictureType.I
            self._next_key = pts * self._tick + _KEYFRAMES
        self._encode(picture)
        self.frames += 1

    def copy(self, copied: CopiedPacket) -> None:
        """Writes a packet of the source's audio, if the container holds it."""
        stream, given, base = self._audio.get(copied.index), copied.packet, fraction(copied.packet.time_base)
        time = given.pts if given.dts is None else given.dts
        if stream is None or time is None or base is None or time < 0 or not given.size:
            return
        packet: Packet[Stream] = av.Packet(bytes(given))  # muxing takes a packet away, and other sinks want it, too
        packet.pts, packet.dts, packet.duration = given.pts, time, given.duration
        packet.time_base, packet.is_keyframe = base, True
        packet.rescale_ts(stream.time_base)
        assert packet.dts is not None
        if packet.dts <= self._last_dts.get(copied.index, -1):
            return  # the source began anew a little earlier than it had come
        self._last_dts[copied.index] = packet.dts
        packet.stream = stream
        self._patiently(lambda: self._output.mux(packet))

    def finish(self) -> None:
        """Drains the encoder and completes the container."""
        if self.frames:
            self._encode(None)
        self._patiently(self._output.close)

    def close(self) -> None:
        """Leaves the target as it is; what goes wrong now concerns nobody."""
        if hasattr(self, "_output") and not self._stuck:
            with contextlib.suppress(MediaError, ValueError):
                self._patiently(self._output.close)

    def _add_video(self, info: VideoInfo) -> None:
        encoding, codec = self._encoding, self._encoding.codec
        options = self._options()
        video = self._output.add_stream(codec, rate=info.rate, options=options)
        assert isinstance(video, VideoStream)
        context = video.codec_context
        context.width, context.height = self._size
        context.pix_fmt = encoding.format.name
        context.time_base = video.time_base = self._tick
        # Slices make a frame's latency that of one frame; frame threads would add one a thread.
        context.thread_type = "SLICE" if self._at_once else "AUTO"
        context.gop_size = max(1, round(_KEYFRAMES * info.rate))
        context.sample_aspect_ratio = info.sample_aspect_ratio
        ColorTags.of_color(encoding.color, encoding.format, ColorTags()).write_to(context)
        if encoding.qscale is not None and self._bitrate is None:
            context.qscale, context.global_quality = True, encoding.qscale
        if self._bitrate is not None and ("crf" not in options or codec == "libvpx-vp9"):
            context.bit_rate = self._bitrate * 1000
        if self._muxer in MOV_FAMILY and context.codec.canonical_name == "hevc":
            context.codec_tag = "hvc1"
        self._video = video

    def _options(self) -> dict[str, str]:
        codec = self._encoding.codec
        options = self._encoding.with_hdr(StaticHdr(), self._size) | _IN_TIME.get(codec, {})
        if self._at_once:
            options = options | _AT_ONCE.get(codec, {})
        if self._bitrate is not None:
            # Half a second of it at most waits in the receiver's buffer.
            options = options | {"maxrate": f"{self._bitrate}k", "bufsize": f"{self._bitrate // 2}k"}
        return options

    def _add_audio(self, stream: AudioStream) -> None:
        codec, label = stream.codec_context.codec.canonical_name, LABELS.get(self._muxer, self._muxer)
        try:
            if self._muxer == "mpegts" and codec not in TS_CODECS:
                raise ValueError
            self._audio[stream.index] = self._output.add_stream_from_template(stream, opaque=True)
        except ValueError:
            self.notes.append(f"audio #{stream.index} is left out: {label} cannot hold {codec}")

    def _open_codec(self) -> None:
        encoding = self._encoding
        try:
            open_encoder(self._video.codec_context)
        except (av.FFmpegError, ValueError) as error:
            size = f"{self._size[0]}x{self._size[1]}"
            if encoding.codec.endswith("_nvenc") and isinstance(error, av.FFmpegError):
                standard = self._video.codec_context.codec.canonical_name
                trial = (encoding.codec, encoding.format.name, *map(str, self._size))
                raise nvenc_refusal(standard, trial, error) from error
            settings = ", ".join(f"{key}={value}" for key, value in self._options().items())
            raise UsageError(
                f"{encoding.codec} refuses {size} {encoding.format.name} with {settings}: "
                f"{getattr(error, 'strerror', error)}"
            ) from error

    def _encode(self, picture: VideoFrame | None) -> None:
        try:
            packets = self._video.encode(picture)
        except av.FFmpegError as error:
            raise MediaError(f"{self._encoding.codec} failed at frame {self.frames}: {error.strerror}") from error
        for packet in packets:
            self._patiently(partial(self._output.mux, packet))

    def _patiently(self, work: Callable[[], None], *, opening: bool = False) -> None:
        """Does what may block, for no longer than the timeout.

        FFmpeg keeps to it itself, except in muxers that open their own connections (RTSP): there, a thread does the
        work, and is left behind with the connection if it does not come back.
        """
        with self._writing(opening=opening):
            if self._timeout is None or not has_flag(self._muxer, Flags.no_file):
                work()
                return
            done: Future[None] = Future()
            threading.Thread(target=_settle, args=(done, work), name="stream", daemon=True).start()
            try:
                done.result(self._timeout[0 if opening else 1])
            except TimeoutError:
                self._stuck = True
                raise

    @contextlib.contextmanager
    def _writing(self, *, opening: bool = False) -> Iterator[None]:
        doing = "cannot open" if opening else "cannot write to"
        try:
            yield
        except (av.ExitError, TimeoutError) as error:
            seconds = self._timeout[0 if opening else 1] if self._timeout else 0
            raise MediaError(f"{doing} {self._name}: it did not answer for {seconds:g} s") from error
        except (av.FFmpegError, OSError) as error:
            hint = _HINTS.get(error.errno or 0)
            raise MediaError(f"{doing} {self._name}: {error.strerror}{f'; {hint}' if hint else ''}") from error


def _settle(done: Future[None], work: Callable[[], None]) -> None:
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - it is raised where the work is waited for
        done.set_exception(error)
    else:
        done.set_result(None)
