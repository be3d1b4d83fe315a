"""NVDEC and NVENC: what is asked of them, and in one line why they refuse and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import av
from av.codec.hwaccel import HWAccel, HWDevice, HWDeviceType
from av.sidedata.sidedata import Type
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import FORMATS, PixelFormat
from rfdn_stream.media.card import FORMATS_ON_CARD, TORCH_CONTEXT, Card
from rfdn_stream.media.inquiry import ask

DECODERS = ("auto", "cpu", "cuda")
"""Where a video can be decoded: `cuda` = by NVDEC, `auto` = there if the network runs on a card and it can."""

_TAKEN = ("yuv420p", "yuvj420p", "yuv420p10le")
_CONTAINER_HINT = "in a container also NVIDIA_DRIVER_CAPABILITIES must have `video`"
# FFmpeg's words and ours; the first line of a log that is known counts, as the others follow from it.
_REASONS = [
    (re.compile(pattern), reason)
    for pattern, reason in (
        (
            r"Cannot load libcuda",
            "there is no NVIDIA driver (libcuda.so.1); install it, or start the container with its GPUs",
        ),
        (
            r"Cannot load libnvcuvid",
            f"the driver's decoder (libnvcuvid.so.1) is missing; install it whole, {_CONTAINER_HINT}",
        ),
        (
            r"Cannot load libnvidia-encode",
            f"the driver's encoder (libnvidia-encode.so.1) is missing; install it whole, {_CONTAINER_HINT}",
        ),
        (r"Cannot load (\w+)$", r"the NVIDIA driver is too old, it has no \1; update it"),
        (
            r"required nvenc API version. Required: ([\d.]+) Found: ([\d.]+)",
            r"the NVIDIA driver is too old: it speaks NVENC \2, \1 is needed; update it to 570 or newer",
        ),
        (
            r"OpenEncodeSessionEx failed: ((?:out of memory|incompatible client key) \(\d+\))",
            r"the card opens no further encoder: \1, as it says when too many encode at once or its memory is full; "
            "end other programs that encode",
        ),
        (
            r"OpenEncodeSessionEx failed: (?:unsupported device|no encode device) ",
            "this card has no encoder (cards for data centres, such as A100 and H100, have none)",
        ),
        (r"^Codec not supported", "this card does not encode to that codec; newer cards may"),
        (
            r"^(Width|Height) (\d+) exceeds (\d+)",
            r"\1 \2 is more than the \3 pixels that this card encodes to that codec",
        ),
        (
            r"^10 bit encode not supported",
            "this card does not encode 10 bits to that codec; choose hevc_nvenc, or 8 bits",
        ),
        (r"^YUV444P not supported", "this card does not encode 4:4:4; choose --pix-fmt nv12 or p010le"),
        (
            r"lacking required capabilities|No support for codec|Unsupported (?:chroma format|bit depth)",
            "this card does not decode this kind of video (codec, profile, depth or chroma sampling)",
        ),
        (
            r"^Video (width|height) (\d+) not within range from (\d+) to (\d+)",
            r"this card decodes a \1 of \3 to \4 pixels, and this video has \2",
        ),
        (r"failed -> CUDA_ERROR_NO_DEVICE", "the NVIDIA driver finds no card; see what `nvidia-smi` says"),
        (r"failed -> CUDA_ERROR_INVALID_DEVICE", "there is no card of that number; `nvidia-smi -L` lists them"),
        (
            r"failed -> CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
            "the NVIDIA driver was updated but its kernel module was not; restart the computer",
        ),
        (r"failed -> CUDA_ERROR_OUT_OF_MEMORY", "the card's memory is full; end other programs that use it"),
        (r"failed -> (CUDA_ERROR\w*: .+)", r"the NVIDIA driver says \1"),
    )
]


class RefusedError(MediaError):
    """A card does not do what was asked of it; the message says why, and fits behind a colon."""


class NotKeptError(RefusedError):
    """NVDEC decodes the video, but its pictures cannot stay on the card."""


@dataclass(frozen=True)
class Nvdec:
    """A way to decode: by NVDEC.

    Args:
        path: what is decoded.
        card: where pictures stay; None = they come to the host.
        index: of the card, where they come to the host.
    """

    path: str | Path
    card: Card | None = None
    index: int = 0

    @property
    def number(self) -> int:
        """Of the card, as CUDA counts them."""
        return self.index if self.card is None else self.card.index

    @property
    def description(self) -> str:
        """For the user."""
        return "decoded by NVDEC" + (" into host memory" if self.card is None else ", frames stay on the card")

    @contextmanager
    def accelerator(self) -> Iterator[HWAccel]:
        """What `av.open` is to decode by, inside the block.

        Raises:
            RefusedError: there is no card or no driver.
        """
        kept, device = self.card is not None, str(self.number)
        options = TORCH_CONTEXT if kept else {}
        with nullcontext() if self.card is None else self.card.current():
            try:
                HWDevice("cuda", device, options)
            except av.FFmpegError as error:
                raise RefusedError(explain(ask("decode", "", device), str(error))) from error
            yield HWAccel("cuda", device, is_hw_owned=kept, options=options)

    def format(self, picture: VideoFrame, context: VideoCodecContext) -> PixelFormat:
        """The format of a picture's samples, wherever they lie.

        Raises:
            RefusedError: NVDEC did not make the picture: FFmpeg went over to software, which it does silently.
            NotKeptError: the picture cannot stay on the card.
        """
        on_card = picture.format.name == "cuda"
        name = context.sw_format.name if on_card and context.sw_format else picture.format.name
        if name not in FORMATS_ON_CARD:
            log = [] if on_card else ask("decode", str(self.path), str(self.number))
            raise RefusedError(explain(log, f"{name} came out of it"))
        if on_card and picture.side_data.get(Type.A53_CC) is not None:
            raise NotKeptError("pictures with closed captions cannot stay on the card")
        return FORMATS[name]


def check_fitness(video: VideoStream) -> None:
    """Looks at a stream's header, without a card.

    Raises:
        RefusedError: no card decodes it, or FFmpeg would take less from the card than there is: NVDEC's pictures are
            4:2:0 whatever the source, and have even sides.
    """
    context = video.codec_context
    if all(config.device_type != HWDeviceType.cuda for config in context.codec.hardware_configs):
        raise RefusedError(f"{context.codec.name}, which decodes it, does not use NVDEC")
    if context.pix_fmt not in (None, *_TAKEN):
        raise RefusedError(f"{context.pix_fmt} is not taken from NVDEC, only 4:2:0 of 8 or 10 bits")
    if context.width % 2 or context.height % 2:
        raise RefusedError(f"{context.width}x{context.height} is not taken from NVDEC, only even sides")


def nvenc_refusal(standard: str, trial: tuple[str, ...], error: av.FFmpegError) -> UsageError:
    """What the user hears of an encoder that does not open.

    Args:
        standard: what it encodes to: ``h264``, ``hevc``, ``av1``.
        trial: of `OutputPlan.trial`.
    """
    why = explain(ask("encode", *trial), str(error))
    instead = {"h264": "libx264", "av1": "libsvtav1"}.get(standard, "libx265")
    return UsageError(f"{trial[0]} cannot be used here: {why}; or encode on the processor: --codec {instead}")


def explain(log: list[str], otherwise: str) -> str:
    """A card's refusal in the user's words.

    Args:
        log: of `inquiry.ask`.
        otherwise: what is known in case the log tells nothing.
    """
    for line in log:
        for pattern, reason in _REASONS:
            if (match := pattern.search(line)) is not None:
                return match.expand(reason)
    return f"FFmpeg says: {log[0]}" if log else otherwise
