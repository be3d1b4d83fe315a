"""Pipes, addresses, raw video, chosen streams: real processes, a real server, real faults."""

import contextlib
import io
import os
import resource
import shutil
import subprocess
import sys
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np
import pytest

from media_samples import make_clip, packet_times, probe_streams
from rfdn_stream import upscale
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.media import probe

PROGRAM = [sys.executable, "-m", "rfdn_stream", "upscale"]
BT709 = {"colorspace": 1, "color_range": 1, "color_primaries": 1, "color_trc": 1, "chroma_sample_location": 1}
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def samples(path):
    """Time in seconds and all samples of each frame."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        base = Fraction(stream.time_base.numerator, stream.time_base.denominator)
        return [(float(f.pts * base), f.to_ndarray()) for f in container.decode(stream)]


def y4m(width, height, frames):
    """The bytes of a small clip."""
    random = np.random.default_rng(0)
    picture = [random.integers(16, 235, width * height * 3 // 2, np.uint8).tobytes() for _ in range(frames)]
    header = f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED\n"
    return header.encode() + b"".join(b"FRAME\n" + samples for samples in picture)


@needs_ffmpeg
def test_ffmpeg_on_both_ends_of_the_pipe(tmp_path, tiny_model):
    """What the README shows, as a shell runs it: every frame, its time, its codes, its range and siting."""
    clip = make_clip(
        tmp_path / "in.mkv", frames=12, rate=Fraction(24000, 1001), time_base=Fraction(1001, 24000), tags=BT709
    )
    program = f"{sys.executable} -m rfdn_stream upscale - - --matrix bt709 --model {tiny_model}"
    line = f"ffmpeg -v error -i in.mkv -f yuv4mpegpipe - | {program} | ffmpeg -v error -i - -c:v ffv1 out.mkv"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert "y4m does not say its colour matrix, which is bt709; players would guess another" in result.stderr
    assert "standard output: 12 frames of 128x96" in result.stderr
    direct = upscale(clip, tmp_path / "direct.mkv", model=tiny_model, codec="ffv1").target
    got, want = samples(tmp_path / "out.mkv"), samples(direct)
    assert len(got) == len(want) == 12
    for (time, picture), (due, expected) in zip(got, want):
        assert abs(time - due) <= 0.001
        np.testing.assert_array_equal(picture, expected)
    (video,) = probe_streams(tmp_path / "out.mkv")
    assert (video["width"], video["height"], video["color_range"]) == (128, 96, "tv")
    assert video["r_frame_rate"] == "24000/1001"


def test_a_closed_standard_output_ends_in_one_line(tiny_model):
    source = y4m(48, 32, 400)
    command = [*PROGRAM, "-", "-", "--model", str(tiny_model)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        feeding = threading.Thread(target=_feed, args=(process.stdin, source))
        feeding.start()
        assert process.stdout.readline() == b"YUV4MPEG2 W96 H64 F25:1 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED\n"
        process.stdout.close()
        told = process.stderr.read().decode()
        process.wait(60)
        feeding.join()
    assert process.returncode == 1
    assert "rfdn-stream: standard output was closed by the program that reads it, after" in told
    assert "Traceback" not in told
    assert "Exception" not in told
    assert len([line for line in told.splitlines() if line.startswith("rfdn-stream: ")]) == 1


def _feed(pipe, data):
    with contextlib.suppress(BrokenPipeError):
        pipe.write(data)
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


@pytest.mark.parametrize(
    ("format", "tags", "header", "back"),
    [
        ("yuv420p", {"chroma_sample_location": 2}, b"C420jpeg", "yuv420p"),
        ("yuv422p10le", {}, b"C422p10 XYSCSS=422P10", "yuv422p10le"),
        ("gray", {}, b"Cmono", "gray"),
        ("gbrp10le", {}, b"C444p10", "yuv444p10le"),
        ("yuv444p", {"color_range": 2}, b"XCOLORRANGE=FULL", "yuv444p"),
    ],
)
def test_y4m_files_say_what_they_can(tmp_path, tiny_model, format, tags, header, back):
    clip = make_clip(
        tmp_path / "in.mkv", codec="ffv1", format=format, frames=3, size=(36, 28), tags=tags, audio=["aac"]
    )
    result = upscale(clip, tmp_path / "out.y4m", model=tiny_model)
    assert header in result.target.read_bytes()[:100]
    with av.open(str(result.target)) as container:
        frames = list(container.decode(video=0))
    assert [(f.width, f.height, f.format.name) for f in frames] == [(72, 56, back)] * 3


def test_times_that_y4m_cannot_say_are_told(tmp_path, tiny_model, caplog):
    clip = make_clip(tmp_path / "in.mkv", frames=6, pts=[0, 40, 80, 500, 540, 580], time_base=Fraction(1, 1000))
    assert upscale(clip, tmp_path / "out.y4m", model=tiny_model).frames == 6
    assert "frames are shown at other times" in caplog.text


def test_standard_output_is_no_place_for_a_person(tiny_model, monkeypatch, tmp_path):
    clip = make_clip(tmp_path / "in.mkv", frames=2)
    monkeypatch.setattr(sys, "stdout", type("Terminal", (io.StringIO,), {"isatty": lambda self: True})())
    with pytest.raises(UsageError, match="standard output is a terminal; pipe it into a program"):
        upscale(clip, "-", model=tiny_model)


def test_raw_samples(tmp_path, tiny_model):
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", frames=4, size=(40, 24))
    with av.open(str(clip)) as container:
        (tmp_path / "in.yuv").write_bytes(b"".join(f.to_ndarray().tobytes() for f in container.decode(video=0)))
    raw, known = (
        upscale(
            tmp_path / source, tmp_path / f"{source}.mkv", model=tiny_model, codec="ffv1", matrix="bt601", **options
        )
        for source, options in (("in.yuv", {"raw": "40x24,yuv420p,12.5"}), ("in.mkv", {}))
    )
    assert [p.tolist() for _, p in samples(raw.target)] == [p.tolist() for _, p in samples(known.target)]
    assert [time for time, _ in samples(raw.target)] == [0.0, 0.08, 0.16, 0.24]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"raw": "40x24"}, "raw '40x24' is not understood; write WxH,FORMAT,RATE"),
        ({"raw": "40x24,yuv420p,0"}, "the rate above 0"),
        ({"raw": "40x24,nothing,25"}, "raw '40x24,nothing,25': pixel format nothing is not supported"),
        ({"matrix": "bt470"}, "unknown --matrix 'bt470'; choose bt601, bt709, bt2020"),
        ({"fps": "24"}, "--fps is for image sequences"),
        ({"streams": "x:0"}, "unknown stream selector 'x:0'; write v .video., a .audio."),
        ({"streams": "a:"}, "unknown stream selector 'a:'"),
        ({"streams": "a:fra"}, "no stream is 'a:fra'; there are: video #0 .h264., audio #1 .aac, eng."),
        ({"streams": "a:7"}, "no stream is 'a:7'"),
        ({"crop": "0:0:10"}, "crop '0:0:10' is not understood"),
        ({"crop": "0:0:100:10"}, "crop 0:0:100:10 reaches beyond the picture, which has 64x48 pixels"),
        ({"crop": "1:0:10:10"}, "crop 1:0:10:10 begins at an odd place; yuv420p takes even ones"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_wrong_requests(tmp_path, tiny_model, options, words):
    clip = make_clip(tmp_path / "in.mkv", frames=2, audio=["aac"], stream_metadata=[{}, {"language": "eng"}])
    with pytest.raises(UsageError, match=words):
        upscale(clip, tmp_path / "out.mkv", model=tiny_model, **options)
    assert os.listdir(tmp_path) == ["in.mkv"]


@pytest.mark.parametrize(
    ("streams", "kept"),
    [
        (None, ["audio eng", "audio jpn", "subtitle eng"]),
        ("v", []),
        ("a:jpn", ["audio jpn"]),
        ("a:0,s", ["audio eng", "subtitle eng"]),
        ("s:ENG, a:1", ["audio jpn", "subtitle eng"]),
    ],
)
def test_only_chosen_streams_are_copied(tmp_path, tiny_model, streams, kept, caplog):
    languages = [{}, *({"language": language} for language in ("eng", "jpn", "eng"))]
    clip = make_clip(
        tmp_path / "in.mkv", frames=5, audio=["aac", "aac"], subtitles=["subrip"], stream_metadata=languages
    )
    result = upscale(clip, tmp_path / "out.mkv", model=tiny_model, streams=streams)
    video, *others = probe_streams(result.target)
    assert video["codec_type"] == "video"
    assert [f"{s['codec_type']} {s['tags']['language']}" for s in others] == kept
    assert "not kept" not in caplog.text  # what nobody asked for is not lost


@contextlib.contextmanager
def server(data, *, sent=None):
    """An HTTP server with one file, of which it sends so many bytes and closes, every time."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            begin = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(data) - begin))
            self.send_header("Accept-Ranges", "bytes")
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(data[begin:sent])

        def log_message(self, *arguments):
            """Nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        serving = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        yield f"http://127.0.0.1:{made.server_port}/clip.mkv"
        made.shutdown()
        serving.join()


def test_an_address_is_read_like_a_file(tmp_path, tiny_model):
    clip = make_clip(tmp_path / "in.mkv", frames=20, audio=["aac"])
    with server(clip.read_bytes()) as address:
        whole = upscale(address, tmp_path / "whole.mkv", model=tiny_model)
        part = upscale(address, tmp_path / "part.mkv", model=tiny_model, start=0.4, duration=0.2)
    assert (whole.frames, part.frames) == (20, 5)
    assert len(packet_times(whole.target)) == 20
    assert [s["codec_type"] for s in probe_streams(whole.target)] == ["video", "audio"]


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_an_address_that_dies_midway(tmp_path, tiny_model, monkeypatch, share):
    monkeypatch.setitem(probe.ADDRESS_OPTIONS, "reconnect_delay_max", "0")
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", frames=150)
    data = clip.read_bytes()
    with server(data, sent=int(len(data) * share)) as address, pytest.raises(MediaError) as failure:
        upscale(address, tmp_path / "out.mkv", model=tiny_model)
    assert address in str(failure.value)
    assert "\n" not in str(failure.value)
    assert os.listdir(tmp_path) == ["in.mkv"]


def test_an_address_where_nothing_is(tmp_path, tiny_model):
    with pytest.raises(MediaError, match=r"cannot open http://127.0.0.1:9/no.mkv: Connection refused"):
        upscale("http://127.0.0.1:9/no.mkv", tmp_path / "out.mkv", model=tiny_model)
    assert os.listdir(tmp_path) == []


@contextlib.contextmanager
def small_files(size):
    """No file may grow beyond that: the same error that a full disk gives, but for its number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", ["out.y4m", "out.gif", "out.webp", "out.apng", "out_%03d.png", "out.mkv"])
def test_a_disk_that_fills_up(tmp_path, tiny_model, name):
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", frames=8, size=(96, 64))
    options = {"codec": "ffv1"} if name.endswith("mkv") else {}
    with small_files(12_000), pytest.raises(MediaError, match=r"cannot write .*: File too large"):
        upscale(clip, tmp_path / name, model=tiny_model, **options)
    assert os.listdir(tmp_path) == ["in.mkv"]


def test_a_disk_that_fills_up_within_a_buffer(tmp_path, tiny_model):
    """What the file has not taken is refused once more when it is closed."""
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", frames=8, size=(32, 24))
    for size in (10, 12_000):  # within the header, and after some frames
        with small_files(size), pytest.raises(MediaError, match=r"cannot write .*out\.y4m\..*: File too large; free"):
            upscale(clip, tmp_path / "out.y4m", model=tiny_model)
    assert os.listdir(tmp_path) == ["in.mkv"]


@pytest.mark.parametrize("target", ["Alien: 2x.mkv", "Alien: 2x.gif"])
def test_a_name_with_a_colon_is_no_protocol(tmp_path, tiny_model, monkeypatch, target):
    make_clip(tmp_path / "Alien: Covenant.mkv", frames=4, options={"g": "2"})
    (tmp_path / "Alien: 3.mkv").write_bytes(bytes(1000))
    monkeypatch.chdir(tmp_path)
    segments = {"segment": 0} if target.endswith("mkv") else {}
    assert upscale("Alien: Covenant.mkv", target, model=tiny_model, verify="fast", **segments).frames == 4
    with pytest.raises(MediaError, match=r"^Alien: 3\.mkv is not a video file"):
        upscale("Alien: 3.mkv", target, model=tiny_model, overwrite=True)
    assert sorted(os.listdir()) == sorted(["Alien: 3.mkv", "Alien: Covenant.mkv", target])


@pytest.mark.parametrize("name", ["out.y4m", "out.gif", "out_%03d.png"])
def test_a_folder_that_nobody_writes_into(tmp_path, tiny_model, name):
    clip = make_clip(tmp_path / "in.mkv", frames=2)
    with pytest.raises(UsageError, match=r"cannot write into /proc: .*; choose another folder"):
        upscale(clip, f"/proc/{name}", model=tiny_model)


def test_colours_mean_what_the_user_says(tmp_path, tiny_model):
    """The same codes, taken for another matrix, and written with it."""
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", frames=2, tags=BT709)
    said = upscale(clip, tmp_path / "said.mkv", model=tiny_model, matrix="bt601")
    plain = upscale(clip, tmp_path / "plain.mkv", model=tiny_model)
    assert [probe_streams(r.target)[0]["color_space"] for r in (said, plain)] == ["smpte170m", "bt709"]
    assert not np.array_equal(samples(said.target)[0][1], samples(plain.target)[0][1])
