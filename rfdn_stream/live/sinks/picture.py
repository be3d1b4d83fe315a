"""Frames as pictures for the eye: 8-bit RGB, quickly."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation

from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Frame, Layout, PixelFormat
from rfdn_stream.kernels.colour import components, conversion
from rfdn_stream.media.frames import plane_views

Picture = npt.NDArray[np.uint8]
"""[rows, columns, 3], RGB in a frame's, BGR for OpenCV."""

_MATRICES = {"bt601": 5, "bt709": 1, "bt2020": 9, "rgb": 1}  # FFmpeg's codes; that of RGB counts for nothing
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


def rgb_of(frame: Frame) -> Picture:
    """A frame in 8-bit RGB; no copy where it is that already.

    YUV goes by swscale, which is much faster than the kernels and within three codes of them: what is measured or
    kept is never made here.
    """
    if frame.format.name == "rgb24" and frame.color.range == "full":
        return frame.planes[0]
    if frame.format.family != "yuv":
        return _by_table(frame)
    return _packed(_reformatted(frame, FORMATS["rgb24"], RGB_FULL))


def _by_table(frame: Frame) -> Picture:
    """Grey and RGB, whose components only differ in scale."""
    numbers = conversion(frame.format, frame.color)
    codes = np.arange(frame.format.code_max + 1)
    table = np.clip(np.rint((codes - numbers.offset[0]) / numbers.span[0] * 255), 0, 255).astype(np.uint8)
    parts = [table[part] for part in components(frame.planes, frame.format, frame.width, frame.height)]
    return np.stack(parts * 3 if frame.format.family == "gray" else parts, axis=2)


def converted(frame: Frame, format: PixelFormat, color: ColorSpec) -> Frame:
    """A frame in another format, by swscale; itself where it is that already.

    For a sink that gets what another one has chosen.
    """
    if frame.format == format and frame.color.matrix == color.matrix and frame.color.range == color.range:
        return frame
    if frame.format.family != "yuv":
        # swscale scales deep RGB wrongly, and knows no limited RGB.
        rgb = rgb_of(frame)
        frame = frame.like((rgb,), Layout(FORMATS["rgb24"], frame.width, frame.height), RGB_FULL)
    made = _reformatted(frame, format, color)
    planes = plane_views(made, format)
    return frame.like(planes, Layout(format, frame.width, frame.height), color)


def _reformatted(frame: Frame, format: PixelFormat, color: ColorSpec) -> VideoFrame:
    picture = VideoFrame(frame.width, frame.height, frame.format.name)
    for target, plane in zip(plane_views(picture, frame.format, writeable=True), frame.planes, strict=True):
        target[...] = plane
    picture.chroma_location = {"left": 1, "center": 2, "topleft": 3}[frame.color.siting]
    ranges = {"limited": 1, "full": 2}
    return picture.reformat(
        format=format.name,
        interpolation=_EXACT,
        src_colorspace=_MATRICES[frame.color.matrix],
        dst_colorspace=_MATRICES[color.matrix],
        src_color_range=ranges[frame.color.range],
        dst_color_range=ranges[color.range],
    )


def _packed(picture: VideoFrame) -> Picture:
    plane = picture.planes[0]
    rows: npt.NDArray[Any] = np.frombuffer(plane, np.uint8).reshape(picture.height, plane.line_size)
    return rows[:, : 3 * picture.width].reshape(picture.height, picture.width, 3)


def bgr_of(frame: Frame) -> Picture:
    """A frame as OpenCV has pictures."""
    return np.asarray(cv2.cvtColor(rgb_of(frame), cv2.COLOR_RGB2BGR), np.uint8)
