"""What happens to pictures on their way into a video: blur, noise, chroma subsampling, and a real encoder.

Networks trained on clean pictures sharpen the traces of codecs along with the picture. Here the traces are the real
ones: frames are converted by the same kernels as at inference, encoded by FFmpeg's encoders, and decoded again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

import av
import cv2
import numpy as np
import numpy.typing as npt
import torch
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from rfdn_stream.errors import MediaError
from rfdn_stream.evaluation.resize import Picture
from rfdn_stream.frame import ColorSpec, pixel_format
from rfdn_stream.kernels import cpu
from rfdn_stream.media.frames import plane_views
from rfdn_stream.media.probe import media_errors
from rfdn_stream.media.steady import x264_params

RATE = 25
BT709 = ColorSpec("bt709")
# How often a clip is blurred, and how often it is noisy, before it is encoded; the strongest of each: standard
# deviations in LR pixels, and in codes of 255.
BLURRED, BLUR = 0.15, 0.45
NOISY, NOISE = 0.25, 5.0
PRESETS = ("veryfast", "faster", "fast", "medium")
KEYFRAMES = (4, 12, 250)  # frames between keyframes, at most


@dataclass(frozen=True)
class Degradation:
    """One way into a video.

    Args:
        encoder, decoder: FFmpeg's names.
        format, color: of the encoded pictures; their range is limited.
        options: the encoder's.
        blur: standard deviation of a Gaussian in pixels, 0 = none.
        noise: standard deviation of Gaussian noise in codes of 255, 0 = none.
    """

    encoder: str
    decoder: str
    format: str = "yuv420p"
    color: ColorSpec = BT709
    options: dict[str, str] = field(default_factory=dict)
    blur: float = 0.0
    noise: float = 0.0


def draw(rng: np.random.Generator) -> Degradation:
    """A degradation at random: mostly x264, and of all codecs from nearly transparent to visibly worn."""
    encoder = rng.choice(["libx264", "libx265", "libvpx-vp9", "mpeg2video"], p=[0.6, 0.15, 0.13, 0.12])
    decoder, formats, options = {
        "libx264": _x264,
        "libx265": _x265,
        "libvpx-vp9": _vp9,
        "mpeg2video": _mpeg2,
    }[str(encoder)](rng)
    bt601 = rng.random() < (0.5 if encoder == "mpeg2video" else 0.15)
    return Degradation(
        encoder=str(encoder),
        decoder=decoder,
        format=str(rng.choice(list(formats), p=list(formats.values()))),
        color=ColorSpec("bt601" if bt601 else "bt709"),
        options={"g": str(rng.choice(KEYFRAMES)), **options},
        blur=float(rng.uniform(0.2, BLUR)) if rng.random() < BLURRED else 0.0,
        noise=float(rng.uniform(1.0, NOISE)) if rng.random() < NOISY else 0.0,
    )


Drawn = tuple[str, dict[str, float], dict[str, str]]
"""A decoder, how often each pixel format is taken, and the encoder's options."""


def _x264(rng: np.random.Generator) -> Drawn:
    options = {
        "crf": f"{rng.uniform(15, 34):.1f}",
        "preset": str(rng.choice(PRESETS)),
        "x264-params": ":".join(x264_params()),
    }
    return "h264", {"yuv420p": 0.8, "yuv422p": 0.05, "yuv444p": 0.15}, options


def _x265(rng: np.random.Generator) -> Drawn:
    options = {
        "crf": f"{rng.uniform(16, 33):.1f}",
        "preset": str(rng.choice(PRESETS[:2])),
        "x265-params": "log-level=error:info=0:pools=none:frame-threads=1",
    }
    return "hevc", {"yuv420p": 0.6, "yuv420p10le": 0.4}, options


def _vp9(rng: np.random.Generator) -> Drawn:
    options = {"crf": str(rng.integers(18, 48)), "b": "0", "deadline": "good", "cpu-used": str(rng.integers(4, 6))}
    return "vp9", {"yuv420p": 1.0}, options


def _mpeg2(rng: np.random.Generator) -> Drawn:
    scale = str(rng.integers(2, 13))
    return "mpeg2video", {"yuv420p": 1.0}, {"qmin": scale, "qmax": scale, "bf": str(rng.integers(0, 3))}


def degrade(frames: Sequence[Picture], way: Degradation, rng: np.random.Generator) -> list[Picture]:
    """Sends frames through a video, in one thread: the same bits on every call.

    Args:
        frames: uint8 RGB [H, W, 3], all of one even size.
        rng: of the noise.

    Returns:
        As many frames of the same size.

    Raises:
        MediaError: this FFmpeg lacks the encoder, or frames went missing.
    """
    height, width = frames[0].shape[:2]
    with media_errors(f"cannot make a training clip with {way.encoder} {way.options}"):
        encoder = _encoder(way, width, height)
        packets = []
        for number, frame in enumerate(frames):
            packets += encoder.encode(_picture(_worn(frame, way, rng), way, number))
        packets += encoder.encode(None)
        decoder = cast(VideoCodecContext, av.CodecContext.create(way.decoder, "r"))
        decoder.thread_count = 1
        decoded = [picture for packet in [*packets, None] for picture in decoder.decode(packet)]
    if len(decoded) != len(frames):
        raise MediaError(f"{way.encoder} made {len(decoded)} frames of {len(frames)} with {way.options}")
    return [_rgb(picture, way) for picture in decoded]


def _encoder(way: Degradation, width: int, height: int) -> VideoCodecContext:
    try:
        encoder = cast(VideoCodecContext, av.CodecContext.create(way.encoder, "w"))
    except ValueError:
        raise MediaError(f"training on video needs FFmpeg's encoder {way.encoder}, which this PyAV lacks") from None
    encoder.width, encoder.height, encoder.pix_fmt = width, height, way.format
    encoder.time_base, encoder.framerate = Fraction(1, RATE), Fraction(RATE)
    encoder.thread_count = 1
    encoder.options = dict(way.options)
    return encoder


def _worn(frame: Picture, way: Degradation, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """RGB in [0, 1], blurred and noisy."""
    rgb = frame.astype(np.float32) / np.float32(255)
    if way.blur:
        rgb = cv2.GaussianBlur(rgb, (0, 0), way.blur).astype(np.float32)
    if way.noise:
        rgb += rng.standard_normal(rgb.shape, np.float32) * np.float32(way.noise / 255)
    return rgb


def _picture(rgb: npt.NDArray[np.float32], way: Degradation, number: int) -> VideoFrame:
    height, width = rgb.shape[:2]
    picture = VideoFrame(width, height, way.format)
    picture.pts, picture.time_base = number, Fraction(1, RATE)
    format = pixel_format(way.format)
    planes = [torch.from_numpy(plane) for plane in plane_views(picture, format, writeable=True)]
    cpu.post(torch.from_numpy(rgb).permute(2, 0, 1), planes, format, way.color)
    return picture


def _rgb(picture: VideoFrame, way: Degradation) -> Picture:
    format = pixel_format(way.format)
    planes = [torch.from_numpy(plane.copy()) for plane in plane_views(picture, format)]
    rgb = torch.empty(3, picture.height, picture.width)
    cpu.pre(planes, format, way.color, rgb)
    # torch would round on several threads, which wait for each other as long as the network keeps the cores busy.
    return np.ascontiguousarray(np.rint(rgb.mul_(255).numpy()).astype(np.uint8).transpose(1, 2, 0))
