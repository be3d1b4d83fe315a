"""Transparency beside the network, HDR10+ messages in packets, and pictures that change their size."""

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awkward import hdr10_plus_message
from media_samples import ffprobe, make_clip, round_trip
from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import MediaError
from rfdn_stream.media.dynamic_hdr import find_message, with_message
from rfdn_stream.media.onesize import OneSize, Shape

PREFIX = bytes.fromhex("b5003c000104")


def see_through(path, codec, format):
    """Two frames whose alpha rises from left to right."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, format
        for number in range(2):
            frame = av.VideoFrame(64, 48, format)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            alpha, bits = frame.planes[-1], frame.format.components[-1].bits
            row = np.linspace(0, (1 << bits) - 1, 64).astype(np.uint8 if bits == 8 else "<u2")
            padded = np.zeros((48, alpha.line_size // row.itemsize), row.dtype)
            padded[:, :64] = row
            alpha.update(padded.tobytes())
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def alpha_of(path):
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        plane, bits = frame.planes[-1], frame.format.components[-1].bits
        values = np.frombuffer(plane, np.uint8 if bits == 8 else "<u2").reshape(frame.height, -1)[:, : frame.width]
        return frame.format.name, values / ((1 << bits) - 1)


@pytest.mark.parametrize(
    ("codec", "format", "target"),
    [
        ("ffv1", "yuva420p", "mkv"), ("ffv1", "yuva444p10le", "mkv"), ("ffv1", "gbrap10le", "mkv"),
        ("prores_ks", "yuva444p10le", "mov"),
    ],
)  # fmt: skip
def test_alpha_is_enlarged_beside_the_colours(tmp_path, codec, format, target):
    source = see_through(tmp_path / f"in.{target}", codec, format)
    plan, *_ = round_trip(source, tmp_path / f"out.{target}", EncodeOptions(codec=codec))
    assert plan.dropped == ()
    (old, small), (new, large) = alpha_of(source), alpha_of(tmp_path / f"out.{target}")
    assert new == old
    assert large.shape == (96, 128)
    assert large[:, 0].max() < 0.02
    assert large[:, -1].min() > 0.98
    np.testing.assert_allclose(large.reshape(48, 2, 64, 2).mean((1, 3)), small, atol=0.02)
    assert ffprobe(tmp_path / f"out.{target}", "-show_streams")["streams"][0]["pix_fmt"].startswith(format[:4])


@pytest.mark.parametrize(("codec", "target"), [("ffv1", "mkv"), ("prores_ks", "mov")])
def test_alpha_of_rgb_is_kept_as_it_is(tmp_path, codec, target):
    """As GIF, APNG and PNG in MOV have it; what is opaque stays so."""
    rgba = np.zeros((48, 64, 4), np.uint8)
    rgba[..., 0], rgba[:, 32:, 3] = 200, 255
    with av.open(str(tmp_path / "in.mov"), "w") as output:
        stream = output.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgba"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, "rgba")))
        output.mux(stream.encode(None))
    plan, *_ = round_trip(tmp_path / "in.mov", tmp_path / f"out.{target}", EncodeOptions(codec=codec))
    assert plan.dropped == ()
    _, alpha = alpha_of(tmp_path / f"out.{target}")
    assert (alpha[:, 72:] == 1).all()
    assert (alpha[:, :56] < 0.5 / 255).all()


@pytest.mark.parametrize(("codec", "format"), [("ffv1", "yuva420p"), ("png", "rgba"), ("qtrle", "argb")])
def test_alpha_that_is_lost_is_told(tmp_path, codec, format):
    source = see_through(tmp_path / "in.mov" if codec != "ffv1" else tmp_path / "in.mkv", codec, format)
    plan, *_ = round_trip(source, tmp_path / "out.mkv", EncodeOptions(preset="ultrafast"))
    assert plan.dropped == (
        ("transparency", "libx264 gets none; ffv1 in .mkv and prores_ks in .mov keep it, at its own depth"),
    )


@pytest.mark.parametrize("format", ["gray", "yuv420p12le"])
def test_formats_that_have_no_twin_with_alpha_lose_it(tmp_path, format):
    source = see_through(tmp_path / "in.mkv", "ffv1", "yuva420p")
    plan, *_ = round_trip(source, tmp_path / "out.mkv", EncodeOptions(codec="ffv1", pix_fmt=format))
    assert [what for what, _ in plan.dropped] == ["transparency"]


@given(st.binary(min_size=0, max_size=600))
def test_any_message_survives_its_packet(body):
    """Also with bytes that look like start codes."""
    message = PREFIX + body
    hevc = b"\0\0\0\1\x46\x01\x50" + b"\0\0\1\x26\x01" + bytes(range(1, 20))
    made = with_message(hevc, "hevc", message)
    assert find_message(made, "hevc", None) == message
    assert made.startswith(b"\0\0\0\1\x46")  # the delimiter stays first
    assert made.endswith(b"\0\0\1\x26\x01" + bytes(range(1, 20)))
    av1 = b"\x12\x00" + b"\x0a\x02ab" + b"\x32\x03xyz"
    made = with_message(av1, "av1", message)
    assert find_message(made, "av1", None) == message
    assert made.startswith(b"\x12\x00\x0a\x02ab")
    assert made.endswith(b"\x32\x03xyz")


@pytest.mark.parametrize("packet", [b"", b"\0\0\1", PREFIX, b"\0\0\1\x4e\x01\x04\xff" + PREFIX, bytes(40) + PREFIX])
@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_broken_packets_hold_no_message(packet, codec):
    found = find_message(packet, codec, None)
    assert found is None or found.startswith(PREFIX)


def test_the_message_of_the_tests_is_what_decoders_read():
    assert hdr10_plus_message(3).startswith(PREFIX)


def test_another_shape_gets_bars_and_the_same_shape_none():
    wide = av.VideoFrame(128, 48, "yuv420p")
    for plane, value in zip(wide.planes, (180, 100, 150)):
        plane.update(bytes([value]) * plane.buffer_size)
    one_size = OneSize(Shape(64, 48, "yuv420p"))
    made = one_size.fitted(wide, Shape(128, 48, "yuv420p"))
    luma = np.frombuffer(made.planes[0], np.uint8).reshape(48, -1)[:, :64]
    assert (made.width, made.height) == (64, 48)
    assert (luma[:11] == 16).all()
    assert (luma[13:35] == 180).all()
    # Twice as wide, but of half as wide pixels: seen in the same shape.
    made = one_size.fitted(wide, Shape(128, 48, "yuv420p", Fraction(1, 2)))
    assert (np.frombuffer(made.planes[0], np.uint8).reshape(48, -1)[:, :64] == 180).all()


def test_absurd_sizes_midway_are_refused():
    one_size = OneSize(Shape(64, 48, "yuv420p"))
    with pytest.raises(MediaError, match="changes to 20000x48 yuv420p; each side must be 1 to 16384"):
        one_size.fitted(av.VideoFrame(64, 48, "yuv420p"), Shape(20000, 48, "yuv420p"))


def test_tags_without_a_place_are_named(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=2, metadata={"title": "A film", "SHELF": "3"})
    for target, lost in (("out.mkv", None), ("out.mp4", "SHELF"), ("out.ts", "SHELF, title"), ("out.flv", None)):
        plan, *_ = round_trip(source, tmp_path / target, EncodeOptions(preset="ultrafast"))
        assert [what for what, _ in plan.dropped] == ([f"the file's tags {lost}"] if lost else [])
