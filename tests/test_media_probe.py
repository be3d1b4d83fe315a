"""Opening: what is in a file, what is guessed, and one clear line where it cannot be read."""

from fractions import Fraction

import av
import numpy as np
import pytest

from media_samples import make_clip
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import FORMATS
from rfdn_stream.media.probe import scaled_matrix
from rfdn_stream.media.reader import open_source
from rfdn_stream.media.tags import ColorTags
from rfdn_stream.media.timeline import Span


def info(path, **clip):
    with open_source(make_clip(path, **clip)) as source:
        return source.info


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing.mp4", None, "does not exist"),
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", b"just some text\n" * 100, "is not a video file"),
        ("notes.txt", b"just some text\n" * 100, "is a text file"),
        ("zeros.mkv", bytes(10000), "is not a video file"),
    ],
)
def test_unreadable_files_are_named_in_one_line(tmp_path, name, content, says):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MediaError, match=says) as caught:
        open_source(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folder(tmp_path):
    with pytest.raises(MediaError, match="is a folder"):
        open_source(tmp_path)


def test_mp4_without_moov(tmp_path):
    path = make_clip(tmp_path / "whole.mp4", frames=30, size=(128, 96))
    data = path.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: data.index(b"moov") - 8])
    with pytest.raises(MediaError, match=r"without its index \(moov\).*cut off"):
        open_source(cut)


def test_audio_only(tmp_path):
    path = tmp_path / "sound.mka"
    with av.open(str(path), "w", format="matroska") as output:
        stream = output.add_stream("aac", rate=48000)
        for _ in range(5):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.int16), "s16", "stereo")
            block.sample_rate = 48000
            output.mux(stream.encode(block))
        output.mux(stream.encode(None))
    with pytest.raises(MediaError, match="no video stream; it holds audio"):
        open_source(path)


@pytest.mark.parametrize(
    ("name", "says"), [("none.mp4", "holds nothing"), ("none.mkv", "is not a video file.*or it is damaged")]
)
def test_header_without_frames(tmp_path, name, says):
    path = tmp_path / name
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height = 64, 48
        output.start_encoding()
    with pytest.raises(MediaError, match=says):
        open_source(path)


def test_absurd_size_is_refused_before_decoding(tmp_path):
    path = make_clip(tmp_path / "wide.nut", codec="rawvideo", size=(16386, 2), frames=1)
    with pytest.raises(MediaError, match="16386x2; each side must be 1 to 16384"):
        open_source(path)


@pytest.mark.parametrize("format", ["yuv420p16le", "gray16le"])
def test_unsupported_pixel_format_is_named(tmp_path, format):
    path = tmp_path / "clip.mov"
    with av.open(str(path), "w", format="nut") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, format
        frame = av.VideoFrame(32, 32, format)
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with pytest.raises(MediaError, match=f"pixel format {format} is not supported"):
        open_source(path)


def test_info_of_a_plain_clip(tmp_path):
    got = info(tmp_path / "clip.mkv", frames=12, sar=Fraction(16, 11), pts=[5 + i for i in range(12)])
    assert (got.width, got.height, got.format, got.codec) == (64, 48, FORMATS["yuv420p"], "h264")
    assert (got.rate, got.time_base, got.start_pts) == (25, Fraction(1, 1000), 200)
    assert got.sample_aspect_ratio == Fraction(16, 11)
    assert got.rotation == 0
    assert not got.interlaced
    assert got.duration == pytest.approx(0.68, abs=0.21)  # Matroska counts from 0


def test_rate_of_variable_times_is_their_average(tmp_path):
    assert info(tmp_path / "film.mp4", rate=Fraction(24000, 1001), time_base=Fraction(1001, 24000)).rate == Fraction(
        24000, 1001
    )
    times = [0, 33, 67, 101, 133, 166, 200, 233, 267, 301, 1000, 1033]
    assert 5 < info(tmp_path / "phone.mp4", pts=times, time_base=Fraction(1, 1000), rate=Fraction(30)).rate < 40


@pytest.mark.parametrize(
    ("degrees", "matrix"),
    [
        (90, [0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30]),
        (180, [-65536, 0, 0, 0, -65536, 0, 64 << 16, 48 << 16, 1 << 30]),
        (270, [0, -65536, 0, 65536, 0, 0, 0, 64 << 16, 1 << 30]),
    ],
)
def test_rotation_is_clockwise(tmp_path, degrees, matrix):
    assert info(tmp_path / "turned.mp4", matrix=matrix).rotation == degrees


def test_display_matrix_of_a_stretched_picture():
    quarter = (0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)  # moved right by the picture's height
    half = (-65536, 0, 0, 0, -65536, 0, 64 << 16, 48 << 16, 1 << 30)
    assert scaled_matrix(quarter, Fraction(2), Fraction(3)) == [*quarter[:6], 144 << 16, 0, 1 << 30]
    assert scaled_matrix(half, Fraction(2), Fraction(3)) == [*half[:6], 128 << 16, 144 << 16, 1 << 30]


def test_a_span_moves_all_streams_alike():
    span = Span.of(1.0005, 2.0, Fraction(0))
    for base in (Fraction(1, 1000), Fraction(1, 48000), Fraction(1, 90000), Fraction(1001, 30000)):
        for ticks in (0, 1, round(5 / base)):
            assert abs(span.moved(ticks, base) * base - (ticks * base - span.shift)) <= base / 2
    assert not span.holds(1000, Fraction(1, 1000))
    assert span.holds(1001, Fraction(1, 1000))
    assert not span.holds(3001, Fraction(1, 1000))


def test_interlaced_flag(tmp_path):
    interlaced = info(tmp_path / "tff.mkv", options={"x264-params": "tff=1"}, frames=3)
    assert interlaced.interlaced


def test_cover_art_is_not_the_video(tmp_path):
    got = info(tmp_path / "cover.mp4", cover=True)
    assert (got.width, got.codec) == (64, "h264")


@pytest.mark.parametrize(
    ("size", "tags", "matrix", "guessed"),
    [
        ((64, 48), {}, "bt601", ("matrix", "range")),
        ((1280, 16), {}, "bt709", ("matrix", "range")),
        ((16, 720), {}, "bt709", ("matrix", "range")),
        ((64, 48), {"color_primaries": 9, "color_range": 1}, "bt2020", ("matrix",)),
        ((64, 48), {"colorspace": 1, "color_range": 1}, "bt709", ()),
        ((64, 48), {"colorspace": 5, "color_range": 1}, "bt601", ()),
        ((1280, 16), {"colorspace": 6, "color_range": 1}, "bt601", ()),
        ((64, 48), {"colorspace": 9, "color_range": 1}, "bt2020", ()),
    ],
)
def test_matrix_is_read_or_guessed_as_players_do(tmp_path, size, tags, matrix, guessed):
    color = info(tmp_path / "clip.mkv", size=size, tags=tags, frames=1).color
    assert (color.matrix, color.range, color.siting, color.guessed) == (matrix, "limited", "left", guessed)


def test_full_range_by_tag_and_by_format(tmp_path):
    tagged = info(tmp_path / "tagged.mkv", tags={"color_range": 2}, frames=1)
    assert (tagged.format.name, tagged.color.range) == ("yuv420p", "full")
    jpeg = info(tmp_path / "jpeg.avi", codec="mjpeg", format="yuvj422p", frames=1)
    assert (jpeg.format.name, jpeg.color.range, jpeg.color.siting) == ("yuv422p", "full", "center")
    assert "range" not in jpeg.color.guessed


def test_siting_primaries_and_transfer_are_carried(tmp_path):
    tags = {"chroma_sample_location": 3, "color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1}
    color = info(tmp_path / "hdr.mkv", codec="libx265", format="yuv420p10le", tags=tags, frames=3).color
    assert (color.siting, color.primaries, color.transfer, color.guessed) == ("topleft", 9, 16, ())


@pytest.mark.parametrize(
    ("code", "name"), [(8, "YCgCo"), (10, "BT.2020 constant luminance"), (4, "FCC"), (14, "ICtCp")]
)
def test_matrices_without_a_kernel_are_refused(tmp_path, code, name):
    with pytest.raises(MediaError, match=f"clip.mkv: colour matrix {name} is not supported"):
        info(tmp_path / "clip.mkv", tags={"colorspace": code}, frames=1)


def test_guesses_by_codec():
    def meaning(format, codec, **tags):
        return ColorTags(**tags).interpret(FORMATS[format], 64, 48, codec)

    assert meaning("yuv420p", "mpeg1video").siting == "center"
    assert meaning("yuv420p", "vp9").siting == "left"
    assert "siting" in meaning("yuv420p", "vp9").guessed
    assert "siting" not in meaning("yuv444p", "vp9").guessed
    assert meaning("yuv420p", "vp9", siting=5).siting == "left"
    assert meaning("gray", "h264").range == "limited"
    assert meaning("gray", "ffv1").range == "full"
    assert meaning("gbrp", "ffv1").matrix == "rgb"
    with pytest.raises(MediaError, match="limited-range RGB"):
        meaning("gbrp", "ffv1", range=1)


def test_start_and_duration_are_checked(tmp_path):
    path = make_clip(tmp_path / "clip.mkv", frames=25)
    with pytest.raises(UsageError, match=r"nothing begins at 3 s or later; the file ends at 1\.000 s"):
        open_source(path, start=3)
    with pytest.raises(UsageError, match="must be 0 or later"):
        open_source(path, start=-1)
    with pytest.raises(UsageError, match="must be above 0"):
        open_source(path, duration=0)
