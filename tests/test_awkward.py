"""A result can replace its source: every promise, on every awkward clip, as two other programs read it.

The readers are Debian's ffprobe and mkvmerge, which share no line with the FFmpeg that writes.
"""

import json
import logging
import math
import re
import shutil
import subprocess
from collections import Counter
from itertools import pairwise, product

import av
import pytest
from av.sidedata.sidedata import Type

from awkward import CLIPS
from media_samples import ffprobe
from rfdn_stream import upscale

CONTAINERS, CODECS = ("mkv", "mp4"), ("libx264", "libx265", "libsvtav1")
PRESETS = {"libx264": "ultrafast", "libx265": "ultrafast", "libsvtav1": "12"}
OUTPUTS = list(product(CONTAINERS, CODECS))
IN_ONE_GO, IN_SEGMENTS = 10, 0
CASES = [
    pytest.param(name, *output, IN_ONE_GO, id=f"{name}-{'-'.join(output)}")
    for number, (name, clip) in enumerate(CLIPS.items())
    for output in (OUTPUTS if clip.everywhere else [OUTPUTS[number % len(OUTPUTS)]])
] + [
    pytest.param(name, CONTAINERS[number // 3 % 2], CODECS[(number + 1) % 3], IN_SEGMENTS, id=f"{name}-in-segments")
    for number, name in enumerate(CLIPS)
]
COLOUR = ("color_range", "color_space", "color_transfer", "color_primaries", "chroma_location")
STATIC_HDR = ("Mastering display metadata", "Content light level metadata")
TAGS_OF_MUXERS = {"encoder", "major_brand", "minor_version", "compatible_brands", "duration", "software"}


class File:
    """A file as ffprobe sees it."""

    def __init__(self, path):
        self.path = path
        everything = ffprobe(path, "-show_streams", "-show_format", "-show_chapters", "-show_packets", "-show_frames",
                             "-show_data_hash", "md5")  # fmt: skip
        self.streams, self.chapters = everything["streams"], everything["chapters"]
        packets, frames = (
            [one for one in everything["packets_and_frames"] if one["type"] == kind] for kind in ("packet", "frame")
        )
        self.tags = {key.lower(): value for key, value in everything["format"].get("tags", {}).items()}
        # The clock of a broadcast began anywhere: what is made of one counts from its first time.
        broadcast = everything["format"]["format_name"] in ("mpegts", "mpeg")
        self.origin = float(everything["format"]["start_time"]) if broadcast else 0.0
        self.video = next(s for s in self.streams if s["codec_type"] == "video" and not is_cover(s))
        self.packets = {s["index"]: [p for p in packets if p["stream_index"] == s["index"]] for s in self.streams}
        self.frames = [f for f in frames if f["stream_index"] == self.video["index"]]

    @property
    def times(self):
        return [float(frame.get("best_effort_timestamp_time", "nan")) - self.origin for frame in self.frames]

    def others(self):
        """Streams beside the main video."""
        return [s for s in self.streams if s is not self.video]

    def side_data(self, frame=0):
        """The frame's side data by kind."""
        return {data["side_data_type"]: data for data in self.frames[frame].get("side_data_list", [])}


def is_cover(stream):
    return bool(stream["disposition"]["attached_pic"])


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Clips by name, with what ffprobe says of them; each is made once."""
    if shutil.which("ffprobe") is None or shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    made = {}

    def source(name):
        if name not in made:
            path = CLIPS[name].make(tmp_path_factory.mktemp(name))
            made[name] = File(path)
        return made[name]

    return source


@pytest.mark.parametrize(("name", "container", "codec", "segment"), CASES)
def test_every_promise(sources, tiny_model, tmp_path, caplog, name, container, codec, segment):
    clip, before = CLIPS[name], sources(name)
    with caplog.at_level(logging.INFO, "rfdn_stream"):
        result = upscale(
            before.path, tmp_path / f"out.{container}", model=tiny_model, engine="torch", codec=codec,
            preset=PRESETS[codec], segment=segment, **clip.options,
        )  # fmt: skip
    told = [record.getMessage() for record in caplog.records]
    assert [path.name for path in tmp_path.iterdir()] == [f"out.{container}"]
    after = File(result.target)
    wanted = [text for key, texts in clip.says.items() for text in texts if key in (container, codec, "")]
    for text in wanted:
        assert any(re.search(text, line) for line in told), told
    losses = [line for line in told if line.startswith("not kept")]
    assert len(losses) == sum("not kept" in text for text in wanted), losses

    every_frame_at_its_time(clip, before, after, result, container)
    colour_is_kept_and_said(before, after, codec)
    assert (after.video["width"], after.video["height"]) == (2 * before.video["width"], 2 * before.video["height"])
    streams_are_kept(before, after, container, losses)
    assert [c["tags"] for c in after.chapters] == [c["tags"] for c in before.chapters]
    assert [(c["start_time"], c["end_time"]) for c in after.chapters] == [
        (c["start_time"], c["end_time"]) for c in before.chapters
    ]
    for key, value in before.tags.items():
        named = any(f"tags {key}" in line.lower() for line in losses)
        assert key in TAGS_OF_MUXERS or named or after.tags[key] == value
    if container == "mkv":
        mkvmerge_agrees(after, clip)
    for promise in clip.holds:
        PROMISES[promise](before, after, container, codec)


def every_frame_at_its_time(clip, before, after, result, container):
    tolerance = 0.0006 if container == "mkv" else 0.0001
    if clip.frames is None:
        assert len(after.frames) == len(before.frames) == result.frames
        for old, new in zip(before.times, after.times, strict=True):  # AVI and MPEG-PS do not say all
            assert math.isnan(old) or new == pytest.approx(old, abs=tolerance)
    elif clip.frames > 0:
        assert len(after.frames) == result.frames == clip.frames
        assert after.times[0] == pytest.approx(before.times[0], abs=tolerance)
    else:
        assert len(after.frames) == result.frames > 5
        assert set(after.times) < {round(number / 25, 6) for number in range(200)}
    assert after.times == sorted(set(after.times))


def bits(format):
    found = re.search(r"(?:p|gray)(\d+)le$", format)
    return int(found[1]) if found else 8


def colour_is_kept_and_said(before, after, codec):
    old, new = before.video, after.video
    assert bits(new["pix_fmt"]) >= min(bits(old["pix_fmt"]), 12 if codec == "libx265" else 10)
    assert {new["color_range"], new["color_space"]}.isdisjoint({"unknown", None})
    if "rgb" not in old["pix_fmt"] and "gbr" not in old["pix_fmt"] and old["pix_fmt"] != "bgra":
        for key in COLOUR:
            if old.get(key, "unknown") not in ("unknown", "unspecified"):
                chroma = key == "chroma_location" and ("444" in new["pix_fmt"] or codec == "libsvtav1")
                assert new.get(key) == old[key] or chroma, key


def streams_are_kept(before, after, container, losses):
    """Each stream is there with its packets, language and title, or was named before work started."""
    kept = [s for s in before.others() if not any(f"#{s['index']} " in line for line in losses)]
    kept = [s for s in kept if s["codec_type"] != "data"]  # chapters and timecode, written anew
    found = [s for s in after.others() if s["codec_type"] != "data"]
    assert [kind_of(s) for s in found] == [kind_of(s) for s in sorted(kept, key=lambda s: is_cover(s))] or (
        [kind_of(s) for s in found] == [kind_of(s) for s in kept]
    )
    for old in kept:
        if old["codec_type"] not in ("audio", "subtitle"):
            continue
        same = [s for s in kept if s["codec_type"] == old["codec_type"]]
        new = [s for s in found if s["codec_type"] == old["codec_type"]][same.index(old)]
        assert new["tags"].get("language", "und") == old.get("tags", {}).get("language", "und")
        with av.open(str(after.path)) as file:  # FFmpeg 5.1 does not look where MP4 has the title
            tags = file.streams[new["index"]].metadata
            assert tags.get("title", tags.get("name")) == old.get("tags", {}).get("title")
        for word, value in old["disposition"].items():
            assert new["disposition"][word] == value or word == "default", word
        if old["codec_name"] == new["codec_name"]:
            hashes = [Counter(p["data_hash"] for p in file.packets[s["index"]] if int(p["size"]) > 2) for file, s in
                      ((before, old), (after, new))]  # fmt: skip
            assert not hashes[1] - hashes[0]
            assert sum((hashes[0] - hashes[1]).values()) <= 1  # the priming that an edit list hides
        times = [[float(p["pts_time"]) - file.origin for p in file.packets[s["index"]] if int(p["size"]) > 2]
                 for file, s in ((before, old), (after, new))]  # fmt: skip
        assert times[0] != sorted(times[0]) or times[1] == pytest.approx(times[0][-len(times[1]) :], abs=0.0015)


def kind_of(stream):
    text = stream.get("codec_name") in ("subrip", "mov_text")
    return stream["codec_type"], "text" if text else stream.get("codec_name"), is_cover(stream)


def mkvmerge(path):
    if shutil.which("mkvmerge") is None:
        pytest.skip("mkvmerge is not installed")
    result = subprocess.run(["mkvmerge", "-J", str(path)], check=True, capture_output=True, text=True)
    return json.loads(result.stdout)


def mkvmerge_agrees(after, clip):
    seen = mkvmerge(after.path)
    assert (seen["errors"], seen["warnings"]) == ([], [])
    assert seen["container"]["recognized"]
    assert seen["container"]["supported"]
    video = next(t for t in seen["tracks"] if t["type"] == "video")["properties"]
    assert video["pixel_dimensions"] == f"{after.video['width']}x{after.video['height']}"
    assert len(seen["tracks"]) == sum(s["codec_type"] in ("video", "audio", "subtitle") for s in after.streams) - sum(
        map(is_cover, after.streams)
    )
    if "rich" in clip.holds:
        covers = sum(map(is_cover, after.streams))
        assert len(seen["attachments"]) == covers + sum(s["codec_type"] == "attachment" for s in after.streams)
        assert sum(chapter["num_entries"] for chapter in seen["chapters"]) == 2
    if "hdr" in clip.holds:
        assert (video["max_content_light"], video["max_frame_light"]) == (1000, 400)
        assert (video["max_luminance"], video["min_luminance"]) == pytest.approx((1000, 0.005))
        assert video["chromaticity_coordinates"] == "0.68,0.32,0.265,0.69,0.15,0.06"
    if "stereo" in clip.holds:
        assert video["stereo_mode"] == 3


# --- promises of some clips: (before, after, container, codec) --------------------------------------------------


def hdr(before, after, container, codec):
    """Static HDR is in the container, and in the bitstream where the encoder writes it."""
    kinds = {data["side_data_type"]: data for data in after.video["side_data_list"]}
    for place in (kinds, after.side_data())[: 1 if codec == "libx264" else 2]:  # FFmpeg 5.1 reads none from H.264
        mastering, light = (place[kind] for kind in STATIC_HDR)
        assert eval_ratio(mastering["max_luminance"]) == pytest.approx(1000)
        assert eval_ratio(mastering["red_x"]) == pytest.approx(0.68, abs=1e-4)
        assert (light["max_content"], light["max_average"]) == (1000, 400)


def eval_ratio(text):
    numerator, _, denominator = text.partition("/")
    return int(numerator) / int(denominator)


def hdr10_plus(before, after, container, codec):
    """Each picture's own message comes out with it."""
    kind = "HDR Dynamic Metadata SMPTE2094-40 (HDR10+)"
    for number in range(len(after.frames)):
        found = [file.side_data(number).get(kind) for file in (before, after)]
        assert found[0]["average_maxrgb"] == f"{20_000 + number}/100000"
        if codec == "libx265":  # FFmpeg 5.1 does not read it from AV1
            assert found[1] == found[0]
    if codec == "libx264":
        return
    with av.open(str(before.path)) as old, av.open(str(after.path)) as new:
        for one, other in zip(old.decode(video=0), new.decode(video=0), strict=True):
            assert bytes(one.side_data[Type.DYNAMIC_HDR_PLUS]) == bytes(other.side_data[Type.DYNAMIC_HDR_PLUS])


def aspect(before, after, container, codec):
    assert after.video["sample_aspect_ratio"] == before.video["sample_aspect_ratio"] == "16:11"


def rotation(before, after, container, codec):
    (turn,) = (d["rotation"] for d in before.video["side_data_list"] if "rotation" in d)
    if container == "mp4":
        assert [d["rotation"] for d in after.video["side_data_list"] if "rotation" in d] == [turn]
    with av.open(str(after.path)) as file:  # FFmpeg 5.1 reads no roll from Matroska
        assert next(file.decode(video=0)).rotation == pytest.approx(turn)


def interlaced(before, after, container, codec):
    assert {frame["interlaced_frame"] for frame in before.frames} == {1}
    assert {frame["interlaced_frame"] for frame in after.frames} == {0}


def stereo(before, after, container, codec):
    kinds = {data["side_data_type"]: data for data in after.video["side_data_list"]}
    assert kinds["Stereo 3D"]["type"] == "top and bottom"


def spherical(before, after, container, codec):
    kinds = {data["side_data_type"]: data for data in after.video["side_data_list"]}
    found = kinds["Spherical Mapping"]
    assert (found["projection"], found["yaw"], found["pitch"], found["roll"]) == ("equirectangular", 90, 10, -5)


def captions(before, after, container, codec):
    kind = "ATSC A53 Part 4 Closed Captions"
    assert all(kind in before.side_data(number) for number in range(len(before.frames)))
    if codec != "libsvtav1":
        assert all(kind in after.side_data(number) for number in range(len(after.frames)))


def rich(before, after, container, codec):
    assert len(after.chapters) == 2
    assert after.tags["title"] == "A film"
    assert sum(map(is_cover, after.streams)) == 1
    assert any(s["codec_type"] == "attachment" for s in after.streams) == (
        container == "mkv" and any(s["codec_type"] == "attachment" for s in before.streams)
    )


def timecode(before, after, container, codec):
    tags = {key.lower(): value for key, value in after.video["tags"].items()}
    assert tags["timecode"] == "01:02:03:04"


def joined(before, after, container, codec):
    """The second recording follows the first, picture and sound alike."""
    steps = [b - a for a, b in pairwise(after.times)]
    assert steps == pytest.approx([0.04] * 19, abs=0.01)
    (sound,) = (s["index"] for s in after.others())
    times = [float(p["pts_time"]) for p in after.packets[sound]]
    assert max(b - a for a, b in pairwise(times)) < 0.1
    assert times[-1] == pytest.approx(after.times[-1], abs=0.1)


PROMISES = {
    function.__name__: function
    for function in (hdr, hdr10_plus, aspect, rotation, interlaced, stereo, spherical, captions, rich, timecode, joined)
}
