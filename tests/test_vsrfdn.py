"""The VapourSynth filter in this process: formats, colour, properties, refusals, sharing."""

import gc
import random
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from media_samples import frames_of, make_clip
from rfdn_stream import Upscaler, upscale
from rfdn_stream.errors import DeviceError
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Frame, PixelFormat
from rfdn_stream.nets.catalogue import open_model
from support import save_tiny

vs = pytest.importorskip("vapoursynth", reason="needs VapourSynth: pip install 'rfdn-stream[vapoursynth]'")
from vapoursynth import core  # noqa: E402

import vsrfdn  # noqa: E402
from vsrfdn import pool  # noqa: E402
from vsrfdn.filter import _warn  # noqa: E402
from vsrfdn.formats import pixel_format, planes_of  # noqa: E402

TAGGED = {"_Matrix": 1, "_Range": 0, "_ChromaLocation": 0}


@pytest.fixture(autouse=True)
def _no_lingering(monkeypatch):
    monkeypatch.setattr(pool, "LINGER", 0.0)
    yield
    gc.collect()


@pytest.fixture
def rfdn(tiny_model):
    return lambda clip, **options: vsrfdn.rfdn(clip, **{"model_path": tiny_model, **options})


@pytest.fixture
def logged():
    _warn.cache_clear()  # what other tests were told
    said = []
    handle = core.add_log_handler(lambda kind, text: said.append(text) if text.startswith("rfdn") else None)
    yield said
    core.remove_log_handler(handle)


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited for 10 s"
        gc.collect()  # a failed frame's traceback is a cycle, and with many objects alive Python looks seldom
        time.sleep(0.01)


def blank(format, width=36, height=28, length=6, **props):
    return core.std.BlankClip(format=format, width=width, height=height, length=length, keep=True).std.SetFrameProps(
        **{**TAGGED, **props}
    )


def clip_of(pictures, like):
    """A clip of those planes (in the engine's order), one frame each."""

    def fill(n, f):
        made = f.copy()
        for plane, values in zip(planes_of(made, pixel_format(f.format)), pictures[n], strict=True):
            np.copyto(plane, values)
        return made

    return like.std.ModifyFrame(clips=[like], selector=fill)


def noise(format, width=36, height=28, *, seed=0):
    """Planes of a random picture, some of its values far out of range where they can be."""
    random = np.random.default_rng(seed)

    def plane(shape):
        if format.floating:
            return random.uniform(-0.4, 1.4, shape).astype(format.dtype)
        return random.integers(0, format.code_max + 1, shape).astype(format.dtype)

    return [plane(shape) for shape in format.plane_shapes(width, height)]


def planes(frame):
    """Copies of a VapourSynth frame's planes, in the engine's order."""
    return [plane.copy() for plane in planes_of(frame, pixel_format(frame.format))]


def assert_planes_equal(got, want):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


# Pixels

FAMILIES = [
    vs.YUV420P8, vs.YUV422P9, vs.YUV444P10, vs.YUV440P8, vs.YUV420P14, vs.YUV444P16, vs.YUV420PH, vs.YUV422PS,
    vs.GRAY8, vs.GRAY16, vs.GRAYH, vs.GRAYS, vs.RGB24, vs.RGB30, vs.RGB48, vs.RGBH, vs.RGBS,
]  # fmt: skip


@pytest.mark.parametrize("format", FAMILIES, ids=lambda f: f.name)
def test_every_family_is_what_the_upscaler_gives_in_any_order(rfdn, tiny_model, format):
    like = blank(format, length=8)
    ours = pixel_format(like.format)
    color = RGB_FULL if ours.family == "rgb" else ColorSpec("bt709" if ours.family == "yuv" else "bt601")
    pictures = [noise(ours, seed=k) for k in range(8)]
    if ours.family == "rgb":
        like = like.std.SetFrameProps(_Range=1)
    result = rfdn(clip_of(pictures, like))
    assert (result.format, result.width, result.height, result.num_frames) == (like.format, 72, 56, 8)

    numbers = [*range(8), *range(8)]
    random.Random(0).shuffle(numbers)
    with ThreadPoolExecutor(4) as threads:
        got = dict(threads.map(lambda n: (n, planes(result.get_frame(n))), numbers))
    with Upscaler(tiny_model) as upscaler:
        for n, picture in enumerate(pictures):
            frame = Frame(tuple(picture), ours, 36, 28, color)
            assert_planes_equal(got[n], upscaler.submit(frame).result().planes)


def test_pixels_are_those_of_the_file_door(rfdn, tiny_model, tmp_path):
    source = make_clip(tmp_path / "in.mkv", size=(64, 48), frames=5, matrix=None)
    upscale(source, tmp_path / "out.mkv", model=tiny_model, codec="ffv1")
    untagged = blank(vs.YUV420P8, 64, 48, 5).std.RemoveFrameProps(list(TAGGED))
    result = rfdn(clip_of([planes for _, _, planes in frames_of(source)], untagged))
    for n, (_, _, want) in enumerate(frames_of(tmp_path / "out.mkv")):
        assert_planes_equal(planes(result.get_frame(n)), want)


def test_rgbs_is_neither_clamped_nor_rounded(rfdn, tiny_model):
    picture = noise(PixelFormat("gbrpf32le", "rgb", 32, floating=True))
    assert min(p.min() for p in picture) < -0.3
    result = planes(rfdn(clip_of([picture], blank(vs.RGBS, length=1)), engine="torch", precision="fp32").get_frame(0))
    network, _ = open_model(tiny_model)
    green, blue, red = map(torch.from_numpy, picture)
    with torch.inference_mode():
        want = network(torch.stack((red, green, blue))[None].to(memory_format=torch.channels_last))[0]
    np.testing.assert_allclose(result, want[[1, 2, 0]], rtol=0, atol=1e-5)
    assert min(p.min() for p in result) < -0.1


CONVERTED = [
    (vs.YUV420P8, {}), (vs.YUV420P8, {"_Range": 1, "_ChromaLocation": 1}), (vs.YUV420P10, {"_ChromaLocation": 2}),
    (vs.YUV422P16, {"_Matrix": 9}), (vs.YUV444P12, {"_Matrix": 5}), (vs.YUV440P8, {}), (vs.YUV411P8, {}),
    (vs.YUV410P8, {}), (vs.GRAY8, {}), (vs.GRAY16, {"_Range": 1}), (vs.RGB24, {"_Range": 1}), (vs.RGB24, {"_Range": 0}),
]  # fmt: skip


@pytest.fixture(scope="module")
def mild_model(tmp_path_factory):
    """A network whose results stay within [0, 1] where its input does not swing too far."""
    return save_tiny(tmp_path_factory.mktemp("models") / "mild-x2.safetensors", upsampler__0__bias=0.45)


@pytest.mark.parametrize(("format", "props"), CONVERTED)
def test_conversion_is_zimgs_within_a_code_in_the_interior(rfdn, mild_model, format, props):
    """rfdn(clip) against zimg to RGBS, rfdn, and zimg back."""
    props = {**TAGGED, **props}
    matrix = props.pop("_Matrix")
    like = blank(format, 64, 48, 1, **props)
    if like.format.color_family == vs.YUV:
        like = like.std.SetFrameProps(_Matrix=matrix)
    elif like.format.color_family == vs.RGB:
        like = like.std.SetFrameProps(_Matrix=0)
    else:
        like = like.std.RemoveFrameProps("_Matrix")
    # Inside the RGB cube, where nothing is clamped, and not too steep.
    scale = 1 << (like.format.bits_per_sample - 8)
    rows, columns = np.mgrid[0:48, 0:64]
    wave = np.sin(rows / 2) + np.cos(columns / 2.3)
    pictures = []
    for k in range(like.format.num_planes):
        sx, sy = (like.format.subsampling_w, like.format.subsampling_h) if k else (0, 0)
        pictures.append(np.round((128 + (16, 14, -12)[k] * wave) * scale)[:: 1 << sy, :: 1 << sx])

    def fill(n, f):
        made = f.copy()
        for plane, values in enumerate(pictures):
            np.copyto(np.asarray(made[plane]), values.astype(np.asarray(made[plane]).dtype))
        return made

    clip = like.std.ModifyFrame(clips=[like], selector=fill)
    # Chroma subsampled by 4 goes through 4:4:4 of 8 bits, made by the bicubic that VapourSynth takes by default.
    rare = format in (vs.YUV411P8, vs.YUV410P8)
    zimg = "Bicubic" if rare else "Bilinear"
    small = getattr(clip.resize, zimg)(format=vs.RGBS)
    large = rfdn(small, model_path=mild_model, engine="torch", precision="fp32")
    for inside in (small, large):  # so nothing is clamped
        assert all(0 < p.min() < p.max() < 1 for p in planes(inside.get_frame(0)))
    there = {"matrix": matrix} if like.format.color_family == vs.YUV else {}
    if like.format.color_family == vs.GRAY:
        large, there = large.std.SetFrameProps(_Matrix=0), {"matrix": 6}
    back = getattr(large.resize, zimg)(
        format=like.format.id, range=props["_Range"], chromaloc=props["_ChromaLocation"], **there
    )
    got, want = rfdn(clip, model_path=mild_model, engine="torch", precision="fp32").get_frame(0), back.get_frame(0)
    for k in range(like.format.num_planes):
        a, b = (np.asarray(frame[k])[8:-8, 8:-8].astype(int) for frame in (got, want))
        assert np.abs(a - b).max() <= (2 if rare else 1)
        assert np.ptp(a) > 3 * scale


@pytest.mark.parametrize("format", [vs.YUV444PS, vs.YUV422PH, vs.GRAYS, vs.YUV410PS], ids=lambda f: f.name)
def test_floating_point_is_zimgs_in_the_interior(rfdn, mild_model, format):
    """As above, from wave to wave; bicubic where this filter uses it itself."""
    like = blank(format, 64, 48, 1)
    gray, rare = like.format.color_family == vs.GRAY, format == vs.YUV410PS
    rows, columns = np.mgrid[0:48, 0:64]
    wave = np.sin(rows / 2) + np.cos(columns / 2.3)

    def fill(n, f):
        made = f.copy()
        for k in range(f.format.num_planes):
            plane = np.asarray(made[k])
            sy, sx = 48 // plane.shape[0], 64 // plane.shape[1]
            plane[...] = (((0.5, 0, 0)[k]) + (0.06, 0.05, -0.05)[k] * wave)[::sy, ::sx]
        return made

    clip = like.std.ModifyFrame(clips=[like], selector=fill)
    zimg = "Bicubic" if rare else "Bilinear"
    small = getattr(clip.resize, zimg)(format=vs.RGBS, **({"matrix_in": 6} if gray else {}))
    large = rfdn(small, model_path=mild_model)
    back = getattr(large.resize, zimg)(format=format, matrix=6 if gray else 1, chromaloc=0)
    got, want = rfdn(clip, model_path=mild_model).get_frame(0), back.get_frame(0)
    for k in range(like.format.num_planes):
        a, b = (np.asarray(frame[k])[8:-8, 8:-8].astype(np.float32) for frame in (got, want))
        assert np.abs(a - b).max() < 2e-3
        assert np.ptp(a) > 0.01


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (17, 5)])
def test_clips_below_the_networks_minimum_are_taken(rfdn, size):
    frame = rfdn(blank(vs.YUV444P8, *size)).get_frame(0)
    assert (frame.width, frame.height) == (2 * size[0], 2 * size[1])


def test_size_and_format_may_vary(rfdn, tiny_model):
    parts = [
        blank(vs.YUV420P8, 36, 28, 2), blank(vs.YUV420P8, 20, 28, 2),
        blank(vs.RGB30, 36, 28, 2), blank(vs.YUV411P8, 36, 28, 1),
    ]  # fmt: skip
    result = rfdn(core.std.Splice(parts, mismatch=True))
    assert (result.width, result.format.color_family, result.num_frames, result.fps) == (0, vs.UNDEFINED, 7, 24)
    for n in (5, 0, 3):
        frame, alone = result.get_frame(n), rfdn(parts[n // 2]).get_frame(0)
        assert (frame.format, frame.width, frame.height) == (alone.format, alone.width, alone.height)
        assert_planes_equal(planes(frame), planes(alone))
    with pytest.raises(vs.Error, match="rfdn: frame 6: the chroma of YUV411P8 is subsampled by more than 2; convert"):
        result.get_frame(6)
    sizes = core.std.Splice(parts[:2], mismatch=True)
    assert rfdn(sizes).format == parts[0].format
    resized = rfdn(sizes, width=50, height=40)
    assert [(f.width, f.height) for f in resized.frames()] == [(50, 40)] * 4
    with pytest.raises(vs.Error, match=r"rfdn: the clip's size varies.*give both height and width"):
        rfdn(sizes, height=40)


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"height": 42}, (54, 42)), ({"width": 90}, (90, 70)), ({"width": 40, "height": 80}, (40, 80)),
        ({"height": 56}, (72, 56)), ({"height": 30}, (38, 30)),
    ],
)  # fmt: skip
def test_any_target_size(rfdn, asked, size):
    clip = clip_of([noise(FORMATS["yuv420p"])], blank(vs.YUV420P8, length=1))
    result = rfdn(clip, **asked)
    assert (result.width, result.height) == size
    want = rfdn(clip) if size == (72, 56) else rfdn(clip).resize.Lanczos(*size)
    assert_planes_equal(planes(result.get_frame(0)), planes(want.get_frame(0)))


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ({"strength": 0}, {"strength": 0}),
        ({"strength": 0.3}, {"strength": 0.3}),
        ({"tile": (64, 64)}, {"tile": 64}),
        (
            {"tile": 64, "device": "cpu", "precision": "fp32", "engine": "torch"},
            {"tile": 64, "precision": "fp32", "engine": "torch"},
        ),
        (
            {"tile": np.int64(64), "num_streams": np.int32(2), "strength": np.float32(0.5)},
            {"tile": 64, "strength": 0.5},
        ),
        ({"scale": np.int64(2), "strength": 0, "model_path": None}, {"strength": 0}),
    ],
)
def test_options_are_the_upscalers(rfdn, tiny_model, asked, given):
    picture = noise(FORMATS["yuv420p"], 100, 70)
    clip = clip_of([picture], blank(vs.YUV420P8, 100, 70, 1))
    result, otherwise = (planes(rfdn(clip, **options).get_frame(0)) for options in (asked, {}))
    with Upscaler(tiny_model, **given) as upscaler:
        want = upscaler.submit(Frame(tuple(picture), FORMATS["yuv420p"], 100, 70, ColorSpec("bt709"))).result()
    assert_planes_equal(result, want.planes)
    assert (result[0] != otherwise[0]).any()


# Properties and colour


def test_properties_are_kept_and_colour_is_said(rfdn):
    props = {"_SARNum": 4, "_SARDen": 3, "name": "x", "raw": b"\xff\x00", "list": [1, 2], "real": 0.5, "_Primaries": 1}
    source = blank(vs.YUV420P8, _Matrix=5, _Range=1, _ChromaLocation=1, **props)
    before, after = (dict(c.get_frame(3).props) for c in (source, rfdn(source)))
    assert after == before
    bare = source.std.RemoveFrameProps(["_Matrix", "_Range", "_ChromaLocation"])
    after = dict(rfdn(bare).get_frame(3).props)
    assert after == before | {"_Matrix": 6, "_Range": 0, "_ChromaLocation": 0}
    rgb = dict(rfdn(blank(vs.RGBS).std.RemoveFrameProps(list(TAGGED))).get_frame(0).props)
    assert not rgb.keys() & TAGGED.keys()
    gray = dict(rfdn(blank(vs.GRAY8, _Matrix=0)).get_frame(0).props)
    assert gray["_Matrix"] == 0


def test_results_are_no_fields(rfdn):
    """A resizer behind, such as that of `height`, must take their rows for one picture."""
    picture = noise(FORMATS["yuv420p"])
    whole = blank(vs.YUV420P8, length=1)
    fields = whole.std.SetFrameProps(_FieldBased=2)
    got, want = (rfdn(clip_of([picture], clip), height=42).get_frame(0) for clip in (fields, whole))
    assert got.props["_FieldBased"] == 0
    assert_planes_equal(planes(got), planes(want))


def test_codes_beyond_black_and_white_are_clipped_in_limited_range(rfdn):
    white = blank(vs.GRAY8, length=1).std.Expr("255")
    full = white.std.SetFrameProps(_Range=1)
    limited, kept = (planes(rfdn(clip, strength=0).get_frame(0))[0].max() for clip in (white, full))
    assert (limited, kept) == (235, 255)


@pytest.mark.parametrize(
    ("props", "color"),
    [
        ({"_Matrix": 1}, ColorSpec("bt709")),
        ({"_Matrix": 9, "_Range": 1}, ColorSpec("bt2020", "full")),
        ({"_Matrix": 2}, ColorSpec("bt601")),
        ({"_Primaries": 9}, ColorSpec("bt2020", primaries=9)),
        ({"_Matrix": 6, "_ChromaLocation": 1}, ColorSpec("bt601", siting="center")),
        ({"_Matrix": 6, "_ChromaLocation": 3}, ColorSpec("bt601", siting="center")),
    ],
)
def test_each_frames_properties_steer_its_conversion(rfdn, tiny_model, props, color):
    picture = noise(FORMATS["yuv420p"])
    other = blank(vs.YUV420P8, length=1)
    like = other.std.RemoveFrameProps(list(TAGGED)).std.SetFrameProps(**props)
    result = rfdn(clip_of([picture, picture], other + like)).get_frame(1)
    with Upscaler(tiny_model) as upscaler:
        want = upscaler.submit(Frame(tuple(picture), FORMATS["yuv420p"], 36, 28, color)).result()
    assert_planes_equal(planes(result), want.planes)


def test_guesses_are_said_once(rfdn, logged):
    hd = blank(vs.YUV420P8, 1280, 18).std.RemoveFrameProps("_Matrix")
    for _ in range(2):
        assert [rfdn(hd).get_frame(n).props["_Matrix"] for n in range(2)] == [1, 1]
    (said,) = logged
    assert said == (
        "rfdn: 1280x18 yuv420p does not say how its colour is meant; taken as players take it: matrix bt709"
    )
    rfdn(blank(vs.YUV420P8, 22, 18, _FieldBased=2)).get_frame(0)
    assert "the clip is interlaced" in logged[1]
    rfdn(blank(vs.YUV420P8, 22, 18, _ChromaLocation=4)).get_frame(0)
    assert logged[2] == "rfdn: chroma siting 'bottomleft' is treated as 'left'"
    rfdn(blank(vs.RGBS).std.RemoveFrameProps(list(TAGGED))).get_frame(0)
    assert len(logged) == 3


# Refusals


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"scale": 5, "model_path": None}, "there is no model for scale 5, only for 2, 3 and 4; model=FILE takes your"),
        ({"scale": 4}, "model tiny-x2 enlarges by 2, not by 4; write scale=2, or take another model"),
        ({"scale": 0, "model_path": None}, "scale 0 is not allowed; give a whole number from 1 on"),
        ({"model": "nix", "model_path": None}, "there is no model 'nix'; available: erfdn-x2-video"),
        ({"model": 3, "model_path": None}, "model 3 is neither a model's name nor the path of a weights file"),
        ({"model": "erfdn-x2-clean"}, "got both model 'erfdn-x2-clean' and model_path .*; give one of them"),
        ({"model_path": "/nowhere.pth"}, "there is no weights file /nowhere.pth"),
        ({"device": "tpu"}, "unknown device 'tpu'; available: "),
        ({"device_index": 99}, "."),  # no such card, or no card at all
        ({"device_index": -1}, "device_index -1 is not allowed; give a whole number from 0 on"),
        ({"device": "cpu", "device_index": 0}, "got both device 'cpu' and device_index 0; give one of them"),
        ({"device": 5}, "device 5 is not a name; give 'auto', 'cpu', 'cuda' or 'cuda:N'"),
        ({"model_path": ""}, "model '' is neither a model's name nor the path of a weights file"),
        ({"num_streams": 0}, "num_streams 0 is not allowed; give a whole number from 1 to 256"),
        ({"num_streams": 257}, "num_streams 257 is not allowed"),
        ({"num_streams": True}, "num_streams True is not allowed"),
        ({"precision": "int8"}, "unknown precision 'int8'; choose auto, fp32, bf16, fp16"),
        ({"precision": "fp16", "device": "cpu"}, "precision fp16 is for GPUs; on a CPU choose fp32, bf16 or auto"),
        ({"tile": (16, 16)}, "tile 16 is too small; at least 64 px, or 0 for whole frames"),
        ({"tile": 8}, "tile 8 is too small"),
        ({"tile": (128, 64)}, "tile .128, 64. is not square"),
        ({"tile": "large"}, "tile 'large' is not square"),
        ({"tile": None}, "tile None is not allowed; give a whole number from 0 on"),
        ({"tile": 64.0}, "tile 64.0 is not allowed"),
        ({"tile_pad": 8}, "tile_pad 8 is not supported; tiles are seen with 16 pixels around them"),
        ({"engine": "trt"}, "unknown engine 'trt'; available: winograd, openvino, torch, fused, graph, compile"),
        ({"strength": "much"}, "strength 'much' is not a number; give one from 0 to 1"),
        ({"strength": 1.5}, "strength 1.5 is outside its range; choose 0"),
        ({"height": 0}, "height 0 is not allowed; give a whole number from 1 to 65536"),
        ({"height": 1080.0}, "height 1080.0 is not allowed"),
        ({"width": 65538}, "width 65538 is not allowed"),
        ({"width": 41}, "width 41 does not fit YUV420P8; it must be a multiple of 2"),
    ],
)
def test_what_cannot_be_done_is_refused_at_construction(rfdn, options, complaint):
    with pytest.raises(vs.Error, match=f"^rfdn: .*{complaint}"):
        rfdn(blank(vs.YUV420P8), **options)


def test_clips_that_cannot_be_taken_are_refused(rfdn):
    taken = "integers of 8 to 16 bits and floating point are taken$"
    with pytest.raises(vs.Error, match=f"rfdn: Gray32 has 32 bits; {taken}"):
        rfdn(blank(vs.GRAY32))
    deep = core.query_video_format(vs.YUV, vs.INTEGER, 24, 2, 0)
    with pytest.raises(vs.Error, match=f"rfdn: YUV444P24 has 24 bits; {taken}"):
        rfdn(core.std.BlankClip(format=deep.id))
    with pytest.raises(vs.Error, match=r"rfdn: clip must be a video node.*; got str"):
        rfdn("in.mkv")
    with pytest.raises(vs.Error, match=r"rfdn: clip must be a video node.*; got AudioNode"):
        rfdn(core.std.BlankAudio())


def test_an_old_vapoursynth_is_refused(rfdn, monkeypatch):
    monkeypatch.setattr(vs, "__version__", (73, 0))
    with pytest.raises(vs.Error, match=r"rfdn: VapourSynth R73 is too old; R74 or newer is needed: pip install"):
        rfdn(blank(vs.YUV420P8))


def test_a_matrix_that_the_engine_does_not_know_is_that_frames_error(rfdn):
    good = blank(vs.YUV444P8, length=2)
    result = rfdn(good + good.std.SetFrameProps(_Matrix=8))
    result.get_frame(1)
    with pytest.raises(vs.Error, match=r"rfdn: frame 3: colour matrix YCgCo is not supported; supported: BT.601"):
        result.get_frame(3)
    with pytest.raises(vs.Error, match="rfdn: frame 0: _Matrix 0 says RGB, which a YUV clip cannot be"):
        rfdn(good.std.SetFrameProps(_Matrix=0)).get_frame(0)


def test_a_failure_in_frame_7_is_frame_7s_alone(rfdn):
    ours = PixelFormat("gbrpf32le", "rgb", 32, floating=True)
    pictures = [noise(ours, seed=k) for k in range(10)]
    pictures[7][0][3, 4] = np.nan
    result = rfdn(clip_of(pictures, blank(vs.RGBS, length=10)))
    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(result.get_frame, n) for n in (7, 3, 8, 7, 9, 0)]
    for n, future in zip((7, 3, 8, 7, 9, 0), futures, strict=True):
        if n == 7:
            with pytest.raises(vs.Error, match=r"rfdn: frame 7: model tiny-x2 gave NaN.*try precision=fp32"):
                future.result()
        else:
            assert future.result().width == 72
    assert result.get_frame(6).width == 72


def test_a_failure_that_nobody_foresaw_names_its_frame(rfdn, monkeypatch, caplog):
    clip = blank(vs.GRAY8)
    result = rfdn(clip)
    (shared,) = pool.POOL._shared.values()

    class Broken:
        scale = 2

        def __call__(self, rgb):
            raise RuntimeError("the network is on strike")

    with monkeypatch.context() as patched:
        patched.setattr(shared.upscaler, "engine", Broken())
        with pytest.raises(vs.Error, match="rfdn: frame 2: RuntimeError: the network is on strike"):
            result.get_frame(2)
    assert "please report this" in caplog.text
    assert "in __call__" in caplog.text  # the traceback
    assert result.get_frame(2).width == 72
    del result
    until(lambda: not len(pool.POOL))  # the failure, which the Upscaler remembers, keeps nothing alive


def test_a_lack_of_memory_is_told_in_words_of_the_filter(rfdn, monkeypatch):
    """The engine's message names no option of the command line, as not every command has those."""
    result = rfdn(blank(vs.GRAY8))
    (shared,) = pool.POOL._shared.values()

    def full(rgb):
        raise torch.OutOfMemoryError("CUDA out of memory")

    full.scale = 2
    monkeypatch.setattr(shared.upscaler, "engine", full)
    words = r"rfdn: frame 2: cpu is out of memory; end other programs that use it; smaller tiles or batches need less$"
    with pytest.raises(vs.Error, match=words):
        result.get_frame(2)


# Sharing


def count_opened(monkeypatch):
    until(lambda: not len(pool.POOL))
    opened, real = [], pool.Options.open
    monkeypatch.setattr(pool.Options, "open", lambda self: opened.append(self) or real(self))
    return opened


def test_filters_with_the_same_options_share_one_network(rfdn, monkeypatch, tmp_path):
    opened = count_opened(monkeypatch)
    clips = [rfdn(blank(vs.YUV420P8)), rfdn(blank(vs.RGBS, 20, 10)), rfdn(blank(vs.GRAY8), height=20)]
    for clip in clips:
        clip.get_frame(0)
    assert (len(opened), len(pool.POOL)) == (1, 1)
    clips.append(rfdn(blank(vs.YUV420P8), num_streams=1))
    assert (len(opened), len(pool.POOL)) == (2, 2)
    weights = save_tiny(tmp_path / "mine.safetensors", seed=1)
    clips.append(rfdn(blank(vs.YUV420P8), model_path=weights))
    save_tiny(weights, seed=2, fea_conv__bias=0.25)  # trained on: another network
    clips.append(rfdn(blank(vs.YUV420P8), model_path=weights))
    assert (len(opened), len(pool.POOL)) == (4, 4)


def test_a_script_evaluated_again_and_again_loads_once(rfdn, monkeypatch):
    monkeypatch.setattr(pool, "LINGER", 60.0)
    opened = count_opened(monkeypatch)
    for n in range(20):
        rfdn(blank(vs.YUV420P8)).get_frame(n % 6)
    assert len(opened) == 1
    (shared,) = pool.POOL._shared.values()
    assert shared.users == 0
    shared.closing.cancel()
    monkeypatch.setattr(pool, "LINGER", 0.0)
    rfdn(blank(vs.YUV420P8))


def test_the_last_one_out_releases_the_network(rfdn):
    first, second = rfdn(blank(vs.YUV420P8)), rfdn(blank(vs.YUV420P8))
    (shared,) = pool.POOL._shared.values()
    upscaler, network = weakref.ref(shared.upscaler), shared.upscaler.device.stream("compute")._thread
    del first
    time.sleep(0.1)
    assert second.get_frame(0).width == 72
    del second
    until(lambda: not len(pool.POOL))
    until(lambda: upscaler() is None)
    until(lambda: not network.is_alive())


def test_a_device_that_failed_is_not_lent_again(rfdn, monkeypatch):
    clip = rfdn(blank(vs.YUV420P8))
    (shared,) = pool.POOL._shared.values()
    shared.upscaler.device.fail(DeviceError("the card fell off the bus"))
    with pytest.raises(vs.Error, match="rfdn: frame 1: the card fell off the bus"):
        clip.get_frame(1)
    assert rfdn(blank(vs.YUV420P8)).get_frame(1).width == 72


def test_frames_overlap_up_to_the_streams(rfdn, monkeypatch):
    """The network waits for a second frame to come in: it would wait in vain if frames went one by one."""
    result = rfdn(blank(vs.YUV420P8), num_streams=2)
    (shared,) = pool.POOL._shared.values()
    two, submitted, real = threading.Event(), [], shared.upscaler.submit

    def submit(frame):
        ticket = real(frame)
        submitted.append(ticket)
        if len(submitted) == 2:
            two.set()
        return ticket

    engine = shared.upscaler.engine

    class Patient:
        scale, precision = engine.scale, engine.precision

        def __call__(self, rgb):
            assert two.wait(10), "the second frame never came"
            return engine(rgb)

    monkeypatch.setattr(shared.upscaler, "submit", submit)
    monkeypatch.setattr(shared.upscaler, "engine", Patient())
    with ThreadPoolExecutor(2) as threads:
        assert [f.width for f in threads.map(result.get_frame, range(2))] == [72, 72]
