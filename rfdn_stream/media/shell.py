"""What a container says of a video beside the bitstream: static HDR, stereo layout, projection.

PyAV has no setters for it. But a stream can be given the parameters of another one that was read: here of a
Matroska header that is made in memory and says just this.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import av
from av.bitstream import BitStreamFilterContext
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rfdn_stream.media.hdr import StaticHdr
from rfdn_stream.media.matroska import ebml

# FFmpeg's names of codecs, and Matroska's.
_CODEC_IDS = {"h264": "V_MPEG4/ISO/AVC", "hevc": "V_MPEGH/ISO/HEVC", "av1": "V_AV1", "vp9": "V_VP9", "ffv1": "V_FFV1",
              "prores": "V_PRORES"}  # fmt: skip
MUXERS = frozenset({"matroska", "webm", "mp4", "mov", "ipod"})
"""Containers that say it."""
_SPATIAL_MUXERS = frozenset({"matroska", "webm", "mp4"})
# AVStereo3DType, without and with its views swapped: Matroska's StereoMode.
_STEREO_MODES = {(1, 0): 1, (1, 1): 11, (2, 0): 3, (2, 1): 2, (3, 0): 13, (3, 1): 14}
_INTERLEAVED = {4: "checkerboard", 5: "quincunx", 6: "rows", 7: "columns"}
_SPHERICAL = {0: "equirectangular", 2: "tiled equirectangular"}
# Elements of Matroska.
_EBML, _SEGMENT, _INFO, _TRACKS, _TRACK, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0x1F43B675
_VIDEO, _WIDTH, _HEIGHT, _STEREO_MODE, _COLOUR = 0xE0, 0xB0, 0xBA, 0x53B8, 0x55B0
_MAX_CLL, _MAX_FALL, _MASTERING = 0x55BC, 0x55BD, 0x55D0
_PROJECTION, _PROJECTION_TYPE, _PROJECTION_PRIVATE = 0x7670, 0x7671, 0x7672


def carry(picture: VideoFrame, video: VideoStream) -> None:
    """Gives an output's stream, which is new and not open yet, what the source's first picture says.

    The stream's other parameters are reset: they must be set after it.
    """
    codec = video.codec_context.codec.canonical_name
    said = b"".join(_said(picture))
    if not said or codec not in _CODEC_IDS:
        return
    with av.open(io.BytesIO(_header(_CODEC_IDS[codec], said)), format="matroska") as shell:
        rate = video.codec_context.framerate
        BitStreamFilterContext("null", in_stream=shell.streams.video[0], out_stream=video)
        video.codec_context.framerate = rate


def holds(muxer: str, codec: str) -> bool:
    """Whether a container says it of a video of that codec (FFmpeg's canonical name)."""
    return muxer in MUXERS and codec in _CODEC_IDS


def container_options(picture: VideoFrame, muxer: str) -> dict[str, str]:
    """What the muxer must be told, so that it writes what the picture says."""
    return {"strict": "unofficial"} if muxer == "mp4" and _is_spatial(picture) else {}


def unsaid(picture: VideoFrame, muxer: str, codec: str) -> Iterator[tuple[str, str]]:
    """What of stereo and projection cannot be said of the enlarged picture, each with the reason."""
    if _is_spatial(picture) and not (muxer in _SPATIAL_MUXERS and holds(muxer, codec)):
        yield "stereo layout or projection", "said in .mkv and .mp4 only, of H.264, HEVC, AV1, VP9, FFV1 and ProRes"
    stereo, spherical = picture.side_data.get(Type.STEREO3D), picture.side_data.get(Type.SPHERICAL)
    if stereo is not None and (kind := struct.unpack_from("=i", bytes(stereo))[0]) in _INTERLEAVED:
        yield f"stereo in {_INTERLEAVED[kind]}", "enlarging mixes its two views; split them first"
    if spherical is not None and (kind := struct.unpack_from("=i", bytes(spherical))[0]) not in _SPHERICAL:
        yield "the spherical projection", f"only {' and '.join(_SPHERICAL.values())} are written here"


def _is_spatial(picture: VideoFrame) -> bool:
    return bool(_stereo(picture) or _projection(picture))


def _said(picture: VideoFrame) -> Iterator[bytes]:
    """Elements of Matroska's Video."""
    hdr = StaticHdr.of(picture)
    colour = b""
    if hdr.light:
        colour += ebml(_MAX_CLL, _unsigned(hdr.light[0])) + ebml(_MAX_FALL, _unsigned(hdr.light[1]))
    if hdr.primaries and hdr.white and hdr.luminance:
        # Red, green, blue, white, each x and y; the largest luminance, then the least.
        numbers = [*(value for point in (*hdr.primaries, hdr.white) for value in point), *reversed(hdr.luminance)]
        colour += ebml(
            _MASTERING, b"".join(ebml(0x55D1 + i, struct.pack(">d", value)) for i, value in enumerate(numbers))
        )
    if colour:
        yield ebml(_COLOUR, colour)
    yield _stereo(picture)
    yield _projection(picture)


def _stereo(picture: VideoFrame) -> bytes:
    if (data := picture.side_data.get(Type.STEREO3D)) is None:
        return b""
    kind, flags = struct.unpack_from("=2i", bytes(data))
    mode = _STEREO_MODES.get((kind, flags & 1))
    return ebml(_STEREO_MODE, _unsigned(mode)) if mode else b""


def _projection(picture: VideoFrame) -> bytes:
    """AVSphericalMapping: kind, yaw, pitch, roll (16.16), and the bounds of a tile as shares of the whole (0.32)."""
    if (data := picture.side_data.get(Type.SPHERICAL)) is None:
        return b""
    kind, *angles = struct.unpack_from("=4i", bytes(data))
    left, top, right, bottom = struct.unpack_from("=4I", bytes(data), 16)
    if kind not in _SPHERICAL:
        return b""
    body = ebml(_PROJECTION_TYPE, b"\1")
    body += ebml(_PROJECTION_PRIVATE, struct.pack(">5I", 0, top, bottom, left, right))
    body += b"".join(ebml(0x7673 + i, struct.pack(">d", angle / 65536)) for i, angle in enumerate(angles))
    return ebml(_PROJECTION, body)


def _header(codec_id: str, said: bytes) -> bytes:
    """A Matroska file with one video track and no frame."""
    size = ebml(_WIDTH, _unsigned(64)) + ebml(_HEIGHT, _unsigned(64))
    track = ebml(0xD7, b"\1") + ebml(0x73C5, b"\1") + ebml(0x83, b"\1") + ebml(0x86, codec_id.encode())
    track += ebml(_VIDEO, size + said)
    info = ebml(0x2AD7B1, _unsigned(1_000_000)) + ebml(0x4D80, b"-") + ebml(0x5741, b"-")
    segment = ebml(_INFO, info) + ebml(_TRACKS, ebml(_TRACK, track)) + ebml(_CLUSTER, ebml(0xE7, b"\0"))
    return ebml(_EBML, ebml(0x4282, b"matroska")) + ebml(_SEGMENT, segment)


def _unsigned(value: int) -> bytes:
    return value.to_bytes(4, "big")
