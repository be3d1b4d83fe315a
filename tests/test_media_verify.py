"""A written file that differs from what was written does not pass."""

from dataclasses import replace

import av
import pytest

from media_samples import make_clip, round_trip
from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import MediaError
from rfdn_stream.media.tags import ColorTags
from rfdn_stream.media.verify import verify


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    source = make_clip(
        folder / "in.mkv", frames=30, audio=["pcm_s16le"], subtitles=["subrip"], attachment=b"font",
        chapters=[(0, 500, "a"), (500, 1200, "b")],
    )  # fmt: skip
    _, report, _, _ = round_trip(source, folder / "out.mkv", EncodeOptions(preset="ultrafast"))
    return folder / "out.mkv", report


def test_what_was_written_passes(written):
    verify(*written)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"frames": 31}, "30 frames instead of 31"),
        ({"last_pts": 1200}, r"1\.1600 s from the first frame to the last instead of 1\.2000 s"),
        ({"size": (130, 96)}, "pictures of 128x96 instead of 130x96"),
        ({"tags": ColorTags(matrix=9, range=1, siting=1)}, "colour tag matrix 6 instead of 9"),
        ({"tags": ColorTags(matrix=6, range=2, siting=1)}, "colour tag range 1 instead of 2"),
        ({"kinds": {1: "audio", 2: "audio"}, "copied": {1: 5, 2: 5}}, "1 audio streams instead of 2"),
        ({"kinds": {1: "attachment", 2: "attachment"}, "copied": {1: 0, 2: 0}}, "1 attachment streams instead of 2"),
        ({"chapters": 3}, "2 chapters instead of 3"),
    ],
)
def test_each_difference_is_named(written, change, says):
    path, report = written
    with pytest.raises(MediaError, match=says):
        verify(path, replace(report, **change))


def test_stream_that_lost_its_packets(written, tmp_path):
    path, report = written
    with av.open(str(path)) as old, av.open(str(tmp_path / "silent.mkv"), "w") as new:
        streams = {s.index: new.add_stream_from_template(s, opaque=True) for s in old.streams}
        new.set_chapters(old.chapters())
        for packet in old.demux():
            if packet.size and packet.stream_index != 1:
                packet.stream = streams[packet.stream_index]
                new.mux(packet)
    with pytest.raises(MediaError, match=r"audio stream 0 is empty, \d+ packets were written"):
        verify(tmp_path / "silent.mkv", report)


def test_file_that_was_cut_off(written, tmp_path):
    path, report = written
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"cut\.mkv is not what was written: \d+ frames instead of 30"):
        verify(cut, report)


def test_first_frame_that_cannot_be_decoded(written, tmp_path):
    path, report = written
    with av.open(str(path)) as old, av.open(str(tmp_path / "noise.mkv"), "w") as new:
        streams = {s.index: new.add_stream_from_template(s, opaque=True) for s in old.streams}
        new.set_chapters(old.chapters())
        for packet in old.demux():
            if packet.size:
                made = packet
                if packet.stream_index == 0:
                    made = av.Packet(bytes(packet)[:4] + bytes(packet.size - 4))
                    made.pts, made.dts, made.time_base = packet.pts, packet.dts, packet.time_base
                    made.is_keyframe = packet.is_keyframe
                made.stream = streams[packet.stream_index]
                new.mux(made)
    with pytest.raises(MediaError, match="cannot be"):
        verify(tmp_path / "noise.mkv", report)
