"""Frames of another size than the session began with, brought to its size."""

from __future__ import annotations

from dataclasses import replace

from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation

from rfdn_stream.frame import Frame
from rfdn_stream.media.frames import plane_views

_SITINGS = {"left": 1, "center": 2, "topleft": 3}
_KERNEL = Interpolation.BICUBIC | Interpolation.ACCURATE_RND


def fitted(frame: Frame, size: tuple[int, int]) -> Frame:
    """The frame at `size` (width, height), the whole picture stretched into it; itself where it has that size.

    By swscale, format and colour as they are: such frames are the exception, and the network still follows.
    """
    if (frame.width, frame.height) == size:
        return frame
    picture = VideoFrame(frame.width, frame.height, frame.format.name)
    frame.copy_into(plane_views(picture, frame.format, writeable=True))
    picture.chroma_location = _SITINGS[frame.color.siting]
    range_ = 2 if frame.color.range == "full" else 1  # both alike, so that no code is rescaled
    made = picture.reformat(*size, interpolation=_KERNEL, src_color_range=range_, dst_color_range=range_)
    return replace(frame, planes=plane_views(made, frame.format), width=size[0], height=size[1], origin=None)
