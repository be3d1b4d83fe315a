"""Streams to Debian's ffmpeg over real sockets: what arrives, when, and what is said when nobody takes it."""

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import pytest

from live_shots import Feed, info, shot, until
from media_samples import ffprobe, make_clip, packet_times
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.live.base import Shot
from rfdn_stream.live.sinks import SinkOptions, network, open_sink
from rfdn_stream.media.reader import CopiedPacket
from support import random_frame

FAST = SinkOptions(preset="ultrafast")
LOSSLESS = SinkOptions(preset="ultrafast", crf=0)


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def receiver(scheme, target):
    """The address of an ffmpeg that listens and writes what comes into a file; and the process."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg as the receiver (apt-get install ffmpeg)")
    # RTSP's own ports of RTP are next to each other, but over TCP only the first counts.
    port = free_port(socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM)
    url = f"{scheme}://127.0.0.1:{port}" + {"udp": "", "rtmp": "/live/key", "rtsp": "/camera"}[scheme]
    listen = {
        "udp": ["-i", f"{url}?timeout=2000000"],
        "rtmp": ["-listen", "1", "-i", url],
        "rtsp": ["-rtsp_flags", "listen", "-i", url],
    }
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *listen[scheme], "-map", "0", "-c", "copy", str(target)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        if scheme == "udp":
            time.sleep(0.5)  # what is sent to nobody is lost
        else:
            until(lambda: f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text())
        yield url, process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(20)
        process.stderr.close()


def sent(sink, frames=30, size=(64, 48), audio=None, pace=0.01):
    """Shows frames 40 ms apart, quicker than that, with the audio packets between them; the sink is finished."""
    packets = list(audio or ())
    for number in range(frames):
        sink.show(shot(number, size=size, pts=40 * number))
        while packets and packets[0].packet.pts * packets[0].packet.time_base <= 0.04 * number:
            sink.copy(packets.pop(0))
        time.sleep(pace)
    sink.finish()


def tone(folder):
    """A stream of AAC as a template, and its packets."""
    clip = make_clip(folder / "tone.mkv", frames=80, audio=["aac"])
    container = av.open(str(clip))
    stream = container.streams.audio[0]
    return container, stream, [CopiedPacket(packet, stream.index) for packet in container.demux(stream) if packet.size]


@pytest.mark.parametrize("scheme", ["udp", "rtmp", "rtsp"])
def test_picture_and_sound_arrive_in_time(scheme, tmp_path):
    target = tmp_path / "got.mkv"
    container, stream, packets = tone(tmp_path)
    with container, receiver(scheme, target) as (url, process), open_sink(url, FAST) as sink:
        sink.listen([stream])
        sink.open(info(), (64, 48), sink.wants(info()))
        assert sink.notes == []
        sent(sink, 80, audio=packets)
        process.wait(30)
        assert bytes(packets[3].packet)  # other sinks still have it
    streams = ffprobe(target, "-count_frames", "-show_streams")["streams"]
    video, audio = (next(s for s in streams if s["codec_type"] == kind) for kind in ("video", "audio"))
    assert (video["codec_name"], video["width"], video["height"], audio["codec_name"]) == ("h264", 64, 48, "aac")
    assert (video["color_space"], video["color_range"]) == ("bt709", "tv")
    # A receiver of UDP may come to a stream that runs, and waits for the first keyframe.
    assert int(video["nb_read_frames"]) >= (30 if scheme == "udp" else 80)
    picture, sound = ([time for time, _ in packet_times(target, one["index"])] for one in (video, audio))
    steps = [round(b - a, 2) for a, b in pairwise(picture)]
    # A receiver of RTSP learns the clock from the first packets.
    assert steps[scheme == "rtsp" :] == [0.04] * (len(picture) - 1 - (scheme == "rtsp"))
    # Both end with the 80th frame, at 3.2 s, wherever the receiver's clock began.
    assert len(sound) > 40
    assert picture[-1] - sound[-1] == pytest.approx(0, abs=0.08)


@pytest.mark.parametrize("scheme", ["rtmp", "rtsp"])
def test_a_receiver_that_dies_is_one_line(scheme, tmp_path):
    with receiver(scheme, tmp_path / "got.mkv") as (url, process), open_sink(url, FAST) as sink:
        sink.open(info(), (64, 48), sink.wants(info()))
        with Feed(sink, pace=0.02) as feed:
            until(lambda: feed.shown > 10)
            process.kill()
            feed.wait()
        assert isinstance(feed.failure, MediaError)
        assert "\n" not in str(feed.failure)
        assert "cannot write to" in str(feed.failure)
        assert "the receiver is gone; start it, then this again" in str(feed.failure)


def show_all(sink, frames):
    for number, frame in enumerate(frames):
        sink.show(Shot(replace(frame, pts=number), frame, 0, 0))


@pytest.mark.parametrize("scheme", ["rtmp", "rtsp"])
def test_a_receiver_that_takes_nothing_more_is_given_up(scheme, tmp_path, monkeypatch):
    monkeypatch.setattr(network, "_TIMEOUT", (5, 0.5))
    noise = [random_frame("yuv420p", 640, 360, seed=seed) for seed in range(3)]
    with receiver(scheme, tmp_path / "got.mkv") as (url, process), open_sink(url, LOSSLESS) as sink:
        sink.open(info((320, 180)), (640, 360), sink.wants(info()))
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(MediaError, match=r"did not answer for 0\.5 s"):
            show_all(sink, noise * 100)  # a hundred megabytes, which no socket holds
        start = time.monotonic()
    assert time.monotonic() - start < 5  # leaving does not wait for it either


@pytest.mark.parametrize("scheme", ["rtmp", "rtsp"])
def test_nobody_there_is_one_line(scheme):
    with (
        open_sink(f"{scheme}://user:secret@127.0.0.1:{free_port()}/live/key") as sink,
        pytest.raises(MediaError, match="Connection refused; nobody listens there; start the receiver first") as caught,
    ):
        sink.open(info(), (64, 48), sink.wants(info()))
    assert "secret" not in str(caught.value)
    assert scheme == "rtsp" or "key" not in str(caught.value)


def test_a_codec_that_the_container_refuses_is_one_line(tmp_path):
    with (
        receiver("rtmp", tmp_path / "got.mkv") as (url, _),
        open_sink(url, SinkOptions(codec="mpeg4")) as sink,
        pytest.raises(MediaError, match=r"cannot open rtmp://.*: Invalid argument; .* leave --codec out"),
    ):
        sink.open(info(), (64, 48), sink.wants(info()))


def test_srt_is_used_where_ffmpeg_has_it():
    """PyAV's wheels are built without it."""
    with open_sink("srt://127.0.0.1:9") as sink, pytest.raises((UsageError, MediaError)) as caught:
        sink.open(info(), (64, 48), sink.wants(info()))
    assert "FFmpeg has no srt here; use rtmp, rtsp or udp" in str(caught.value) or "cannot open" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("udp://127.0.0.1", "write udp://HOST:PORT"),
        ("udp://:x", "is not an address"),
        ("rtmp://", "write rtmp://HOST/APP/NAME"),
        ("ftp://host/file", "a sink is window, camera"),
        ("file://x", "a sink is window, camera"),
        ("widow", "unknown sink 'widow'; a sink is window, camera"),
        ("null:3", "takes nothing behind its name"),
    ],
)
def test_bad_addresses_are_one_line(text, words):
    with pytest.raises(UsageError, match=words) as caught:
        open_sink(text)
    assert "\n" not in str(caught.value)


def test_audio_that_the_container_lacks_is_named(tmp_path):
    clip = make_clip(tmp_path / "tone.mkv", frames=10, audio=["pcm_s16le"])
    url = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    with av.open(str(clip)) as container, open_sink(url, FAST) as sink:
        stream = container.streams.audio[0]
        sink.listen([stream])
        sink.open(info(), (64, 48), sink.wants(info()))
        assert sink.notes == [f"audio #{stream.index} is left out: MPEG-TS cannot hold pcm_s16le"]
        sink.copy(CopiedPacket(next(container.demux(stream)), stream.index))
        sent(sink, 3)


def test_every_frame_leaves_the_encoder_at_once_and_keyframes_come_by_time(tmp_path):
    """By what is in the socket after each frame: a receiver that comes late waits two seconds at most."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inbox, (tmp_path / "got.ts").open("wb") as file:
        inbox.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        inbox.bind(("127.0.0.1", 0))
        inbox.settimeout(5)
        with open_sink(f"udp://127.0.0.1:{inbox.getsockname()[1]}", FAST) as sink:
            sink.open(info(), (64, 48), sink.wants(info()))
            for number in range(20):  # five frames a second, where the source promised 25
                sink.show(shot(number, pts=200 * number))
                got = inbox.recv(65536)
                assert len(got) <= 1316
                file.write(got)
                inbox.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    while True:
                        file.write(inbox.recv(65536))
                inbox.settimeout(5)
            sink.finish()
    packets = ffprobe(tmp_path / "got.ts", "-show_packets")["packets"]
    keys = [float(packet["pts_time"]) for packet in packets if "K" in packet["flags"]]
    assert [round(key - keys[0], 1) for key in keys] == [0, 2.0]
    assert len(packets) == 20


def test_a_format_that_another_sink_chose_is_converted(tmp_path):
    target = tmp_path / "got.mkv"
    with receiver("rtmp", target) as (url, process), open_sink(url, FAST) as sink:
        rgb = info(format="rgb24")
        assert sink.wants(rgb)[0].name == "yuv420p"
        sink.open(info(), (64, 48), (rgb.format, rgb.color))
        for number in range(5):
            sink.show(shot(number, format="rgb24", pts=40 * number))
        sink.finish()
        process.wait(30)
    with av.open(str(target)) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert frame[5, 40].tolist() == pytest.approx([40, 160, 220], abs=14)
