"""Whole jobs with a tiny network and real encoders: what is kept, what is refused, what is left behind."""

import json
import logging
import os
import shutil
import subprocess
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from rfdn_stream import Upscaler, upscale
from rfdn_stream.errors import MediaError, ModelError, UsageError
from rfdn_stream.media.reader import open_source
from support import EXAMPLES, assert_frames_equal, save_tiny

BUNNY = EXAMPLES / "bunny.mp4"
FAST = {"preset": "ultrafast"}


@pytest.fixture
def job(tmp_path, tiny_model):
    """`upscale` with the tiny network, into the test's folder."""

    def run(source, name="out.mkv", **options):
        return upscale(source, tmp_path / name, model=options.pop("model", tiny_model), **options)

    return run


def probe(path):
    """What Debian's ffprobe says of a file; it must not complain."""
    if shutil.which("ffprobe") is None:
        pytest.skip("ffprobe is not installed")
    command = ["ffprobe", "-v", "warning", "-show_streams", "-show_format", "-of", "json", "-count_packets", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    return json.loads(result.stdout)


def packets(path, kind):
    """(time in seconds, bytes) of the packets of the first stream of a kind."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(stream) if p.size]


def test_a_real_film_keeps_sound_time_and_colour(job, clips, tmp_path):
    source = clips / "bigbuckbunny.mp4"
    result = job(source, duration=1, **FAST)
    assert (result.frames, result.width, result.height) == (25, 2560, 1440)
    streams = probe(result.target)["streams"]
    assert [s["codec_type"] for s in streams] == ["video", "audio"]
    video, audio = streams
    assert (video["codec_name"], video["pix_fmt"], video["color_range"]) == ("h264", "yuv420p", "tv")
    assert (video["color_space"], video["chroma_location"]) == ("bt709", "left")
    assert (audio["codec_name"], audio["channels"]) == ("aac", 6)
    want = [(t, b) for t, b in packets(source, "audio") if t < 1]
    got = packets(result.target, "audio")
    assert [b for _, b in got] == [b for _, b in want]
    assert max(abs(a - b) for (a, _), (b, _) in zip(got, want, strict=True)) <= Fraction(1, 1000)
    times = [t for t, _ in packets(source, "video")][:25]
    assert max(abs(a - b) for (a, _), b in zip(packets(result.target, "video"), sorted(times))) <= Fraction(1, 1000)


def test_the_file_door_gives_the_upscaler_s_pixels(job, tiny_model):
    """Through a lossless encoder, what is in the file is what the engine gave."""
    result = job(BUNNY, codec="ffv1", duration=0.3)
    with open_source(BUNNY) as source, open_source(result.target) as made, Upscaler(tiny_model) as upscaler:
        frames = (item for item in source.items() if hasattr(item, "planes"))
        for got in (item for item in made.items() if hasattr(item, "planes")):
            want = upscaler.submit(next(frames)).result()
            for a, b in zip(got.planes, want.planes, strict=True):
                np.testing.assert_array_equal(a, b)


def test_batches_change_nothing_in_the_file(job):
    """Every frame, in order, with its time; torch may round a code otherwise in a batch."""
    how = {"codec": "ffv1", "duration": 0.3, "device": "cpu", "engine": "torch", "precision": "fp32"}
    alone, batched = (job(BUNNY, f"{batch}.mkv", batch=batch, **how) for batch in (None, 3))
    assert batched.frames == alone.frames > 3
    with open_source(alone.target) as one, open_source(batched.target) as other:
        frames, others = ([i for i in source.items() if hasattr(i, "planes")] for source in (one, other))
    for got, want in zip(others, frames, strict=True):
        assert_frames_equal(got, want, codes=1)


@pytest.mark.parametrize("extension", [".mkv", ".mp4", ".mov"])
def test_every_container_is_read_back(job, extension):
    result = job(BUNNY, f"out{extension}", duration=0.2, **FAST)
    info = probe(result.target)
    assert [s["codec_type"] for s in info["streams"]] == ["video", "audio"]
    assert info["format"]["tags"]["title"] == "Big Buck Bunny (excerpt)"


def test_ten_bits_stay_ten_bits(job, tmp_path):
    source = tmp_path / "deep.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        stream.codec_context.color_primaries, stream.codec_context.color_trc = 9, 16
        stream.codec_context.colorspace, stream.codec_context.color_range = 9, 1
        for number in range(3):
            frame = av.VideoFrame(64, 48, "yuv420p10le")
            for plane in frame.planes:
                plane.update(np.full(plane.buffer_size // 2, 300 + 50 * number, "<u2").tobytes())
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    video = probe(job(source, **FAST).target)["streams"][0]
    assert (video["codec_name"], video["pix_fmt"]) == ("hevc", "yuv420p10le")
    assert (video["color_primaries"], video["color_transfer"], video["color_space"]) == (
        "bt2020",
        "smpte2084",
        "bt2020nc",
    )


def test_guesses_are_said(job, clips, caplog):
    with caplog.at_level(logging.INFO, "rfdn_stream"):
        job(clips / "carphone_pristine.mp4", duration=0.1, **FAST)
    assert "does not say how its colour is meant; taken as players take it: matrix bt601" in caplog.text


def test_damage_in_the_middle_is_counted_and_the_job_goes_on(job, tmp_path, caplog):
    """Four packets in the middle filled with noise; the index of the file stays whole."""
    damaged, random = tmp_path / "damaged.mp4", np.random.default_rng(0)
    data = bytearray(BUNNY.read_bytes())
    with av.open(str(BUNNY)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size][20:24]
    for start, size in places:
        data[start + 8 : start + size] = random.bytes(size - 8)
    damaged.write_bytes(data)
    result = job(damaged, **FAST)
    assert 46 <= result.frames <= 50
    assert "the source is damaged in" in caplog.text
    assert "0.8" in caplog.text  # seconds; frame 20 of 25 a second


def test_a_cut_off_file_is_said(job, tmp_path, caplog):
    whole, cut = job(BUNNY, "whole.mkv", **FAST).target.read_bytes(), tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) // 3])
    result = job(cut, **FAST)
    assert 0 < result.frames < 40
    assert "the source is damaged" in caplog.text


def test_a_failing_network_leaves_nothing_and_harms_nothing(job, tmp_path):
    model = save_tiny(tmp_path / "huge.safetensors", LR_conv__bias=3e38, upsampler__0__bias=3e38)
    out = tmp_path / "out.mkv"
    out.write_text("precious")
    with pytest.raises(ModelError, match="NaN or infinite"):
        job(BUNNY, model=model, overwrite=True, duration=0.2)
    assert out.read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["huge.safetensors", "out.mkv"]


def test_overwriting_replaces_only_when_whole(job, tmp_path):
    out = tmp_path / "out.mkv"
    out.write_text("old")
    with pytest.raises(UsageError, match="pass --overwrite"):
        job(BUNNY)
    assert out.read_text() == "old"
    job(BUNNY, overwrite=True, duration=0.1, **FAST)
    assert out.stat().st_size > 1000


def test_the_input_is_never_the_output(tmp_path, tiny_model):
    copy = tmp_path / "clip.mp4"
    shutil.copy(BUNNY, copy)
    (tmp_path / "link.mp4").symlink_to(copy)
    with pytest.raises(UsageError, match="is the input itself"):
        upscale(copy, tmp_path / "link.mp4", model=tiny_model, overwrite=True)
    assert copy.read_bytes() == BUNNY.read_bytes()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder(tmp_path, tiny_model):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot write into"):
        upscale(BUNNY, tmp_path / "out.mkv", model=tiny_model)


def test_a_folder_that_cannot_be_written(tiny_model):
    with pytest.raises(UsageError, match="cannot write into /proc"):
        upscale(BUNNY, "/proc/out.mkv", model=tiny_model)


def test_a_file_that_is_changed_behind_the_back_does_not_pass(job, tmp_path, monkeypatch):
    """The check before the rename: a result with fewer frames than were written is no result."""
    from rfdn_stream.jobs import proof

    real = proof.verify

    def tampered(path, report):
        report.frames += 1
        real(path, report)

    monkeypatch.setattr(proof, "verify", tampered)
    with pytest.raises(MediaError, match="5 frames instead of 6"):
        job(BUNNY, duration=0.2, **FAST)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("rgb.png", (20, 24, 3), np.uint8),
        ("deep.png", (20, 24, 3), np.uint16),
        ("grey.png", (20, 24), np.uint8),
        ("alpha.png", (20, 24, 4), np.uint8),
        ("rgb.tiff", (21, 25, 3), np.uint8),
        ("rgb.webp", (20, 24, 3), np.uint8),
        ("rgb.jpg", (20, 24, 3), np.uint8),
    ],
)
def test_images_of_every_kind(job, tmp_path, name, shape, dtype):
    random = np.random.default_rng(0)
    image = random.integers(0, np.iinfo(dtype).max + 1, shape, dtype)
    cv2.imwrite(str(tmp_path / name), image)
    result = job(tmp_path / name, f"big-{name}")
    big = cv2.imread(str(result.target), cv2.IMREAD_UNCHANGED)
    assert big.shape == (2 * shape[0], 2 * shape[1], *shape[2:])
    assert big.dtype == dtype
    assert (result.width, result.height, result.frames) == (2 * shape[1], 2 * shape[0], 1)


def test_a_grey_image_becomes_a_webp(job, tmp_path):
    """Which has no grey, so that it comes back as three components."""
    cv2.imwrite(str(tmp_path / "grey.png"), np.random.default_rng(0).integers(0, 256, (20, 24), np.uint8))
    assert job(tmp_path / "grey.png", "big.webp").proof.mode == "fast"


def test_a_size_that_the_format_does_not_hold_is_known_before_work(job, tmp_path, monkeypatch):
    monkeypatch.setattr(Upscaler, "submit", None)
    for name in ("wide.png", "wide_1.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8200, 3), np.uint8))
    for source, target in (("wide.png", "out.webp"), ("wide_*.png", "out_%d.webp"), ("wide_*.png", "out.webp")):
        with pytest.raises(UsageError, match=r"the result is 16400x16, and \.webp holds 16383 pixels a side"):
            job(tmp_path / source, target)
    assert sorted(os.listdir(tmp_path)) == ["wide.png", "wide_1.png"]


def test_an_image_is_what_the_upscaler_gives(job, tiny_model):
    result = job(EXAMPLES / "bunny.png", "out.png")
    rgb = cv2.imread(str(EXAMPLES / "bunny.png"))[..., ::-1]
    with Upscaler(tiny_model) as upscaler:
        np.testing.assert_array_equal(cv2.imread(str(result.target))[..., ::-1], upscaler(rgb))


def test_times_are_exact_for_a_variable_rate(job, tmp_path):
    source, ticks = tmp_path / "vfr.mkv", [7, 40, 41, 173, 174, 900]
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=FAST)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, pts in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    result = job(source, **FAST)
    assert sorted(t for t, _ in packets(result.target, "video")) == [Fraction(t, 1000) for t in ticks]
    with open_source(source) as a, open_source(result.target) as b:
        assert [f.pts for f in a.items()] == [f.pts for f in b.items()]


def test_reports_tell_the_limit(job):
    heard = []

    class Reporter:
        def note(self, text):
            heard.append(text)

        def event(self, kind, facts):
            heard.append(kind)

        def begin(self, what, frames):
            heard.append(frames)

        def frame(self, stages):
            heard.append(stages.limit)

        def end(self):
            heard.append("end")

    result = job(BUNNY, duration=0.2, reporter=Reporter(), **FAST)
    assert heard[-1] == "report"
    assert heard.index("plan") < heard.index(5) < heard.index("end")
    assert heard.count("decode") + heard.count("network") + heard.count("encode") == result.frames == 5
    assert 5 in heard
