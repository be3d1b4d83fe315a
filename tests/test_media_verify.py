"""A written file that differs from its source does not pass, unless the difference was announced."""

from dataclasses import replace
from fractions import Fraction

import av
import pytest

from media_samples import make_clip, round_trip
from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import MediaError
from rfdn_stream.media.contents import Difference
from rfdn_stream.media.output import plan_output
from rfdn_stream.media.reader import open_source
from rfdn_stream.media.tags import ColorTags
from rfdn_stream.media.verify import verify

FAST = EncodeOptions(preset="ultrafast")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    source = make_clip(
        folder / "in.mkv", frames=30, audio=["pcm_s16le", "aac"], subtitles=["subrip"], attachment=b"font",
        chapters=[(0, 500, "a"), (500, 1200, "b")], metadata={"title": "A film"},
        stream_metadata=[{}, {"language": "deu"}, {"title": "Ton"}],
        dispositions=[av.stream.Disposition.default] + 3 * [av.stream.Disposition.comment],
    )  # fmt: skip
    _, report, _, _ = round_trip(source, folder / "out.mkv", FAST)
    return source, folder / "out.mkv", report


def written_anew(path, target, change=lambda packet, index: packet, prepare=lambda new: None, **settings):
    """The file once more, its packets changed on the way; None = left out. Returns the new file."""
    with av.open(str(path)) as old, av.open(str(target), "w", **settings) as new:
        streams = {s.index: new.add_stream_from_template(s, opaque=True) for s in old.streams}
        for index, stream in streams.items():
            stream.disposition = old.streams[index].disposition
            if stream.type != "attachment":
                stream.metadata.update(old.streams[index].metadata)
        new.set_chapters(old.chapters())
        new.metadata.update(old.metadata)
        prepare(new)
        seen = dict.fromkeys(streams, 0)
        for packet in old.demux():
            if packet.size:
                index, number = packet.stream_index, seen[packet.stream_index]
                seen[index] += 1
                if (made := change(packet, (index, number))) is not None:
                    made.stream = streams[index]
                    new.mux(made)
    return target


def like(packet, data):
    made = av.Packet(data)
    made.pts, made.dts, made.time_base, made.duration = packet.pts, packet.dts, packet.time_base, packet.duration
    made.is_keyframe = packet.is_keyframe
    return made


def test_what_was_written_passes(written, tmp_path):
    source, path, report = written
    verify(path, report)
    verify(written_anew(path, tmp_path / "again.mkv"), report)
    with open_source(source) as again:
        verify(path, report, again)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"frames": 31}, "30 frames instead of 31"),
        ({"size": (130, 96)}, "pictures of 128x96 instead of 130x96"),
        ({"tags": ColorTags(matrix=9, range=1, siting=1)}, "colour tag matrix 6 instead of 9"),
        ({"tags": ColorTags(matrix=6, range=2, siting=1)}, "colour tag range 1 instead of 2"),
    ],
)
def test_each_difference_of_the_picture_is_named(written, change, says):
    _, path, report = written
    with pytest.raises(MediaError, match=says):
        verify(path, replace(report, **change))


def without(index):
    return lambda packet, place: None if place[0] == index else packet


def flipped(packet, place):
    """One bit of one packet of the first sound."""
    data = bytearray(bytes(packet))
    data[len(data) // 2] ^= 1
    return like(packet, bytes(data)) if place == (1, 7) else packet


def late(index, ticks, number=None):
    def change(packet, place):
        if place[0] == index and number in (None, place[1]):
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
        return packet

    return change


def test_pictures_that_an_edit_list_cuts_off_do_not_count(tmp_path):
    _, report, *_ = round_trip(make_clip(tmp_path / "in.mkv", frames=30), tmp_path / "out.mp4", FAST)
    early = written_anew(tmp_path / "out.mp4", tmp_path / "early.mp4", late(0, -10 * 640))
    with pytest.raises(MediaError, match="20 frames instead of 30"):
        verify(early, report)


def noise(packet, place):
    return like(packet, bytes(packet)[:4] + bytes(packet.size - 4)) if place[0] == 0 else packet


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without(1), r"audio #1 \(pcm_s16le, deu\) is empty, \d+ packets were written"),
        (flipped, r"audio #1 \(pcm_s16le, deu\) has other data than the source"),
        (lambda packet, place: None if place == (2, 5) else packet, r"audio #2 \(aac, Ton\) has other data"),
        (late(2, 200), r"audio #2 \(aac, Ton\) begins \+0\.200 s out of step"),
        (late(0, 7, number=12), "frames are not at their times"),
        (late(0, 30, number=29), r"1\.1900 s from the first frame to the last instead of 1\.1600 s"),
        (lambda packet, place: None if place == (0, 29) else packet, "29 frames instead of 30"),
        (noise, "cannot be"),
    ],
)
def test_each_difference_of_the_packets_is_named(written, tmp_path, change, says):
    _, path, report = written
    with pytest.raises(MediaError, match=says):
        verify(written_anew(path, tmp_path / "changed.mkv", change), report)


def untitled(new):
    new.metadata["title"] = "Another film"


def speechless(new):
    new.streams[1].metadata["language"] = "fra"


def unmarked(new):
    new.streams[2].disposition = av.stream.Disposition(0)


def without_chapters(new):
    new.set_chapters([])


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (untitled, "the file's tag title is 'Another film' instead of 'A film'"),
        (speechless, r"audio #1 \(pcm_s16le, deu\)'s tag language is 'fra' instead of 'deu'"),
        (unmarked, r"audio #2 \(aac, Ton\) is not marked as comment"),
        (without_chapters, "0 chapters instead of 2"),
    ],
)
def test_each_difference_of_what_is_said_is_named(written, tmp_path, prepare, says):
    _, path, report = written
    with pytest.raises(MediaError, match=says):
        verify(written_anew(path, tmp_path / "changed.mkv", prepare=prepare), report)


def test_a_difference_that_was_announced_passes(written, tmp_path):
    _, path, report = written
    changed = written_anew(path, tmp_path / "changed.mkv", prepare=untitled)
    verify(changed, replace(report, announced=frozenset({Difference("the file", "tag", "title")})))
    verify(changed, replace(report, announced=None))  # the container could not be tried


def test_what_a_container_loses_is_announced_and_passes(written, tmp_path):
    """Into MPEG-TS: no titles, no marks; into MP4: other forms of subtitles; nothing of it is a surprise."""
    source, _, _ = written
    with open_source(source) as opened:
        dropped = [what for what, _ in plan_output(opened, "out.ts").dropped]
    assert "the file's tags title" in dropped
    assert any(what.endswith("'s mark comment") for what in dropped)
    for name in ("out.ts", "out.mp4", "out.mov", "out.webm", "out.avi", "out.nut", "out.flv"):
        round_trip(source, tmp_path / name, None if name.endswith("webm") else FAST)


def test_full_finds_what_only_decoding_shows(written, tmp_path):
    """A picture in the middle that is no picture: every packet is there, at its time."""
    source, path, report = written

    def noisy(packet, place):
        return like(packet, bytes(packet)[:5] + bytes(packet.size - 5)) if place == (0, 20) else packet

    changed = written_anew(path, tmp_path / "changed.mkv", noisy)
    verify(changed, report)
    with open_source(source) as again, pytest.raises(MediaError, match=r"read back|decoded|damaged"):
        verify(changed, report, again)


def test_full_compares_with_the_source_itself(written, tmp_path):
    """What the first reading got wrong, the second one shows: here the source is another one by then."""
    _, path, report = written
    sources = {
        "frame 12 is at": {"pts": [*range(12), *range(13, 31)]},
        "frame 29 is one too many": {"frames": 29},
        "other packets than the source": {"audio_start": 0.1},
    }
    for says, changes in sources.items():
        settings = {"frames": 30, "audio": ["pcm_s16le", "aac"], "subtitles": ["subrip"], "attachment": b"font"}
        other = make_clip(tmp_path / "other.mkv", **{**settings, **changes})
        with open_source(other) as again, pytest.raises(MediaError, match=says):
            verify(path, report, again)


def test_file_that_was_cut_off(written, tmp_path):
    _, path, report = written
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"cut\.mkv is not what was written: \d+ frames instead of 30"):
        verify(cut, report)


def test_equal_times_are_counted(tmp_path):
    """Frames 0.4 ms apart, in a container that keeps whole milliseconds."""
    base = Fraction(1, 10_000)
    source = make_clip(tmp_path / "in.mp4", pts=[0, 4, 400, 800, 802], time_base=base, options={"bf": "0"})
    _, report, _, _ = round_trip(source, tmp_path / "out.mkv", FAST)
    assert report.same_times == 2
    _, report, _, _ = round_trip(source, tmp_path / "out.mp4", FAST)
    assert report.same_times == 0
