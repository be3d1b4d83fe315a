"""What a source's pictures carry beside their samples and the output will not: known before work starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from av.codec.codec import Codec
from av.sidedata.sidedata import Type

from rfdn_stream.media import dynamic_hdr, shell
from rfdn_stream.media.alpha import HINT, has_alpha
from rfdn_stream.media.encoders import Encoding
from rfdn_stream.media.hdr import StaticHdr, lost_metadata

if TYPE_CHECKING:
    from rfdn_stream.media.source import Source

_WITH_CAPTIONS = frozenset({"libx264", "libx265", "h264_nvenc", "hevc_nvenc"})
_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # that read WebM's second pictures


def lost_extras(source: Source, muxer: str, encoding: Encoding) -> Iterator[tuple[str, str]]:
    """Pairs of what is lost and why. Looked at are the header and the first picture."""
    picture, codec = source.first.origin, Codec(encoding.codec, "w").canonical_name
    if has_alpha(picture) and not encoding.alpha:
        yield "transparency", f"{encoding.codec} gets none; {HINT}"
    if not has_alpha(picture) and source.video.metadata.get("alpha_mode") == "1":
        decoder = _DECODERS.get(source.info.codec, source.info.codec)
        why = f"FFmpeg's own decoder of {source.info.codec} does not read it"
        yield "transparency", f"{why}; ffmpeg -c:v {decoder} -i IN -c:v ffv1 OUT.mkv makes a file that has it"
    held = shell.holds(muxer, codec)
    if not held and not encoding.writes_hdr and StaticHdr.of(picture) != StaticHdr():
        yield "HDR mastering metadata", f"{encoding.codec} cannot be given it here; libx265 and libsvtav1 can"
    if picture.side_data.get(Type.DYNAMIC_HDR_PLUS) is not None:
        if codec not in dynamic_hdr.CODECS:
            yield "HDR10+ dynamic metadata", f"not written into {codec}; it is into HEVC and AV1"
        elif picture.opaque is None:
            yield "HDR10+ dynamic metadata", f"it does not stand in the packets of {source.info.codec}"
    if picture.side_data.get(Type.A53_CC) is not None and encoding.codec not in _WITH_CAPTIONS:
        yield "closed captions", f"{encoding.codec} does not write them; libx264 and libx265 do"
    lost = lost_metadata(picture)
    if "dovi_conf" in source.video.codec_context.coded_side_data and "Dolby Vision metadata" not in lost:
        lost.append("Dolby Vision metadata")
    yield from ((name, "no encoder here writes it") for name in lost)
    yield from shell.unsaid(picture, muxer, codec)
