"""Everything beside the video goes along where the container can hold it; the rest is told before work starts."""

from fractions import Fraction

import av
import pytest
from av.stream import Disposition

from awkward import run
from media_samples import ffprobe, make_clip, probe_streams, round_trip
from rfdn_stream.config import EncodeOptions
from rfdn_stream.frame import Frame
from rfdn_stream.media import source as source_module
from rfdn_stream.media.output import plan_output
from rfdn_stream.media.reader import open_source

FAST = EncodeOptions(preset="ultrafast")
CHAPTERS = [(0, 1000, "Beginning"), (1000, 2000, "End")]


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """Matroska with two sounds, two subtitles, a cover, a font, chapters, tags, languages and dispositions."""
    return make_clip(
        tmp_path_factory.mktemp("rich") / "rich.mkv",
        frames=50,
        audio=["aac", "pcm_s16le"],
        subtitles=["subrip", "webvtt"],
        cover=True,
        attachment=b"font data",
        chapters=CHAPTERS,
        metadata={"title": "A film", "artist": "Someone", "DESCRIPTION": "words"},
        stream_metadata=[
            {"title": "Main picture"},
            {"language": "deu", "title": "Ton"},
            {"language": "eng"},
            {"language": "fra", "title": "Forced"},
            {"language": "eng"},
        ],
        dispositions=[
            Disposition.default,
            Disposition.default,
            Disposition.comment,
            Disposition.forced,
            Disposition.hearing_impaired,
        ],
    )


def packet_counts(report):
    """How many were copied, by the source's stream index."""
    return {index: stream.packets for index, stream in report.copied.items()}


def payloads(path, index):
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(container.streams[index]) if p.size]


def test_matroska_keeps_everything(tmp_path, rich):
    out = tmp_path / "out.mkv"
    plan, report, _, _ = round_trip(rich, out, FAST)
    assert plan.dropped == ()
    assert [copied.how for copied in plan.copied] == ["copy", "copy", "copy", "copy", "attach", "copy"]
    assert min(list(packet_counts(report).values())[:4]) > 0
    before, after = probe_streams(rich), probe_streams(out)
    assert [s["codec_type"] for s in after] == [s["codec_type"] for s in before]
    for old, new in zip(before, after, strict=True):
        assert new["disposition"] == old["disposition"]
        for tag in ("language", "title", "filename", "mimetype"):
            assert new["tags"].get(tag) == old["tags"].get(tag)
    for index in range(1, 5):
        assert payloads(out, index) == payloads(rich, index)
    tags = ffprobe(out, "-show_format")["format"]["tags"]
    assert (tags["title"], tags["ARTIST"], tags["DESCRIPTION"]) == ("A film", "Someone", "words")
    chapters = ffprobe(out, "-show_chapters")["chapters"]
    assert [(c["tags"]["title"], float(c["start_time"]), float(c["end_time"])) for c in chapters] == [
        ("Beginning", 0, 1), ("End", 1, 2),
    ]  # fmt: skip
    with av.open(str(out)) as container:
        fonts = [s for s in container.streams if s.type == "attachment"]
        assert [font.data for font in fonts] == [b"font data"]


def test_times_of_copied_packets_are_the_sources(tmp_path, rich):
    out = tmp_path / "out.mkv"
    round_trip(rich, out, FAST)
    for index in range(1, 5):
        times = [
            [
                (p["pts"], p["duration"])
                for p in ffprobe(path, "-show_packets", "-select_streams", str(index))["packets"]
            ]
            for path in (rich, out)
        ]
        assert times[0] == times[1]


def test_mp4_takes_what_it_can_and_says_why_not_the_rest(tmp_path, rich):
    out = tmp_path / "out.mp4"
    with open_source(rich) as source:
        plan = plan_output(source, out)
    assert [(copied.index, copied.how) for copied in plan.copied] == [
        (1, "copy"),
        (2, "copy"),
        (3, "convert"),
        (5, "copy"),
    ]
    assert plan.dropped == (
        ("subtitle #4 (webvtt, eng)", "MP4 cannot hold webvtt; .mkv can"),
        ("attachment #6 (font.ttf)", "MP4 has no attachments; .mkv has"),
    )
    assert "subtitle #3 (subrip, fra, Forced) is converted to mov_text" in plan.notes
    round_trip(rich, out, FAST)
    streams = probe_streams(out)
    assert [s.get("codec_name") for s in streams[:4]] == ["h264", "aac", "pcm_s16le", "mov_text"]
    assert [s["tags"]["language"] for s in streams[1:4]] == ["deu", "eng", "fra"]
    assert [s["codec_name"] for s in streams if s["disposition"]["attached_pic"]] == ["png"]
    texts = [p[2:] for p in payloads(out, 3) if len(p) > 2]
    assert texts == [b"Hello", b"<i>World</i>"]
    assert len(ffprobe(out, "-show_chapters")["chapters"]) == 2


def test_mp4_back_to_matroska(tmp_path, rich):
    round_trip(rich, tmp_path / "out.mp4", FAST)
    plan, *_ = round_trip(tmp_path / "out.mp4", tmp_path / "again.mkv", FAST)
    assert plan.dropped == ()  # the chapters' track is written anew
    streams = probe_streams(tmp_path / "again.mkv")
    assert [s.get("codec_name") for s in streams] == ["h264", "aac", "pcm_s16le", "subrip", "png"]
    assert streams[1]["tags"]["title"] == "Ton"
    assert payloads(tmp_path / "again.mkv", 3) == [b"Hello", b"<i>World</i>"]
    subtitles = ffprobe(tmp_path / "again.mkv", "-show_packets", "-select_streams", "3")["packets"]
    assert [(float(p["pts_time"]), float(p["duration_time"])) for p in subtitles] == [(0.2, 0.5), (1.0, 0.5)]
    assert len(ffprobe(tmp_path / "again.mkv", "-show_chapters")["chapters"]) == 2


def test_mov_keeps_languages(tmp_path, rich):
    round_trip(rich, tmp_path / "out.mov", FAST)
    assert [s["tags"].get("language") for s in probe_streams(tmp_path / "out.mov")[1:4]] == ["ger", "eng", "fra"]


def test_webm_tells_what_it_refuses(tmp_path, rich):
    plan, *_ = round_trip(rich, tmp_path / "out.webm")
    assert plan.encoding.codec == "libvpx-vp9"
    assert dict(plan.dropped) == {
        "audio #1 (aac, deu, Ton)": "WebM cannot hold aac; .mkv and .mp4 and .mov can",
        "audio #2 (pcm_s16le, eng)": "WebM cannot hold pcm_s16le; .mkv and .mp4 and .mov can",
        "subtitle #3 (subrip, fra, Forced)": "WebM cannot hold subrip; .mkv and .mp4 and .mov can",
        "cover art #5 (png)": "WebM has no cover art",
        "attachment #6 (font.ttf)": "WebM has no attachments; .mkv has",
        "subtitle #4 (webvtt, eng)'s mark hearing_impaired": "WebM has no place for them; .mkv has",
    }
    assert [s["codec_name"] for s in probe_streams(tmp_path / "out.webm")] == ["vp9", "webvtt"]


@pytest.mark.parametrize("name", ["out.ts", "out.avi", "out.flv"])
def test_poorer_containers_get_the_sound_and_tell_the_rest(tmp_path, rich, name):
    plan, report, _, _ = round_trip(rich, tmp_path / name, FAST)
    dropped = " ".join(what for what, _ in plan.dropped)
    assert all(word in dropped for word in ("subtitle #3", "subtitle #4", "cover art", "attachment", "2 chapters"))
    assert packet_counts(report)[1] > 0
    kinds = [s["codec_type"] for s in probe_streams(tmp_path / name)]
    assert kinds.count("video") == 1
    assert kinds.count("audio") == len(report.copied)


def test_ass_needs_matroska(tmp_path):
    source = tmp_path / "in.mkv"
    with av.open(str(make_clip(tmp_path / "v.mkv", frames=50))) as old, av.open(str(source), "w") as new:
        video = new.add_stream_from_template(old.streams.video[0], opaque=True)
        texts = new.add_mux_stream("ass")
        texts.time_base = Fraction(1, 1000)
        for number, packet in enumerate(p for p in old.demux() if p.size):
            packet.stream = video
            new.mux(packet)
            if number in (5, 6):  # two lines at one time
                line = av.Packet(b"%d,0,Default,,0,0,0,,Hello" % number)
                line.pts = line.dts = 200
                line.duration, line.time_base, line.stream = 500, Fraction(1, 1000), texts
                new.mux(line)
    with open_source(source) as opened:
        assert plan_output(opened, "out.mp4").dropped == (("subtitle #1 (ass)", "MP4 cannot hold ass; .mkv can"),)
    plan, report, _, _ = round_trip(source, tmp_path / "out.mkv", FAST)
    assert plan.dropped == ()
    assert packet_counts(report) == {1: 2}
    packets = ffprobe(tmp_path / "out.mkv", "-show_packets", "-select_streams", "1")["packets"]
    assert [p["pts"] for p in packets] == [200, 200]


def test_timecode_is_written_anew(tmp_path):
    source = make_clip(tmp_path / "in.mov", frames=25, stream_metadata=[{"timecode": "01:02:03:04"}])
    assert [s["codec_type"] for s in probe_streams(source)] == ["video", "data"]
    plan, *_ = round_trip(source, tmp_path / "out.mov", FAST)
    assert plan.dropped == ()
    streams = probe_streams(tmp_path / "out.mov")
    assert [s["codec_type"] for s in streams] == ["video", "data"]
    assert streams[1]["tags"]["timecode"] == "01:02:03:04"
    plan, *_ = round_trip(source, tmp_path / "part.mov", FAST, start=0.5)
    assert "the video's timecode" in dict(plan.dropped)
    assert "timecode" not in probe_streams(tmp_path / "part.mov")[0]["tags"]


def test_second_video_is_copied_as_it_is(tmp_path):
    main, other = make_clip(tmp_path / "a.mkv", frames=20), make_clip(tmp_path / "b.mkv", frames=20, size=(32, 32))
    both = tmp_path / "both.mkv"
    with av.open(str(main)) as a, av.open(str(other)) as b, av.open(str(both), "w") as new:
        streams = [new.add_stream_from_template(c.streams.video[0], opaque=True) for c in (a, b)]
        for container, stream in zip((a, b), streams, strict=True):
            for packet in container.demux():
                if packet.size:
                    packet.stream = stream
                    new.mux(packet)
    plan, report, _, _ = round_trip(both, tmp_path / "out.mkv", FAST)
    assert plan.notes == ("video #1 (h264) is copied as it is, not upscaled",)
    assert packet_counts(report) == {1: 20}
    assert [s["width"] for s in probe_streams(tmp_path / "out.mkv")] == [128, 32]


def test_sound_that_begins_before_and_ends_after_the_picture(tmp_path):
    source = make_clip(tmp_path / "in.mkv", pts=[25 + i for i in range(25)], audio=["pcm_s16le"], audio_start=0)
    out = tmp_path / "out.mkv"
    round_trip(source, out, FAST)
    for index in (0, 1):
        starts = [float(probe_streams(path)[index]["start_time"]) for path in (source, out)]
        assert starts[0] == starts[1]


def test_priming_of_mp4_sound(tmp_path):
    source = make_clip(tmp_path / "in.mp4", frames=25, audio=["aac"])
    for name in ("out.mp4", "out.mkv"):
        round_trip(source, tmp_path / name, FAST)
        video, sound = probe_streams(tmp_path / name)
        assert float(video["start_time"]) == pytest.approx(0, abs=0.03)
        assert float(video["start_time"]) - float(sound["start_time"]) == pytest.approx(0, abs=0.03)


def test_sound_that_an_edit_list_hides_stays_hidden(tmp_path):
    source = make_clip(tmp_path / "in.mp4", frames=25, audio=["aac"], audio_start=-0.2)
    with av.open(str(source)) as container:
        hidden = sum(p.is_discard for p in container.demux(audio=0))
    assert hidden > 3
    for name in ("out.mkv", "out.mp4"):
        _, report, _, _ = round_trip(source, tmp_path / name, FAST)
        video, sound = probe_streams(tmp_path / name)
        assert float(video["start_time"]) == pytest.approx(0, abs=0.03)
        assert float(sound["start_time"]) == pytest.approx(0, abs=0.03)
        assert packet_counts(report)[1] == len(payloads(source, 1)) - (hidden if name == "out.mkv" else 0)


def test_sounds_that_come_behind_the_first_picture_are_tried_beforehand(tmp_path):
    tone = ("-f", "lavfi", "-i", "sine=duration=1")
    picture = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=1")
    source = run(tmp_path, "in.ts", *picture, *tone, "-c:v", "libx264", "-c:a", "aac")
    with open_source(source) as opened:
        assert opened.samples.keys() == {1}
        assert opened._ahead, "the sound came first: this tries nothing"
        plan = plan_output(opened, "out.mkv", FAST)
    assert plan.changes is not None
    assert not any("could not be tried" in note for note in plan.notes)
    round_trip(source, tmp_path / "out.mkv", FAST)
    assert payloads(tmp_path / "out.mkv", 1)


def test_reading_on_for_a_sound_that_never_comes_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(source_module, "_AHEAD", 1000)
    path = make_clip(tmp_path / "in.mkv", codec="ffv1", frames=50, audio=["aac"], audio_start=1)
    with open_source(path) as opened:
        assert opened.samples == {}
        assert len(opened._ahead) < 5
        assert sum(isinstance(item, Frame) for item in opened.items()) == 50


@pytest.mark.parametrize("name", ["out.mov", "out.mp4"])
def test_what_a_phone_says_of_a_video_is_kept(tmp_path, name):
    phone = {
        "com.apple.quicktime.make": "Apple",
        "com.apple.quicktime.location.ISO6709": "+48.1+011.5/",
        "com.apple.quicktime.creationdate": "2024-01-01T00:00:00+0100",
    }
    usual = {"title": "A film", "comment": "Words", "creation_time": "2024-01-01T00:00:00.000000Z"}
    options = {"movflags": "use_metadata_tags"}
    source = make_clip(tmp_path / "in.mov", frames=3, metadata=phone | usual, muxer_options=options)
    plan, *_ = round_trip(source, tmp_path / name, FAST)
    assert plan.dropped == ()
    tags = ffprobe(tmp_path / name, "-show_format")["format"]["tags"]
    assert (phone | usual).items() <= tags.items()


def test_wma_goes_into_matroska(tmp_path):
    source = make_clip(tmp_path / "in.wmv", codec="mpeg4", frames=25, audio=["wmav2"])
    plan, *_ = round_trip(source, tmp_path / "out.mkv", FAST)
    assert plan.dropped == ()
    assert [s["codec_name"] for s in probe_streams(tmp_path / "out.mkv")] == ["h264", "wmav2"]
    assert payloads(tmp_path / "out.mkv", 1) == payloads(source, 1)
    with open_source(source) as opened:
        assert plan_output(opened, "out.mp4").dropped == (("audio #1 (wmav2)", "MP4 cannot hold wmav2; .mkv can"),)


def test_rounded_times_do_not_drift_in_mp4(tmp_path):
    # Like TrueHD: packets shorter than Matroska's millisecond, so that times repeat.
    source = tmp_path / "in.mkv"
    with av.open(str(make_clip(tmp_path / "v.mkv", frames=25, audio=["aac"]))) as old, av.open(str(source), "w") as new:
        streams = [new.add_stream_from_template(s, opaque=True) for s in old.streams]
        packets = [p for p in old.demux() if p.size]
        payload = next(bytes(p) for p in packets if p.stream_index == 1)
        for packet in packets:
            if packet.stream_index == 0:
                packet.stream = streams[0]
                new.mux(packet)
        for number in range(1200):
            packet = av.Packet(payload)
            packet.pts = packet.dts = number * 1000 // 1200
            packet.duration, packet.time_base, packet.stream = 1, Fraction(1, 1000), streams[1]
            new.mux(packet)
    for name in ("out.mkv", "out.mp4"):
        _, report, _, _ = round_trip(source, tmp_path / name, FAST)
        assert packet_counts(report) == {1: 1200}
        times = [
            float(p["pts_time"]) for p in ffprobe(tmp_path / name, "-show_packets", "-select_streams", "1")["packets"]
        ]
        assert times == pytest.approx([number * 1000 // 1200 / 1000 for number in range(1200)], abs=0.0001)
