"""NVDEC and NVENC: FFmpeg's code for them is real, the driver below it is fake, the card is the host.

What only a card can show is at the end, marked `gpu`.
"""

import ctypes
import shutil
from itertools import count

import av
import numpy as np
import pytest
import torch

from fake_driver import Driver, build, scenes
from media_samples import frames_of, make_captioned_clip, make_clip
from rfdn_stream import Upscaler, upscale
from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import FORMATS, Frame
from rfdn_stream.media.card import Card
from rfdn_stream.media.hardware import explain
from rfdn_stream.media.output import plan_output
from rfdn_stream.media.reader import open_source
from support import EXAMPLES
from test_media_writer import HDR_PARAMS, HDR_TAGS

BUNNY = EXAMPLES / "bunny.mp4"


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, which builds the fake driver")
    folder = tmp_path_factory.mktemp("driver")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def driver(libraries):
    driver = Driver(libraries)
    yield driver
    driver.close()


@pytest.fixture
def partial_driver(libraries):
    """Makes drivers of which libraries are missing."""
    made = []

    def make(*present):
        for library in {"cuda": "libcuda.so.1", "nvcuvid": "libnvcuvid.so.1", "nvenc": "libnvidia-encode.so.1"}.items():
            if library[0] not in present and _is_installed(library[1]):
                pytest.skip(f"{library[1]} is installed on this machine")
        made.append(Driver(libraries, present))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


def _is_installed(library):
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """B-frames, sound that begins before the picture does, a width that is cropped from whole blocks."""
    return make_clip(
        tmp_path_factory.mktemp("clip") / "in.mkv",
        size=(84, 50),
        frames=40,
        options={"preset": "medium", "bf": "2", "b-adapt": "0"},
        audio=["aac"],
    )


@pytest.fixture(scope="module")
def deep_clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip") / "deep.mkv", codec="libx265", format="yuv420p10le", frames=6)


def coding_order(path):
    """The times of the video's packets."""
    with av.open(str(path)) as container:
        return [packet.pts for packet in container.demux(video=0) if packet.size]


def pattern(number, format, width, height):
    """What the fake NVDEC makes of picture `number` in coding order; see nvcuvid.c."""
    y, x = np.mgrid[:height, :width]
    cy, cx = np.mgrid[: -(-height // 2), : -(-width // 2)]
    planes = [x + 2 * y, np.stack((3 * cx + cy, cx + 3 * cy), axis=2)]
    codes = [16 + (5 * number + plane) % 200 for plane in planes]
    ten = FORMATS[format].bits == 10
    return [(4 * plane << 6 if ten else plane).astype(FORMATS[format].dtype) for plane in codes]


def assert_pattern(pictures, path, format, width, height, on_card):
    """Each picture is what NVDEC made of its packet, where it should be."""
    order = coding_order(path)
    for pts, _, name, planes, is_on_card in pictures:
        assert (name, is_on_card) == (format, on_card)
        for got, want in zip(planes, pattern(order.index(pts), format, width, height), strict=True):
            np.testing.assert_array_equal(got, want)


# Decoding


def test_nvdec_decodes_into_host_memory(driver, clip):
    said, pictures, damage = driver.run(scenes.decoded, clip, "cuda")
    assert said == "decoded by NVDEC into host memory"
    assert [p[:2] for p in pictures] == [f[:2] for f in frames_of(clip)]
    assert_pattern(pictures, clip, "nv12", 84, 50, on_card=False)
    assert damage == []


def test_frames_that_stay_on_the_card_never_come_to_the_host(driver, clip):
    """Eight of them are held at once, as many as the decoder's queue and the ring hold, and stay as they are."""
    said, pictures, _ = driver.run(scenes.decoded, clip, keep=True, ahead=8)
    assert said == "decoded by NVDEC, frames stay on the card"
    assert [p[:2] for p in pictures] == [f[:2] for f in frames_of(clip)]
    assert_pattern(pictures, clip, "nv12", 84, 50, on_card=True)
    assert driver.calls["copy from device to device"] == 2 * len(pictures)
    assert not [call for call in driver.calls if "host" in call or "context created" in call or "unexpected" in call]


def test_ten_bits_come_as_p010(driver, deep_clip):
    for keep in (False, True):
        _, pictures, _ = driver.run(scenes.decoded, deep_clip, "cuda", keep=keep)
        assert len(pictures) == 6
        assert_pattern(pictures, deep_clip, "p010le", 64, 48, on_card=keep)


def test_a_span_is_decoded_from_its_keyframe(driver, tmp_path):
    path = make_clip(tmp_path / "in.mp4", frames=30, options={"g": "10", "bf": "0"})
    _, pictures, _ = driver.run(scenes.decoded, path, "cuda", keep=True, start=0.6)
    assert [p[:2] for p in pictures] == [f[:2] for f in frames_of(path, 0.6)]


def test_auto_is_the_processor_where_the_network_runs_on_it(driver, clip):
    said, pictures, _ = driver.run(scenes.decoded, clip, "auto")
    assert said == ""
    assert not driver.calls
    for got, want in zip(pictures, frames_of(clip), strict=True):
        for a, b in zip(got[3], want[2], strict=True):
            np.testing.assert_array_equal(a, b)


REFUSALS = {
    "profile": ({"FAKE_NVDEC": "unsupported"}, "this card does not decode this kind of video"),
    "memory": ({"FAKE_NVDEC": "busy"}, "the card's memory is full; end other programs"),
    "no card": ({"FAKE_CUDA_INIT": "100"}, "the NVIDIA driver finds no card; see what `nvidia-smi` says"),
    "half an update": ({"FAKE_CUDA_INIT": "803"}, "its kernel module was not; restart the computer"),
    "something else": ({"FAKE_CUDA_INIT": "999"}, "the NVIDIA driver says CUDA_ERROR_UNKNOWN: unknown error"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_nvdec_refuses_is_decoded_on_the_processor_and_said(driver, clip, refusal):
    settings, why = REFUSALS[refusal]
    said, pictures, _ = driver.run(scenes.decoded, clip, keep=True, **settings)
    assert said.startswith("decoded on the processor, as NVDEC cannot: ")
    assert why in said
    for got, want in zip(pictures, frames_of(clip), strict=True):
        assert got[:2] == want[:2]
        for a, b in zip(got[3], want[2], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_nvdec_refuses_is_an_error_if_it_was_asked_for(driver, clip, refusal):
    settings, why = REFUSALS[refusal]
    with pytest.raises(UsageError, match=r"NVDEC cannot decode .*in\.mkv: .*; or use --decode cpu") as error:
        driver.run(scenes.decoded, clip, "cuda", **settings)
    assert why in str(error.value)


@pytest.mark.parametrize(
    ("clip", "why"),
    [
        ({"codec": "ffv1"}, "ffv1, which decodes it, does not use NVDEC"),
        ({"format": "yuv444p"}, "yuv444p is not taken from NVDEC, only 4:2:0 of 8 or 10 bits"),
        ({"codec": "mpeg2video", "size": (83, 49)}, "83x49 is not taken from NVDEC, only even sides"),
        ({"size": (40, 40)}, "this card decodes a width of 64 to 8192 pixels, and this video has 48"),
    ],
    ids=["codec", "sampling", "odd", "small"],
)
def test_videos_that_are_not_for_nvdec(driver, tmp_path, clip, why):
    path = make_clip(tmp_path / "in.mkv", frames=2, **clip)
    with pytest.raises(UsageError, match="NVDEC cannot decode") as error:
        driver.run(scenes.decoded, path, "cuda", FAKE_NVDEC_LEAST="64")
    assert why in str(error.value)
    said, pictures, _ = driver.run(scenes.decoded, path, keep=True, FAKE_NVDEC_LEAST="64")
    assert why in said
    assert len(pictures) == 2


def test_pictures_with_captions_come_to_the_host(driver, tmp_path):
    said, pictures, _ = driver.run(scenes.decoded, make_captioned_clip(tmp_path), keep=True)
    assert said == "decoded by NVDEC into host memory, as pictures with closed captions cannot stay on the card"
    assert [(name, on_card) for _, _, name, _, on_card in pictures] == 12 * [("nv12", False)]


def test_a_driver_without_its_decoder(partial_driver, clip):
    driver = partial_driver("cuda")
    said, pictures, _ = driver.run(scenes.decoded, clip, keep=True)
    assert "the driver's decoder (libnvcuvid.so.1) is missing" in said
    assert len(pictures) == 40


def test_no_driver_at_all(clip):
    if _is_installed("libcuda.so.1"):
        pytest.skip("libcuda.so.1 is installed on this machine")
    with pytest.raises(UsageError, match=r"there is no NVIDIA driver \(libcuda.so.1\); install it"):
        open_source(clip, decode="cuda")


def test_a_card_that_fails_midway(driver, clip):
    """Its memory ends with the third picture that is held: an error, not damage to the file."""
    with pytest.raises(MediaError, match="NVDEC failed: Cannot allocate memory; decode on the processor: --decode cpu"):
        driver.run(scenes.decoded, clip, "cuda", keep=True, ahead=8, FAKE_CUDA_MEMORY="2")


def test_a_stream_that_nvdec_cannot_go_on_with(driver, tmp_path):
    """The second half needs another decoder, which is not to be had: FFmpeg would go on in software, silently."""
    first = make_clip(tmp_path / "first.ts", frames=200)  # so long that the header knows nothing of the second
    second = make_clip(tmp_path / "second.ts", format="yuv444p", frames=5, pts=range(200, 205))
    (tmp_path / "both.ts").write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(MediaError, match=r"NVDEC gave up at \d+\.\d+ s; decode on the processor: --decode cpu"):
        driver.run(scenes.decoded, tmp_path / "both.ts", "cuda", FAKE_NVDEC="once")


def test_an_unknown_way_to_decode(clip):
    with pytest.raises(UsageError, match="unknown --decode 'gpu'; choose one of auto, cpu, cuda"):
        open_source(clip, decode="gpu")


# Encoding


@pytest.mark.parametrize("pix_fmt", [None, "nv12", "p010le"])
@pytest.mark.parametrize("target", ["out.mkv", "out.mp4", "out.ts"])
def test_nvenc_gets_the_frames_of_the_host_code_by_code(driver, clip, tmp_path, target, pix_fmt):
    format, given = driver.run(scenes.encoded, clip, tmp_path / target, "h264_nvenc", pix_fmt)
    assert format == (pix_fmt or "yuv420p")
    assert_written(tmp_path / target, given, FORMATS[format])
    assert driver.calls["frame of the host"] == len(given) == 40


def assert_written(path, given, format):
    """The fake NVENC writes raw blocks: what was given is what is decoded, as planar 4:2:0."""
    for (_, _, got), planes in zip(frames_of(path), given, strict=True):
        planes = [plane >> format.shift for plane in planes]
        if len(planes) == 2:
            planes = [planes[0], planes[1][..., 0], planes[1][..., 1]]
        for a, b in zip(got, planes, strict=True):
            np.testing.assert_array_equal(a, b)


NVENC_REFUSALS = {
    "old driver": ("h264_nvenc", {"FAKE_NVENC_VERSION": "0xC1"}, r"it speaks NVENC 12\.1, 13\.0 is needed; update it"),
    "sessions": ("h264_nvenc", {"FAKE_NVENC_OPEN": "10"}, r"no further encoder: out of memory \(10\), .* end other"),
    "client key": ("h264_nvenc", {"FAKE_NVENC_OPEN": "21"}, r"no further encoder: incompatible client key \(21\), as"),
    "no encoder": ("h264_nvenc", {"FAKE_NVENC_OPEN": "2"}, "this card has no encoder"),
    "codec": ("av1_nvenc", {}, "this card does not encode to that codec; .*: --codec libsvtav1$"),
    "no card": ("hevc_nvenc", {"FAKE_CUDA_INIT": "100"}, "the NVIDIA driver finds no card.*: --codec libx265$"),
}


@pytest.mark.parametrize("refusal", NVENC_REFUSALS)
def test_what_nvenc_refuses(driver, clip, tmp_path, refusal):
    codec, settings, why = NVENC_REFUSALS[refusal]
    with pytest.raises(UsageError, match=f"^{codec} cannot be used here: .*{why}"):
        driver.run(scenes.encoded, clip, tmp_path / "out.mkv", codec, **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_too_large_for_nvenc(driver, clip, tmp_path):
    with pytest.raises(UsageError, match="Width 5000 is more than the 4096 pixels that this card encodes"):
        driver.run(scenes.encoded, clip, tmp_path / "out.mkv", "h264_nvenc", size=(5000, 64))


def test_a_driver_without_its_encoder(partial_driver, clip, tmp_path):
    with pytest.raises(UsageError, match=r"the driver's encoder \(libnvidia-encode\.so\.1\) is missing"):
        partial_driver("cuda").run(scenes.encoded, clip, tmp_path / "out.mkv", "h264_nvenc")


def test_hdr_metadata_that_nvenc_drops_is_named(tmp_path):
    options = {"x265-params": HDR_PARAMS}
    hdr = make_clip(
        tmp_path / "hdr.mkv", codec="libx265", format="yuv420p10le", frames=2, options=options, tags=HDR_TAGS
    )
    with open_source(hdr) as source:
        assert plan_output(source, "out.mkv", EncodeOptions(codec="hevc_nvenc")).dropped == ()  # Matroska says it
        dropped = dict(plan_output(source, "out.ts", EncodeOptions(codec="hevc_nvenc")).dropped)
        assert dropped == {"HDR mastering metadata": "hevc_nvenc cannot be given it here; libx265 and libsvtav1 can"}
        assert plan_output(source, "out.mkv", EncodeOptions(codec="libx265")).dropped == ()


def test_reasons_that_nobody_has_met_are_told_in_ffmpeg_s_words():
    assert explain(["A new reason.", "Nothing else"], "a number") == "FFmpeg says: A new reason."
    assert explain([], "a number") == "a number"
    assert (
        explain(["Cannot load cuMemcpyNew_v9"], "")
        == "the NVIDIA driver is too old, it has no cuMemcpyNew_v9; update it"
    )


# Both at once


@pytest.fixture(scope="module")
def big(tiny_model):
    """What the network makes of a fake picture."""
    with Upscaler(tiny_model) as upscaler:

        def make(number, format, width, height, color):
            planes = tuple(pattern(number, format, width, height))
            return upscaler.submit(Frame(planes, FORMATS[format], width, height, color)).result().planes

        yield make


@pytest.mark.parametrize("name", ["clip", "deep_clip"])
def test_frames_stay_on_the_card_from_nvdec_to_nvenc(driver, request, tmp_path, tiny_model, big, name):
    """No sample passes through the host, no surface is used too early, and their number does not grow."""
    path, out = request.getfixturevalue(name), tmp_path / "out.mkv"
    said, format = driver.run(scenes.enlarged, path, out, tiny_model, "h264_nvenc")
    assert said == "decoded by NVDEC, frames stay on the card"
    calls, order = driver.calls, coding_order(path)
    assert not [call for call in calls if "host" in call or "unexpected" in call]
    assert calls["frame of the card"] == len(order)
    registered = [call for call in calls.elements() if call.startswith("registered")]
    assert len(registered) <= 15 + 3 + 1  # what the encoder keeps back, the ring, and the one in hand
    with open_source(path) as source:
        info = source.info
    want = [big(order.index(pts), format, info.width, info.height, info.color) for pts in sorted(order)]
    assert_written(out, want, FORMATS[format])
    assert [f[0] for f in frames_of(out)] == sorted(order)


def test_what_comes_before_the_first_frame_is_kept(driver, clip, tmp_path, tiny_model):
    """The header is written with the first frame only; sound that came earlier waits for it."""
    out = tmp_path / "out.mkv"
    driver.run(scenes.enlarged, clip, out, tiny_model, "h264_nvenc")
    assert sound(out) == sound(clip)


def sound(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize(("decode", "codec"), [("cpu", "h264_nvenc"), ("auto", "ffv1")])
def test_only_one_end_on_the_card(driver, clip, tmp_path, tiny_model, decode, codec):
    said, _ = driver.run(scenes.enlarged, clip, tmp_path / "out.mkv", tiny_model, codec, decode=decode)
    calls = driver.calls
    assert bool(said) == (decode == "auto")
    assert calls["frame of the card"] == (40 if codec == "h264_nvenc" else 0)
    assert calls["frame of the host"] == calls["copy from device to host"] == 0
    assert len(frames_of(tmp_path / "out.mkv")) == 40


def test_an_encoder_that_is_refused_leaves_nothing(driver, clip, tmp_path, tiny_model):
    with pytest.raises(UsageError, match="opens no further encoder"):
        driver.run(scenes.enlarged, clip, tmp_path / "out.mkv", tiny_model, "h264_nvenc", FAKE_NVENC_OPEN="10")
    assert list(tmp_path.iterdir()) == []


def test_the_file_door(driver, clip, tmp_path, tiny_model):
    notes = driver.run(scenes.job, clip, tmp_path / "out.mkv", tiny_model, "cuda", "h264_nvenc")
    assert "decoded by NVDEC into host memory" in notes
    assert any("84x50 nv12 to 168x100 nv12" in note and "h264_nvenc rc vbr cq 19 preset p5" in note for note in notes)
    assert len(frames_of(tmp_path / "out.mkv")) == 40


def test_images_have_no_decoder_to_choose(tmp_path, tiny_model):
    with pytest.raises(UsageError, match=r"--decode, .* are for videos, not images"):
        upscale(EXAMPLES / "bunny.png", tmp_path / "out.png", model=tiny_model, decode="cuda")


# On a card


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def skip_without_encoder(error):
    if "this card has no encoder" in str(error):
        pytest.skip("this card has no encoder")
    raise error


@pytest.mark.gpu
def test_nvdec_gives_the_standard_s_pictures():
    """H.264 says what each sample is, so a card and the processor agree in every one."""
    torch.zeros(1, device="cuda")  # torch's context is there first, as in a job
    with open_source(BUNNY) as want, open_source(BUNNY, decode="cuda", card=Card(0)) as got:
        # Copied packets come earlier or later between the frames: NVDEC holds back others than the processor does.
        shown = ((item for item in source.items() if isinstance(item, Frame)) for source in (want, got))
        for number, (a, b) in zip(count(), zip(*shown, strict=True)):
            luma, chroma = (plane.tensor.cpu().numpy() for plane in b.card)
            assert (a.pts, a.duration) == (b.pts, b.duration), number
            for x, y in zip(a.planes, (luma, chroma[..., 0], chroma[..., 1]), strict=True):
                np.testing.assert_array_equal(x, y)


@pytest.mark.gpu
@pytest.mark.parametrize("codec", ["h264_nvenc", "hevc_nvenc", "av1_nvenc"])
@pytest.mark.parametrize("decode", ["cpu", "cuda"])
def test_both_ends_on_a_card_give_what_the_host_gives(tmp_path, tiny_model, decode, codec):
    """The same frames through the card's memory and, losslessly, through the host's."""
    torch.cuda.init()
    try:
        upscale(BUNNY, tmp_path / "card.mkv", model=tiny_model, device="cuda:0", decode=decode, codec=codec, crf=10)
    except UsageError as error:
        skip_without_encoder(error)
    upscale(BUNNY, tmp_path / "host.mkv", model=tiny_model, device="cuda:0", decode="cpu", codec="ffv1")
    pairs = list(zip(frames_of(tmp_path / "card.mkv"), frames_of(tmp_path / "host.mkv"), strict=True))
    assert len(pairs) == 50
    for (pts, duration, got), (want_pts, want_duration, want) in pairs:
        assert (pts, duration) == (want_pts, want_duration)
        assert min(map(psnr, got, want)) > 38


@pytest.mark.gpu
def test_a_card_s_memory_does_not_grow(tmp_path, tiny_model):
    """Twice the frames, the same peak."""
    peaks = []
    for duration in (0.5, 1.9):
        torch.cuda.reset_peak_memory_stats()
        try:
            upscale(
                BUNNY,
                tmp_path / f"{duration}.mkv",
                model=tiny_model,
                device="cuda:0",
                codec="hevc_nvenc",
                duration=duration,
            )
        except UsageError as error:
            skip_without_encoder(error)
        peaks.append(torch.cuda.max_memory_reserved())
    assert peaks[1] <= peaks[0] * 1.1


@pytest.mark.gpu
def test_what_a_real_card_refuses(tmp_path):
    """32x32 is too small for any NVDEC: decoded on the processor, and said."""
    path = make_clip(tmp_path / "in.mkv", size=(32, 32), frames=2)
    with open_source(path, card=Card(0)) as source:
        assert "this card decodes a width of" in source.decoding
        assert source.first.planes
