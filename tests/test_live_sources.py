"""Sources as they are: files, FFmpeg at the other end of a socket, a screen, and everything that is not there."""

import errno
import itertools
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest

from live_parts import InstantEngine, RecordingSink, no_thread_left
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.live import capture
from rfdn_stream.live.base import Captured, SourceLost
from rfdn_stream.live.session import LiveOptions, Session
from rfdn_stream.live.sources import Awaited, SourceOptions, camera, listing, open_source, screen
from rfdn_stream.live.sources import stream as stream_module
from rfdn_stream.live.sources.camera import CameraSource
from rfdn_stream.live.sources.opencv import OpenCvSource
from rfdn_stream.live.sources.stream import UNMOVED, Backlog, Opening, StreamSource
from rfdn_stream.media.reader import CopiedPacket
from rfdn_stream.media.reader import open_source as open_file
from rfdn_stream.upscaler import Upscaler
from support import EXAMPLES, assert_frames_equal

BUNNY = EXAMPLES / "bunny.mp4"
PROMPT = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "10", "-bf", "0"]


def read(source, frames, got=None):
    """That many frames, added to `got`, and the packets between them."""
    got, packets = [] if got is None else got, []
    while len(got) < frames:
        item = source.read()
        if item is None:
            break
        (got if isinstance(item, Captured) else packets).append(item)
    return got, packets


# Files and the test pattern.


def test_a_file_is_paced_by_its_own_timestamps():
    with open_source(str(BUNNY)) as source:
        assert (source.info.width, source.info.height, float(source.info.rate)) == (320, 180, 25)
        assert [stream.codec_context.name for stream in source.audio] == ["aac"]
        got, packets = read(source, 15)
    spent = got[-1].at - got[0].at
    own = got[-1].frame.seconds - got[0].frame.seconds
    assert own == pytest.approx(14 / 25)
    assert abs(spent - own) < 0.1
    assert packets
    assert all(isinstance(packet, CopiedPacket) and packet.index == 1 for packet in packets)


def test_a_file_gives_the_frames_of_the_file_door():
    with open_source(str(BUNNY)) as live, open_file(BUNNY) as plain:
        got, _ = read(live, 10)
        frames = [item for item in itertools.islice(plain.items(), 40) if not isinstance(item, CopiedPacket)]
    for captured, frame in zip(got, frames, strict=False):
        assert_frames_equal(captured.frame, frame)
        assert captured.frame.color == frame.color


def short_clip(path, *, audio=False):
    """Five frames, the last one of another brightness, B-frames and all."""
    with av.open(str(path), "w") as output:
        codec = "mpeg2video" if path.suffix == ".mpg" else "libx264"
        video = output.add_stream(codec, rate=25, options={"bf": "2"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for i in range(5):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * i + 20, np.uint8), format="rgb24")
            picture.pts = i
            output.mux(video.encode(picture))
        output.mux(video.encode(None))
    return path


def test_a_file_ends_or_begins_again_on_one_clock(tmp_path):
    path = str(short_clip(tmp_path / "five.mp4"))
    with open_source(path) as source:
        got, _ = read(source, 100)
        assert len(got) == 5
        assert source.read() is None
    with open_source(path, SourceOptions(loop=True)) as source:
        got, _ = read(source, 17)
    times = [captured.frame.seconds for captured in got]
    assert times == pytest.approx([times[0] + i / 25 for i in range(17)])
    light = [int(captured.frame.planes[0].mean()) // 10 for captured in got]
    assert light[:5] == light[5:10] == light[10:15]
    assert len(set(light[:5])) == 5


def brightness(captured):
    return int(captured.frame.planes[0].mean()) // 10


@pytest.mark.parametrize("ending", ["ts", "mpg", "h264"])
def test_a_file_without_an_index_begins_again_with_its_first_picture(tmp_path, ending):
    path = str(short_clip(tmp_path / f"five.{ending}"))
    with open_source(path, SourceOptions(loop=True)) as source:
        got, _ = read(source, 17)
    light = [brightness(captured) for captured in got]
    assert len(set(light[:5])) == 5
    assert light == (light[:5] * 4)[:17]
    assert all(later.frame.seconds > earlier.frame.seconds for earlier, later in itertools.pairwise(got))


def test_a_pipe_cannot_begin_again(tmp_path):
    clip, path = short_clip(tmp_path / "five.ts"), tmp_path / "pipe"
    os.mkfifo(path)
    threading.Thread(target=lambda: path.write_bytes(clip.read_bytes()), daemon=True).start()
    with (
        open_source(str(path), SourceOptions(loop=True)) as source,
        pytest.raises(MediaError, match="leave out --loop"),
    ):
        read(source, 100)


def test_times_that_jump_far_ahead_are_not_waited_for(tmp_path, monkeypatch):
    """Two recordings one behind the other, the second of which an hour later."""
    path = tmp_path / "jump.ts"
    with av.open(str(short_clip(tmp_path / "five.mp4"))) as clip:
        packets = [packet for packet in clip.demux(video=0) if packet.size]
        for part, hours in enumerate((0, 1)):
            with av.open(str(tmp_path / f"{part}.ts"), "w") as output:
                stream = output.add_stream_from_template(clip.streams.video[0])
                for packet in packets:
                    packet.stream = stream
                    packet.pts += round(3600 * hours / packet.time_base)
                    packet.dts += round(3600 * hours / packet.time_base)
                    output.mux(packet)
    path.write_bytes((tmp_path / "0.ts").read_bytes() + (tmp_path / "1.ts").read_bytes())
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with open_source(str(path)) as source:
        got, _ = read(source, 100)
    assert got[-1].frame.seconds - got[0].frame.seconds > 3500
    assert max(slept) < 1


def test_a_pause_of_a_film_is_waited_for(tmp_path, monkeypatch):
    """A slide of a presentation, for example, in a format that does not say how long it is shown."""
    path = tmp_path / "slides.mkv"
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25, options={"bf": "0"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for pts in (0, 1, 2, 500):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), pts % 256, np.uint8), format="rgb24")
            picture.pts = pts
            output.mux(video.encode(picture))
        output.mux(video.encode(None))
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with open_source(str(path)) as source:
        read(source, 100)
    assert 15 < max(slept) < 20.5


def fields_clip(path, frames=6):
    """Interlaced H.264, of a bar that moves from field to field."""
    fields = ["-f", "lavfi", "-i", "testsrc2=64x48:50", "-vf", "tinterlace=interleave_top,setfield=tff"]
    encode = ["-frames:v", str(frames), "-c:v", "libx264", "-flags", "+ildct+ilme", "-bf", "0", "-qp", "1"]
    ffmpeg = ["ffmpeg", "-v", "error", *fields, *encode, str(path)]
    subprocess.run(ffmpeg, check=True)
    return path


def test_interlaced_files_are_deinterlaced_as_by_the_file_door(tmp_path):
    path = fields_clip(tmp_path / "fields.mkv")
    with open_source(str(path)) as live, open_file(path, deinterlace="auto") as plain:
        got, _ = read(live, 100)
        frames = [item for item in plain.items() if not isinstance(item, CopiedPacket)]
        assert not live.info.interlaced
    assert len(got) == len(frames) == 6  # the last one, too
    for captured, frame in zip(got, frames, strict=True):
        assert_frames_equal(captured.frame, frame)
    with open_source(str(path), SourceOptions(deinterlace="off")) as live, open_file(path) as plain:
        assert live.info.interlaced
        assert_frames_equal(live.read().frame, next(plain.items()))
    with open_source(str(path), SourceOptions(loop=True)) as live:
        got, _ = read(live, 14)
    times = [captured.frame.seconds for captured in got]
    assert times == pytest.approx([times[0] + i / 25 for i in range(14)])
    assert_frames_equal(replace(got[7].frame, pts=frames[1].pts), frames[1])


def test_fields_change_their_size_midway(tmp_path):
    frames = []
    for size in ("64x48", "80x64"):
        path = tmp_path / f"{size}.mkv"
        subprocess.run(
            [
                "ffmpeg", "-v", "error", "-i", fields_clip(tmp_path / "in.mkv"), "-vf", f"scale={size}:interl=1",
                "-c:v", "libx264", "-flags", "+ildct+ilme", "-qp", "1", path,
            ],
            check=True,
        )  # fmt: skip
        with open_file(path) as source:
            frames += [item for item in source.items() if not isinstance(item, CopiedPacket)]
        (tmp_path / "in.mkv").unlink()
    fields = stream_module.Fields("auto")
    got = [made for frame in [*frames, None] for made in fields.through(frame)]
    assert [(frame.width, frame.height) for frame in got] == [(64, 48)] * 6 + [(80, 64)] * 6


def test_the_test_pattern_moves_at_the_size_and_rate_asked_for():
    with open_source("test", SourceOptions(size=(160, 120), rate=50)) as source:
        assert (source.info.width, source.info.height, source.info.rate) == (160, 120, 50)
        got, _ = read(source, 10)
    assert got[-1].frame.seconds == pytest.approx(9 / 50)
    assert not np.array_equal(got[0].frame.planes[0], got[-1].frame.planes[0])


def test_opencv_is_another_road(tmp_path):
    path = short_clip(tmp_path / "five.mp4")
    with OpenCvSource(str(path), SourceOptions()) as source:
        assert (source.info.width, source.info.height, source.info.format.name) == (64, 48, "rgb24")
        got, _ = read(source, 5)
        light = [captured.frame.planes[0].mean() for captured in got]
        assert light == pytest.approx([20, 60, 100, 140, 180], abs=3)
        with pytest.raises(SourceLost, match="gives no more frames"):
            source.read()
    with pytest.raises(MediaError, match="live --list"), OpenCvSource("77", SourceOptions()):
        pass


def test_a_format_that_no_kernel_knows_is_converted(tmp_path, caplog):
    """As cameras have them: packed YUV, transparency, unusual depths."""
    caplog.set_level("INFO")
    for name, want in (
        ("yuyv422", "yuv422p"),
        ("bgra", "rgb24"),
        ("yuva420p", "yuv420p"),
        ("bgr24", "rgb24"),
        ("rgb565le", "rgb24"),
    ):
        path = tmp_path / f"{name}.nut"
        with av.open(str(path), "w") as output:
            video = output.add_stream("rawvideo", rate=25)
            video.width, video.height, video.pix_fmt = 32, 24, name
            picture = av.VideoFrame.from_ndarray(np.full((24, 32, 3), 120, np.uint8), format="rgb24")
            for i in range(3):
                made = picture.reformat(format=name)
                made.pts = i
                output.mux(video.encode(made))
        with open_source(str(path)) as source:
            assert source.info.format.name == want
            got, _ = read(source, 3)
            mean = got[-1].frame.planes[0].mean()
            assert abs(mean - (120 if want == "rgb24" else 16 + 120 * 219 / 255)) < 3  # five bits of rgb565
    assert caplog.messages == ["pixel format rgb565le is converted to rgb24"]


# FFmpeg at the other end.


@pytest.fixture
def ffmpeg():
    """Debian's FFmpeg as senders, ended with the test."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the program ffmpeg as the other end")
    running = []

    def start(*arguments):
        command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-re", *map(str, arguments)]
        running.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pattern(rate=25):
    return ("-f", "lavfi", "-i", f"testsrc2=size=64x48:rate={rate}")


def udp(ffmpeg, port):
    address = f"udp://127.0.0.1:{port}"
    return address, SourceOptions(timeout=1.0), lambda: ffmpeg(*pattern(), *PROMPT, "-f", "mpegts", address)


def rtmp(ffmpeg, port):
    """FFmpeg is the server here."""
    address = f"rtmp://127.0.0.1:{port}/live/x"
    send = (*pattern(), *PROMPT, "-f", "flv", "-listen", "1", address)
    return address, SourceOptions(timeout=1.0), lambda: ffmpeg(*send)


def rtmp_listening(ffmpeg, port):
    """We are the server, as for OBS."""
    address = f"rtmp://127.0.0.1:{port}/live/x"
    send = (*pattern(), *PROMPT, "-f", "flv", address)
    return address, SourceOptions(timeout=5.0, listen=True), lambda: ffmpeg(*send)


def rtsp(ffmpeg, port):
    """FFmpeg can only push to an RTSP server, so we are it."""
    address = f"rtsp://127.0.0.1:{port}/x"
    send = (*pattern(), *PROMPT, "-f", "rtsp", "-rtsp_transport", "tcp", address)
    return address, SourceOptions(timeout=5.0, listen=True), lambda: ffmpeg(*send)


def tcp(ffmpeg, port):
    address = f"tcp://127.0.0.1:{port}"
    send = (*pattern(), *PROMPT, "-f", "mpegts", address)
    return address, SourceOptions(timeout=5.0, listen=True), lambda: ffmpeg(*send)


@pytest.fixture
def upscaler(tiny_model):
    with Upscaler(tiny_model, device="cpu", depth=2) as upscaler:
        upscaler.engine = InstantEngine()
        yield upscaler


@pytest.mark.parametrize("protocol", [udp, rtmp, rtmp_listening, rtsp, tcp], ids=lambda function: function.__name__)
def test_a_sender_that_is_killed_and_started_again_is_recovered(ffmpeg, upscaler, protocol, caplog, monkeypatch):
    """Frames before and after it, the last one held with a note between, on one clock."""
    caplog.set_level("INFO")
    monkeypatch.setattr(capture, "BACK_OFF", (0.2,))
    address, options, send = protocol(ffmpeg, free_port())
    senders, sink, first_half = [], RecordingSink(), True
    frames: Counter[str] = Counter()

    def direct(status):
        """Starts, kills and starts the sender, as the session goes."""
        nonlocal first_half
        frames["before" if first_half else "after"] = sum(not again for again in sink.repeated)
        if first_half and frames["before"] >= 15:
            senders.pop().kill()
            first_half = False
            frames["killed"] = frames["before"]
        elif not first_half and not senders and any(sink.repeated):
            senders.append(send())
        elif not first_half and frames["after"] >= frames["killed"] + 20:
            sink.closes_at = 0

    senders.append(send())
    with no_thread_left():
        Session(
            lambda: open_source(address, options),
            upscaler,
            [sink],
            LiveOptions(degrade=False, duration=40, patient=True),
            on_status=direct,
        ).run()
    assert frames["after"] >= frames["killed"] + 20, caplog.text
    assert all(later > earlier for earlier, later in itertools.pairwise(sink.times))
    assert any("trying again" in note for note in sink.notes)
    assert sink.notes[-1] == ""
    assert "the source is back" in caplog.text


def test_what_is_sent_is_what_arrives(ffmpeg):
    """Counted: over TCP no frame is missing between the first and the last."""
    address = f"tcp://127.0.0.1:{free_port()}"
    options = SourceOptions(timeout=5.0, listen=True)
    send = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=50:duration=1", *PROMPT, "-f", "mpegts", address)
    threading.Timer(0.3, lambda: ffmpeg(*send)).start()
    with open_source(address, options) as source:
        got = []
        with pytest.raises(SourceLost, match="ended its stream"):
            read(source, 1000, got)
    assert len(got) == 50
    steps = [b.frame.seconds - a.frame.seconds for a, b in itertools.pairwise(got)]
    assert steps == pytest.approx([1 / 50] * 49, abs=1e-4)


def test_a_sender_that_stalls_is_lost_after_the_timeout(ffmpeg):
    """Stopped, not killed: the connection stays, and nothing comes."""
    address = f"udp://127.0.0.1:{free_port()}"
    sender = ffmpeg(*pattern(), *PROMPT, "-f", "mpegts", address)
    with open_source(address, SourceOptions(timeout=1.0)) as source:
        read(source, 5)
        sender.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        with pytest.raises(SourceLost, match=r"sent nothing for 1 s"):
            read(source, 10_000)
        assert 0.9 < time.monotonic() - begun < 5
        sender.send_signal(signal.SIGCONT)


def test_a_decoder_that_is_too_slow_passes_over_frames_and_does_not_fall_behind(ffmpeg, monkeypatch, caplog):
    """TCP loses nothing, so what is decoded late piles up in the sockets."""
    monkeypatch.setattr(stream_module, "BEHIND", 0.3)
    monkeypatch.setattr(stream_module, "CAUGHT_UP", 0.1)
    address = f"tcp://127.0.0.1:{free_port()}"
    threading.Timer(0.3, lambda: ffmpeg(*pattern(50), *PROMPT, "-f", "mpegts", address)).start()
    with open_source(address, SourceOptions(timeout=5.0, listen=True)) as source:
        decode = source._decoder.decode

        def slow(packet):
            frames = decode(packet)
            time.sleep(0.03 * len(frames))  # of the 0.02 s that there are
            return frames

        source._decoder.decode = slow
        got, _ = read(source, 100)
    delays = [captured.at - captured.frame.seconds for captured in got]
    assert "too slow for this source" in caplog.text
    assert max(delays) - min(delays) < 1.0  # without, it would be 100 times 0.01 s and more, and grow
    assert got[-1].frame.seconds - got[0].frame.seconds > 2.2  # more than 100 frames' time has passed


def verdicts(delays):
    """Whether a source counts as behind, after each frame of which `delays` says how late it comes."""
    backlog, told = Backlog(), []
    for number, delay in enumerate(delays):
        backlog.changed(number / 25, 1000.0 + number / 25 + delay)
        told.append(backlog.behind)
    return told


def test_a_sender_whose_clock_is_slow_has_no_backlog():
    assert not any(verdicts(n / 25 * 0.001 for n in range(25 * 3600)))  # 1000 ppm, for an hour: 3.6 s


def test_a_sender_that_has_paused_has_no_backlog_for_long():
    told = verdicts([0.0] * 250 + [3.0] * 1000)
    assert any(told)
    assert told.index(False, told.index(True)) - told.index(True) < 25 * (UNMOVED + 1)
    assert not any(told[600:])


def test_what_is_decoded_too_slowly_is_a_backlog_until_it_is_caught_up_with():
    told = verdicts([0.0] * 250 + [0.02 * n for n in range(100)] + [max(0.1, 2 - 0.1 * n) for n in range(100)])
    assert told.index(True) == 250 + 51  # 1.02 s late
    assert not told[-1]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://admin:secret@cam.local:554/stream1", "rtsp://cam.local:554/stream1"),
        ("rtmp://host/live/key-1234", "rtmp://host/live/..."),
        ("https://host/a.m3u8?token=secret", "https://host/a.m3u8"),
        ("udp://0.0.0.0:5000", "udp://0.0.0.0:5000"),
        ("rtsp://[bad", "rtsp://..."),
    ],
)
def test_what_is_secret_in_an_address_is_not_shown(address, shown):
    source = open_source(address)
    assert source.name == shown
    assert source._opening.address == address


def test_audio_comes_along_with_the_picture(ffmpeg):
    address = f"udp://127.0.0.1:{free_port()}"
    ffmpeg("-stream_loop", "-1", "-i", BUNNY, *PROMPT, "-c:a", "aac", "-f", "mpegts", address)
    with open_source(address, SourceOptions(timeout=5.0)) as source:
        assert [stream.codec_context.name for stream in source.audio] == ["aac"]
        got, packets = read(source, 25)
    assert packets
    times = [float(copied.packet.pts * copied.packet.time_base) for copied in packets]
    assert abs(times[-1] - got[-1].frame.seconds) < 1.0


# Senders with peculiarities.


@contextmanager
def sending(data, *, then=0.0):
    """The address of a TCP server that sends this to who connects, and waits so many seconds."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send():
            with server.accept()[0] as connection, suppress(OSError):
                connection.sendall(data)
                over.wait(then)

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        over.set()
        thread.join()


@pytest.mark.parametrize("kind", ["mpjpeg", "h264"])
def test_what_has_no_times_of_its_own_has_those_of_its_arrival(ffmpeg, kind, monkeypatch, caplog):
    """FFmpeg would count 25 frames a second, and we would take ever later ones for a backlog."""
    monkeypatch.setattr(stream_module, "BEHIND", 0.2)
    port = free_port()
    address = f"{'http' if kind == 'mpjpeg' else 'tcp'}://127.0.0.1:{port}"
    listen = ("-listen", "1", address) if kind == "mpjpeg" else (*PROMPT, f"{address}?listen=1")
    ffmpeg(*pattern(10), "-f", kind, *listen)
    with opened_when_there(address) as source:
        read(source, 10)  # what FFmpeg looked at to open it comes at once
        got, _ = read(source, 12)
        assert source.info.time_base == got[0].frame.time_base
    assert [captured.frame.seconds for captured in got] == pytest.approx([captured.at for captured in got], abs=1e-5)
    assert got[-1].at - got[0].at > 0.6  # not the 11 / 25 of the guess
    assert "too slow" not in caplog.text


@contextmanager
def opened_when_there(address):
    """The source, as soon as its sender listens."""
    deadline = time.monotonic() + 20
    while True:
        try:
            source = open_source(address).__enter__()
            break
        except SourceLost:
            assert time.monotonic() < deadline, "the sender has never listened"
            time.sleep(0.05)
    try:
        yield source
    finally:
        source.__exit__(None, None, None)


def two_groups(path):
    """A transport stream of two groups of 50 pictures; returns its bytes, and where the second one begins."""
    with av.open(str(path), "w", format="mpegts", options={"mpegts_flags": "resend_headers"}) as output:
        video = output.add_stream("libx264", rate=25, options={"tune": "zerolatency", "preset": "ultrafast", "g": "50"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for i in range(100):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 2 * i, np.uint8), format="rgb24")
            picture.pts = i
            output.mux(video.encode(picture))
        output.mux(video.encode(None))
    with av.open(str(path)) as clip:
        keys = [packet.pos for packet in clip.demux(video=0) if packet.is_keyframe and packet.size]
    return path.read_bytes(), keys[1]


def test_a_stream_may_be_joined_between_two_keyframes(tmp_path):
    data, second = two_groups(tmp_path / "two.ts")
    between = second // 4 // 188 * 188
    with sending(data[between:]) as address, open_source(address) as source:
        assert (source.info.width, source.info.height) == (64, 48)
    with (
        sending(data[between:second], then=10) as address,
        pytest.raises(SourceLost, match=r"sent nothing for 1 s|no keyframe yet"),
        open_source(address, SourceOptions(timeout=1.0)),
    ):
        pass


def test_packets_that_never_become_a_picture_are_a_loss(ffmpeg, monkeypatch):
    monkeypatch.setattr(stream_module, "KEYFRAME", 1.0)
    address = f"udp://127.0.0.1:{free_port()}"
    ffmpeg(*pattern(), *PROMPT, "-f", "mpegts", address)
    options = SourceOptions(timeout=1.0)
    with open_source(address, options) as source:
        source._decoder.decode = lambda packet: []
        with pytest.raises(SourceLost, match="nothing that can be decoded"):
            read(source, 100)
    monkeypatch.setattr(stream_module.PromptDecoder, "decode", lambda self, packet: [])
    with pytest.raises(SourceLost, match="nothing that can be decoded"), open_source(address, options):
        pass


def connects(port, says):
    """Comes to a listener as soon as there is one, says something, and leaves."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(says)
            return
        time.sleep(0.02)


@pytest.mark.parametrize("scheme", ["tcp", "http", "rtmp", "rtsp"])
@pytest.mark.parametrize("says", [b"", b"GET / HTTP/1.0\r\n\r\n"], ids=["nothing", "something"])
def test_who_connects_and_leaves_does_not_end_the_listening(scheme, says):
    port = free_port()
    guest = threading.Thread(target=connects, args=(port, says), daemon=True)
    guest.start()
    with (
        pytest.raises(SourceLost) as caught,
        open_source(f"{scheme}://127.0.0.1:{port}/live/x", SourceOptions(listen=True, timeout=2.0)),
    ):
        pass
    guest.join()
    assert "\n" not in str(caught.value)


def test_a_port_that_is_taken_ends_the_listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with (
            pytest.raises(MediaError, match="another program uses the port") as caught,
            open_source(address, SourceOptions(listen=True)),
        ):
            pass
    assert not isinstance(caught.value, SourceLost)


def test_a_listener_that_nobody_came_to_says_what_it_waits_for():
    address = f"tcp://127.0.0.1:{free_port()}"
    with (
        pytest.raises(Awaited, match=f"waiting for the sender at {address}"),
        open_source(address, SourceOptions(listen=True, timeout=0.3)),
    ):
        pass


@contextmanager
def web(data, *, ranges):
    """The address of a recording on a web server, whose first answer breaks midway where it has ranges."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers.get("Range"))
            start = int(asked[-1].partition("=")[2].partition("-")[0]) if ranges and asked[-1] else 0
            self.send_response(206 if ranges else 200)
            if ranges:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            broken = ranges and len(asked) == 1
            with suppress(OSError):
                self.wfile.write(data[start : len(data) // 2] if broken else data[start:])

        def log_message(self, *_):
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/clip", asked
        server.shutdown()


def test_a_recording_on_the_web_goes_on_where_its_connection_broke(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    data, _ = two_groups(tmp_path / "two.ts")
    with web(data, ranges=True) as (address, asked), open_source(address) as source:
        got, _ = read(source, 1000)
    assert len(got) == 100
    assert len(asked) > 1


def test_a_recording_on_a_simple_server_is_played_once_at_its_own_speed(tmp_path):
    data = short_clip(tmp_path / "five.ts").read_bytes()
    with web(data, ranges=False) as (address, _), open_source(address) as source:
        got, _ = read(source, 1000)
    assert len(got) == 5
    assert got[-1].at - got[0].at >= 4 / 25 - 0.01


def test_a_stream_by_rtp_is_opened_by_its_description(ffmpeg, tmp_path):
    port, path = free_port() & ~1, tmp_path / "stream.sdp"
    ffmpeg(*pattern(), *PROMPT, "-sdp_file", path, "-f", "rtp", f"rtp://127.0.0.1:{port}")
    deadline = time.monotonic() + 20
    while not (path.exists() and path.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    with open_source(str(path)) as source:
        got, _ = read(source, 5)
        assert not source._paced
        assert source._endless
    assert (got[-1].frame.width, got[-1].frame.height) == (64, 48)
    with pytest.raises(MediaError, match=r"needs its \.sdp file"), open_source(f"rtp://127.0.0.1:{port}"):
        pass


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video", "mpeg4"])
def test_pictures_come_in_the_order_of_their_times(tmp_path, codec):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as output:
        video = output.add_stream(codec, rate=25, options={"bf": "2"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for i in range(8):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * i, np.uint8), format="rgb24")
            picture.pts = i
            output.mux(video.encode(picture))
        output.mux(video.encode(None))
    with open_source(str(path)) as source:
        got, _ = read(source, 100)
    assert [round(25 * captured.frame.seconds) for captured in got] == list(range(8))


# The screen.


@pytest.fixture
def display(tmp_path, monkeypatch):
    """An X server without a screen, DISPLAY set."""
    if shutil.which("Xvfb") is None:
        pytest.skip("needs the program Xvfb, an X server without a screen")
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "320x200x24", "-nolisten", "tcp", "-noreset"]
    server = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        number = pipe.readline().strip()
    monkeypatch.setenv("DISPLAY", f":{number}")
    yield f":{number}"
    server.terminate()
    server.wait()


def test_a_screen_under_x(display):
    with open_source("screen", SourceOptions(rate=50)) as source:
        assert (source.info.width, source.info.height) == (320, 200)
        got, _ = read(source, 5)
        assert got[0].frame.format.name == "rgb24"
        assert all(b.frame.seconds > a.frame.seconds for a, b in itertools.pairwise(got))
    with open_source("screen", SourceOptions(size=(160, 100))) as source:
        assert (source.info.width, source.info.height) == (160, 100)
    assert any(listed.source == "screen" and "320x200" in listed.what for listed in listing.list_sources())
    with (
        pytest.raises(MediaError, match=r"cannot open screen .*--size"),
        open_source("screen", SourceOptions(size=(4000, 100))),
    ):
        pass
    with pytest.raises(MediaError, match="cannot open screen"), open_source("screen:7"):
        pass


# What is not there.


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("cam", {}, "unknown source 'cam'; a source is camera"),
        ("test:5", {}, "takes nothing behind its name"),
        ("screen:left", {}, "called by its number"),
        ("nowhere.mp4", {"size": (64, 48)}, "--size is for camera and opencv and screen and test, not for nowhere.mp4"),
        ("test", {"loop": True}, "--loop is for file, not for test; leave it out"),
        ("test", {"deinterlace": "tff"}, "--deinterlace is for camera and address and file, not for test"),
        ("film.mp4", {"deinterlace": "bob"}, "unknown --deinterlace 'bob'; live has auto, off, tff, bff"),
        ("camera", {"as_camera": True}, "--as-camera is for address, not for camera"),
        ("udp://127.0.0.1:1", {"listen": True}, "--listen is for rtsp, rtmp, tcp, http"),
        ("camera:99", {}, r"cannot open camera /dev/video99: .*no such camera; rfdn-stream live --list"),
        ("/dev/video99", {}, "no such camera"),
        ("nowhere.mp4", {}, r"nowhere\.mp4 does not exist"),
        ("tcp://127.0.0.1:1", {}, r"Connection refused; nobody listens there; start the sender first"),
        ("rtmp://127.0.0.1:1/live/x", {}, "Connection refused; nobody listens there"),
        ("udp://127.0.0.1:{port}", {"timeout": 0.3}, r"nothing came within 0\.3 s; start the sender first"),
        ("nowhere.sdp", {}, r"cannot open nowhere\.sdp: No such file.*name the \.sdp file"),
        ("foo://bar", {}, r"cannot open foo://bar: Protocol not found; look at the address"),
    ],
)
def test_one_clear_line_each(text, options, message):
    def opened():
        with open_source(text.format(port=free_port()), SourceOptions(**options)):
            pass

    with pytest.raises((MediaError, UsageError), match=message) as caught:
        opened()
    assert "\n" not in str(caught.value)


def test_without_a_display_there_is_no_screen(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(UsageError, match="DISPLAY is empty"):
        open_source("screen")
    assert [listed.source for listed in listing.list_sources() if listed.source == "screen"] == []


def test_a_video_that_holds_only_sound(tmp_path):
    path = tmp_path / "sound.mka"
    with av.open(str(BUNNY)) as source, av.open(str(path), "w", format="matroska") as output:
        stream = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    with pytest.raises(MediaError, match="no video stream; it holds audio"), open_source(str(path)):
        pass


# Cameras: no machine that tests has one, so FFmpeg's answers are played.


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EBUSY, "another program uses the camera; close it"),
        (errno.EACCES, "you may not use the camera; on Linux: sudo usermod -aG video"),
        (errno.EINVAL, "does not have this --size, --rate or --input-format"),
        (errno.ENODEV, "no such camera"),
        (errno.EIO, "live --list"),
    ],
)
def test_a_camera_that_refuses_says_what_to_do(monkeypatch, number, message):
    def refuse(*args, **kwargs):
        raise av.error.OSError(number, os.strerror(number))

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(MediaError, match=message), CameraSource("0", SourceOptions(), "v4l2"):
        pass


def test_a_file_that_is_no_camera():
    if "video4linux2,v4l2" not in av.formats_available:
        pytest.skip("this FFmpeg has no v4l2")
    with pytest.raises(MediaError, match="it is no camera"), CameraSource("/dev/null", SourceOptions(), "v4l2"):
        pass


def test_a_camera_is_asked_in_the_words_of_its_system(monkeypatch):
    asked = SourceOptions(size=(1280, 720), rate=60, input_format="mjpeg")

    class Device:
        def __init__(self, name):
            self.name = self.description = name
            self.media_types = ["video"]

    monkeypatch.setattr(camera, "enumerate_input_devices", lambda system: [Device("Front"), Device("Back")])
    linux = CameraSource("1", asked, "v4l2")._opening
    assert (linux.address, linux.format) == ("/dev/video1", "v4l2")
    assert linux.options == {"video_size": "1280x720", "framerate": "60", "input_format": "mjpeg"}
    windows = CameraSource("1", asked, "dshow")._opening
    assert windows.address == "video=Back"
    assert windows.options["vcodec"] == "mjpeg"
    mac = CameraSource("", SourceOptions(), "avfoundation")._opening
    assert (mac.address, mac.options) == ("0:none", {"framerate": "30"})
    with pytest.raises(UsageError, match="there is no camera 2; there are 2"):
        CameraSource("2", asked, "dshow")


def test_where_ffmpeg_has_no_cameras_opencv_reads_them(monkeypatch):
    monkeypatch.setattr(camera, "_has", lambda system: False)
    assert isinstance(open_source("camera:1"), OpenCvSource)
    with pytest.raises(UsageError, match="called by its number"):
        open_source("camera:Front")
    monkeypatch.setattr(screen.av, "formats_available", set())
    with pytest.raises(UsageError, match="cannot see the screen"):
        open_source("screen")


def test_a_stream_that_ffmpeg_cannot_read_on_is_lost_not_broken(tmp_path):
    """A sender that is cut off in the middle of a packet."""
    path = tmp_path / "cut.ts"
    with av.open(str(path), "w", format="mpegts") as output:
        video = output.add_stream("libx264", rate=25, options={"tune": "zerolatency"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for i in range(10):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * i, np.uint8), format="rgb24")
            picture.pts = i
            output.mux(video.encode(picture))
        output.mux(video.encode(None))
    Path(path).write_bytes(path.read_bytes()[:-200])
    with StreamSource(Opening("cut", str(path))) as source:
        source._endless = True  # as of what has no duration
        with pytest.raises(SourceLost, match="cut has ended its stream"):
            read(source, 100)


@contextmanager
def broken_at(path, offset):
    """The file with some bytes in its middle overwritten."""
    data = bytearray(path.read_bytes())
    data[offset : offset + 400] = os.urandom(400)
    path.write_bytes(data)
    yield path


def test_damaged_packets_are_passed_over(tmp_path):
    path = tmp_path / "clip.ts"
    command = ["-i", BUNNY, *PROMPT, "-an", "-f", "mpegts", path]
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the program ffmpeg")
    subprocess.run(["ffmpeg", "-loglevel", "error", "-nostdin", *map(str, command)], check=True)
    with broken_at(path, path.stat().st_size // 2), open_source(str(path)) as source:
        source._paced = False
        got, _ = read(source, 100)
    assert 40 <= len(got) <= 50
