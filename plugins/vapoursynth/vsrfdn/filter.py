"""The filter itself: its interface, its nodes, and what happens to a frame."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from os import PathLike
from traceback import format_exc

import numpy as np
import vapoursynth as vs

from rfdn_stream import DeviceError, Frame, RfdnError, UsageError
from vsrfdn.arguments import TILE_PAD, check_host, options, target_size
from vsrfdn.color import meaning
from vsrfdn.formats import converted, pixel_format, planes_of
from vsrfdn.pool import POOL, Lease

log = logging.getLogger("rfdn_stream")

# An alias of _Range up to R77, of the opposite sense: copied with the others, it would turn the range over, and
# reading it warns.
_ALIAS = "_ColorRange"


def rfdn(
    clip: vs.VideoNode,
    scale: int = 2,
    model: str | PathLike[str] | None = None,
    *,
    device: str | None = None,
    device_index: int | None = None,
    num_streams: int | None = None,
    precision: str = "auto",
    tile: int | tuple[int, int] = (0, 0),
    tile_pad: int = TILE_PAD,
    strength: float = 1.0,
    engine: str = "auto",
    reuse: str = "frames",
    height: int | None = None,
    width: int | None = None,
    model_path: str | PathLike[str] | None = None,
) -> vs.VideoNode:
    """Makes a clip sharper and `scale` times as large each way, with RFDN.

    Every clip comes back in its own format: YUV and GRAY of 8 to 16 bits or floating point, RGB24 to RGB48, RGBH and
    RGBS. Integers are turned into RGB and back by the matrix, range and chroma location of each frame; what a frame
    does not say is guessed as players guess it, and logged. Floating point is never clamped by a network, but between
    two of them, as for 8 times. Frame properties are kept, but no result is interlaced. Clips of variable size or
    format are taken, too.

    All filters of a process with the same options share one network. The first one loads it, and it is released
    some seconds after the last one is gone.

    Args:
        clip: of any size.
        scale: what the network enlarges by: 2, 3 or 4; or a product of these up to 16, by several in sequence.
        model: a name that ``rfdn-stream models`` lists, or a weights file; None = the default for video.
        device: "auto", "cpu", "cuda" or "cuda:N"; None = "auto".
        device_index: number of a CUDA device, instead of `device`.
        num_streams: frames in flight, 1 to 256; None = 3. Several overlap copies and conversion with the network,
            and each takes the memory of a frame; `core.num_threads` bounds it, too.
        precision: "auto", "fp32", "bf16" or "fp16".
        tile: side of square tiles in pixels of the clip, 64 or more, as a number or a pair; 0 = whole frames for as
            long as they fit into memory. Whole frames are exact, tiles nearly so.
        tile_pad: what a tile sees of its surroundings, in pixels; 16.
        strength: how much of the network's sharpening is taken, 0 to 1.
        engine: "auto", "winograd" or "openvino" (CPU), "torch", or on a card "fused", "graph", "compile", "tensorrt".
        reuse: "frames": one that is the same as one of the last few is not computed again, which is exact; "regions":
            neither are still parts of others, which is nearly exact, and only good in order; or "off".
        height, width: size of the result, up to 65536, resampled (Lanczos) from what the network gives; where only one
            is given, the other keeps the picture's shape.
        model_path: a weights file, instead of `model`.

    Returns:
        The clip, larger, in the same format and of the same length.

    Raises:
        vs.Error: "rfdn: ...", which says what was got, what is allowed and what to do. What goes wrong inside a
            frame is raised when that frame is asked for, and names it.

    Example:
        >>> clip = core.bs.VideoSource("in.mkv")    # doctest: +SKIP
        >>> rfdn(clip).set_output()
    """
    try:
        check_host(clip)
        wanted = options(
            scale=scale, model=model, model_path=model_path, device=device, device_index=device_index,
            num_streams=num_streams, precision=precision, tile=tile, tile_pad=tile_pad, strength=strength,
            engine=engine, reuse=reuse,
        )  # fmt: skip
        size = target_size(clip, scale, height, width)
        if clip.format.color_family != vs.UNDEFINED:
            pixel_format(converted(clip.format))  # refuses what cannot be taken
        lease = POOL.lease(wanted)
        upscaler = lease.upscaler
        if upscaler.scale != scale:
            raise UsageError(
                f"model {upscaler.model.name} enlarges by {upscaler.scale}, not by {scale}; "
                f"write scale={upscaler.scale}, or take another model"
            )
    except RfdnError as failure:
        raise vs.Error(f"rfdn: {_spoken(failure)}") from None
    result = _enlarge(clip, lease)
    return result if size is None else result.resize.Lanczos(*size)


def _enlarge(clip: vs.VideoNode, lease: Lease) -> vs.VideoNode:
    """The clip's frames through the lease's Upscaler, several at once."""
    if converted(clip.format) != clip.format:
        between = clip.resize.Bicubic(format=converted(clip.format).id)
        return _enlarge(between, lease).resize.Bicubic(format=clip.format.id)
    template = _template(clip, lease.upscaler.scale)
    enlarger = _Enlarger(lease)

    # A node takes one frame at a time; a fresh one for each frame lets as many run as the core has threads.
    def fresh(n: int) -> vs.VideoNode:
        return template.std.ModifyFrame(clips=[clip], selector=enlarger)

    return template.std.FrameEval(fresh, clip_src=[clip])


def _template(clip: vs.VideoNode, scale: int) -> vs.VideoNode:
    """An empty clip in the shape of the result. No frame is touched: in players the clip may be endless."""
    known = clip.format.color_family != vs.UNDEFINED
    if known and clip.width:
        return clip.std.BlankClip(width=clip.width * scale, height=clip.height * scale, keep=True)
    format = {"format": clip.format.id} if known else {"varformat": True}
    timing = {"length": clip.num_frames, "fpsnum": clip.fps.numerator, "fpsden": clip.fps.denominator}
    return vs.core.std.BlankClip(**format, **timing, varsize=True, keep=True)


class _Enlarger:
    """What happens to a frame; called from any thread."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def __call__(self, n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        try:
            return self._enlarged(f)
        except Exception as failure:  # noqa: BLE001 - raised again, as this frame's
            message = _spoken(failure)
            if isinstance(failure, DeviceError):
                POOL.forget(self._lease.upscaler)
            if not isinstance(failure, RfdnError):
                log.error("frame %d failed in a way that nobody foresaw; please report this\n%s", n, format_exc())
                message = f"{type(failure).__name__}: {failure}"
            # The Upscaler keeps its latest tickets and their failures: a traceback through here would keep this
            # filter alive, and so its lease.
            failure.__traceback__ = None
            raise vs.Error(f"rfdn: frame {n}: {message}") from None

    def _enlarged(self, source: vs.VideoFrame) -> vs.VideoFrame:
        upscaler, format = self._lease.upscaler, pixel_format(source.format)
        means = meaning(source.props, format, source.width, source.height)
        for note in means.notes:
            _warn(note)
        if source.props.get("_FieldBased"):
            _warn(
                "the clip is interlaced; its lines are enlarged as they are, deinterlace it first for a better result"
            )
        frame = Frame(planes_of(source, format), format, source.width, source.height, means.color)
        ticket = upscaler.submit(frame)
        # Made while the network computes.
        size = source.width * upscaler.scale, source.height * upscaler.scale
        target = vs.core.create_video_frame(source.format, *size)
        target.props.update({key: source.props[key] for key in source.props if key != _ALIAS})
        target.props.update(means.props)
        if "_FieldBased" in source.props:
            target.props["_FieldBased"] = 0  # whoever splits the result into fields would tear it
        with ticket as result:
            for plane, values in zip(planes_of(target, format), result.planes, strict=True):
                np.copyto(plane, values)
        return target


@lru_cache(maxsize=256)
def _warn(message: str) -> None:
    """Says it once in a process: players evaluate a script again and again."""
    vs.core.log_message(vs.MESSAGE_TYPE_WARNING, f"rfdn: {message}")


def _spoken(failure: Exception) -> str:
    """The engine's message with its command line's options as this filter's arguments: --model FILE, model=FILE."""
    return re.sub(r"--(\w+) (\w+)", r"\1=\2", str(failure))
