"""Recordings: whole or not there, at the times that the frames came."""

import os
import subprocess
import sys
from pathlib import Path

import av
import pytest

from live_shots import info, shot
from media_samples import make_clip, packet_times, probe_streams
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.live.outlet import Outlet
from rfdn_stream.live.sinks import SinkOptions, open_sink
from rfdn_stream.live.sources import open_source
from rfdn_stream.media.reader import CopiedPacket

TIMES = [0, 40, 80, 200, 201, 201, 240, 1000]  # milliseconds; a sink passes over what is not later


def record(path, options=None, times=TIMES, *, source=None, size=(64, 48), finish=True, **shots):
    source = source or info()
    with open_sink(str(path), options or SinkOptions(preset="ultrafast")) as sink:
        output = sink.wants(source)
        sink.open(source, size, output)
        for number, pts in enumerate(times):
            sink.show(shot(number, size=size, pts=pts, format=shots.get("format", output[0].name)))
        if finish:
            sink.finish()


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.mov", "a.ts"])
def test_times_are_kept_and_the_file_is_whole(name, tmp_path):
    record(tmp_path / name)
    first, *_ = times = [time for time, _ in packet_times(tmp_path / name)]
    kept = [time for time in TIMES if TIMES.count(time) == 1 or time == 201]
    assert [round(1000 * (time - first)) for time in times] == sorted(set(kept))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    stream = probe_streams(tmp_path / name)[0]
    assert (stream["codec_name"], stream["width"], stream["color_space"]) == ("h264", 64, "bt709")


@pytest.mark.parametrize(
    ("name", "options", "codec", "pix_fmt"),
    [
        ("a.webm", {}, "vp9", "yuv420p"),
        ("a.y4m", {"codec": "rawvideo"}, "rawvideo", "yuv420p"),
        ("a.mp4", {"codec": "libx265", "bitrate": 800}, "hevc", "yuv420p"),
        ("a.mkv", {"codec": "ffv1"}, "ffv1", "yuv420p"),
        ("a.mkv", {"pix_fmt": "yuv444p", "bitrate": 500, "crf": 30, "preset": "fast"}, "h264", "yuv444p"),
        ("a.mkv", {"codec": "libsvtav1"}, "av1", "yuv420p"),
        ("a.avi", {"codec": "mpeg4", "bitrate": 500}, "mpeg4", "yuv420p"),
    ],
)
def test_encoders(name, options, codec, pix_fmt, tmp_path):
    record(tmp_path / name, SinkOptions(**options), range(0, 400, 40), size=(128, 96))
    stream = probe_streams(tmp_path / name)[0]
    assert (stream["codec_name"], stream["pix_fmt"]) == (codec, pix_fmt)
    with av.open(str(tmp_path / name)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 10


def test_webm_keeps_up(tmp_path):
    """As in a stream: with another deadline the encoder clamps the preset to 5, and takes many times as long."""
    with open_sink(str(tmp_path / "a.webm")) as sink:
        sink.open(info(), (64, 48), sink.wants(info()))
        options = sink._encoder._options()
        assert (options["deadline"], options["cpu-used"]) == ("realtime", "8")
        assert "lag-in-frames" not in options  # a recording may look ahead


def test_ten_bits_stay_ten_bits(tmp_path):
    record(tmp_path / "a.mkv", source=info(format="yuv420p10le"))
    assert probe_streams(tmp_path / "a.mkv")[0]["pix_fmt"] == "yuv420p10le"


def test_odd_sizes_are_cropped_and_other_formats_converted(tmp_path):
    with open_sink(str(tmp_path / "a.mkv"), SinkOptions(preset="ultrafast", crf=1)) as sink:
        sink.open(info(), (65, 49), (info(format="rgb24").format, info(format="rgb24").color))
        sink.show(shot(0, size=(65, 49), format="rgb24", pts=0))
        sink.finish()
    with av.open(str(tmp_path / "a.mkv")) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert picture.shape == (48, 64, 3)
    assert picture[20, 40].tolist() == pytest.approx([40, 160, 220], abs=4)


def test_audio_goes_along_also_to_a_second_sink(tmp_path):
    clip = make_clip(tmp_path / "tone.mkv", frames=25, audio=["aac"])
    with av.open(str(clip)) as container, open_sink(str(tmp_path / "a.mp4")) as one:
        stream = container.streams.audio[0]
        with open_sink(str(tmp_path / "b.mkv")) as two:
            for sink in (one, two):
                sink.listen([stream])
                sink.open(info(), (64, 48), sink.wants(info()))
            packets = [CopiedPacket(packet, stream.index) for packet in container.demux(stream) if packet.size]
            kept = sum(packet.packet.pts >= 0 for packet in packets)  # the encoder's lead-in is before the session
            for sink in (one, two):
                for number in range(25):
                    sink.show(shot(number, pts=40 * number))
                for packet in [*packets, packets[0]]:  # the last one is too late
                    sink.copy(packet)
                sink.finish()
    for name in ("a.mp4", "b.mkv"):
        assert len(packet_times(tmp_path / name, 1)) == kept


def test_what_a_container_cannot_hold_is_told(tmp_path, caplog):
    caplog.set_level("INFO", "rfdn_stream")
    clip = make_clip(tmp_path / "tone.mkv", frames=2, audio=["pcm_s16le"])
    with av.open(str(clip)) as container:
        outlet = Outlet(open_sink(str(tmp_path / "a.ts"), SinkOptions(preset="ultrafast")))
        outlet.start(info())
        outlet.open(container.streams.audio, (64, 48), outlet.wanted.result(10))
        outlet.ready.result(10)
        outlet.offer(shot(0, format="yuv420p", pts=0))
        outlet.end()
        assert outlet.join(10)
    assert caplog.messages == [f"{tmp_path / 'a.ts'}: audio #1 is left out: MPEG-TS cannot hold pcm_s16le"]


def test_a_name_with_a_colon_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record(Path("Alien: 2.mkv"))
    assert os.listdir() == ["Alien: 2.mkv"]
    with open_source("./Alien: 2.mkv") as source:
        assert source.info.width == 64


def test_a_recording_without_finish_leaves_nothing(tmp_path):
    record(tmp_path / "a.mkv", finish=False)
    assert list(tmp_path.iterdir()) == []


def test_nothing_shown_leaves_nothing_and_is_a_failure(tmp_path):
    with pytest.raises(MediaError, match="nothing was recorded into"):
        record(tmp_path / "a.mkv", times=[])
    assert list(tmp_path.iterdir()) == []


def test_what_must_not_be_written_is_one_line(tmp_path):
    (tmp_path / "there.mkv").write_bytes(b"mine")
    for target, words in (
        (tmp_path / "there.mkv", "exists; pass --overwrite"),
        (tmp_path, "is a folder; name a file in it"),
        (tmp_path / "nowhere" / "a.mkv", "does not exist; create it first"),
        (tmp_path / "a.xyz", "extension '.xyz' of .* is unknown"),
        (tmp_path / "a.png", "does not hold a video"),
        (tmp_path / "a.y4m", r"^\.y4m holds nothing that live encodes by itself; use \.mkv, "),
        (tmp_path / "a.ogv", r"^\.ogv .*; use \.mkv, "),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            open_sink(str(target))
        assert "\n" not in str(caught.value)
    record(tmp_path / "there.mkv", SinkOptions(overwrite=True, preset="ultrafast"))
    assert len(packet_times(tmp_path / "there.mkv")) == 7
    assert [path.name for path in tmp_path.iterdir()] == ["there.mkv"]


def test_bad_encoder_settings_are_one_line(tmp_path):
    for options, words in (
        ({"codec": "libx26"}, "there is no video encoder 'libx26'"),
        ({"crf": 99}, "takes a crf of 0 to 51"),
        ({"preset": "warp"}, "has no preset 'warp'"),
        ({"pix_fmt": "pal8"}, "cannot take pixel format 'pal8'"),
    ):
        with pytest.raises(UsageError, match=words):
            record(tmp_path / "a.mkv", SinkOptions(**options))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_files_is_one_line():
    with pytest.raises(UsageError, match=r"cannot write into /proc: .*; choose another folder"):
        record("/proc/rfdn-stream.mkv")


FULL = """
import resource, signal, sys
import numpy as np
sys.path.insert(0, sys.argv[2])
from live_shots import info
from rfdn_stream.errors import MediaError
from rfdn_stream.frame import FORMATS, ColorSpec, Frame
from rfdn_stream.live.base import Shot
from rfdn_stream.live.sinks import SinkOptions, open_sink
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
random = np.random.default_rng(0)
try:
    with open_sink(sys.argv[1], SinkOptions(preset="ultrafast", crf=0)) as sink:
        sink.open(info(), (320, 180), sink.wants(info()))
        for number in range(100):
            planes = [random.integers(0, 256, s, np.uint8) for s in FORMATS["yuv420p"].plane_shapes(320, 180)]
            noise = Frame(tuple(planes), FORMATS["yuv420p"], 320, 180, ColorSpec(), 1000 * number)
            sink.show(Shot(noise, noise, 0, 0))
except MediaError as error:
    print(error)
"""


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    """The limit on a file's size stands for it: the same call fails, in the same way."""
    command = [sys.executable, "-c", FULL, str(tmp_path / "a.mkv"), str(Path(__file__).parent)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert "File too large; free some space or write to another disk" in told.stdout
    assert told.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
