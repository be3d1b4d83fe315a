"""Which encoder, with what settings, in which pixel format: the choice a video person would make."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import av
from av.codec.codec import Codec, UnknownCodecError, find_best_pix_fmt_of_list

from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import UsageError
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, PixelFormat
from rfdn_stream.media.hdr import StaticHdr
from rfdn_stream.media.steady import x264_params

_X26X_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip


@dataclass(frozen=True)
class Traits:
    """What is to be known of an encoder that FFmpeg does not tell.

    Args:
        crf: the default constant quality, for 8 bits and for more.
        quality: the option that takes it, and the largest value.
        preset: the option that trades speed for size, its default, and all its values.
        settings: always set.
        params: the option that takes ``key=value`` pairs, and the pairs that are always set.
        small: such pairs for pictures with a side below `SMALL`.
        hdr: makes such pairs of static HDR metadata; None = this encoder cannot be given any.
        on_card: formats of frames that it takes from a card's memory, and as what.
        frames: the parameter for how many frames are encoded at once, where that is not the number of threads.
    """

    crf: tuple[float, float]
    quality: tuple[str, float]
    preset: tuple[str, str, Sequence[str]]
    settings: dict[str, str] = field(default_factory=dict)
    params: tuple[str, Sequence[str]] | None = None
    small: tuple[str, ...] = ()
    hdr: Callable[[StaticHdr], list[str]] | None = None
    on_card: dict[str, str] = field(default_factory=dict)
    frames: str = ""


_X264 = Traits(
    crf=(16, 16),
    quality=("crf", 51),
    preset=("preset", "medium", _X26X_PRESETS),
    params=("x264-params", x264_params()),
    hdr=lambda hdr: hdr.in_integers("mastering-display", "cll"),
)
_NVENC = Traits(
    crf=(19, 19),
    quality=("cq", 51),
    preset=("preset", "p5", tuple(f"p{n}" for n in range(1, 8))),
    settings={"rc": "vbr"},
    on_card={"yuv420p": "nv12", "nv12": "nv12", "p010le": "p010le"},
)
TRAITS = {
    "libx264": _X264,
    "libx264rgb": _X264,
    "libx265": Traits(
        crf=(18, 18),
        quality=("crf", 51),
        preset=("preset", "medium", _X26X_PRESETS),
        settings={"a53cc": "1"},
        # info=0: the header depends on nothing but the settings.
        params=("x265-params", ("log-level=error", "info=0")),
        small=("no-cutree=1",),  # whose AVX2 code writes beyond its memory, where a row has few blocks
        hdr=lambda hdr: hdr.in_integers("master-display", "max-cll"),
        frames="frame-threads",
    ),
    "libsvtav1": Traits(
        crf=(24, 24),
        quality=("crf", 63),
        preset=("preset", "6", tuple(map(str, range(14)))),
        params=("svtav1-params", ()),
        hdr=lambda hdr: hdr.in_decimals("mastering-display", "content-light"),
    ),
    "libvpx-vp9": Traits(
        crf=(24, 24),
        quality=("crf", 63),
        preset=("cpu-used", "2", tuple(map(str, range(9)))),
        settings={"row-mt": "1"},
    ),
    "h264_nvenc": _NVENC,
    "hevc_nvenc": _NVENC,
    "av1_nvenc": _NVENC,
}
# Tried in turn where the user names no encoder: the first that the container can hold, and that has a
# format of the source's depth.
_AUTOMATIC = {8: ("libx264", "libvpx-vp9", "libsvtav1"), 10: ("libx265", "libsvtav1", "libvpx-vp9")}
# Encoders that keep time in frames, not in ticks.
_CONSTANT_RATE = frozenset({"mpeg4", "mpeg1video", "mpeg2video", "dvvideo", "dnxhd", "msmpeg4v3", "h263p"})
_QSCALE = 2
SMALL = 64
"""Pixels; x265's largest block."""


@dataclass(frozen=True)
class Encoding:
    """How frames are to be encoded.

    Args:
        codec: FFmpeg's name of the encoder.
        format, color: what the sink takes, and what the output says that it is.
        options: the encoder's options; `params` of them take ``key=value`` pairs.
        qscale: the constant quantiser of an encoder without a quality option.
        constant_rate: times are rounded to whole frames.
        alpha: the pixel format in which the encoder takes `format` with an alpha plane; "" = without.
        notes: what to tell the user.
        threads: of the encoder, on whose number the bitstream may depend; 0 = as many as it likes.
    """

    codec: str
    format: PixelFormat
    color: ColorSpec
    options: dict[str, str]
    params: tuple[str, ...] = ()
    qscale: int | None = None
    constant_rate: bool = False
    alpha: str = ""
    notes: tuple[str, ...] = ()
    threads: int = 0

    def for_processors(self, count: int) -> Encoding:
        """The same for a machine of so many processors, so that every machine makes the same of the same frames.

        The numbers are those that x264 and x265 choose for themselves, up to 16 threads.
        """
        traits = TRAITS.get(self.codec)
        fixed = (f"{traits.frames}={max(1, count.bit_length() - 1)}",) if traits and traits.frames else ()
        return replace(self, threads=min(max(1, count * 3 // 2), 16), params=self.params + fixed)

    @property
    def on_card(self) -> PixelFormat | None:
        """The format in which frames can be given to the encoder on a card; None = only from the host."""
        traits = TRAITS.get(self.codec)
        name = traits.on_card.get(self.format.name) if traits else None
        return FORMATS[name] if name else None

    @property
    def writes_hdr(self) -> bool:
        """Whether static HDR metadata gets into the output."""
        traits = TRAITS.get(self.codec)
        return traits is not None and traits.hdr is not None

    def with_hdr(self, hdr: StaticHdr, size: tuple[int, int]) -> dict[str, str]:
        """The encoder's options with its parameters for static HDR metadata and for pictures of (width, height)."""
        traits = TRAITS.get(self.codec)
        if traits is None or traits.params is None:
            return self.options
        small = traits.small if min(size) < SMALL else ()
        pairs = [*self.params, *small, *(traits.hdr(hdr) if traits.hdr else ())]
        return {**self.options, traits.params[0]: ":".join(pairs)} if pairs else self.options


def choose_encoding(
    source: PixelFormat, color: ColorSpec, holds: Callable[[str], bool], options: EncodeOptions | None = None
) -> Encoding:
    """The encoder and its settings for a source's format, as far as the user leaves them open.

    The output keeps the source's depth and chroma sampling where the encoder can. RGB becomes limited-range
    BT.709 4:4:4 in lossy encoders and stays RGB in lossless ones.

    Args:
        holds: whether the output's container can hold what an encoder makes.

    Raises:
        UsageError: no such encoder, or it cannot do what was asked.
    """
    options = options or EncodeOptions()
    codec = Codec(_settle_codec(source, holds, options.codec), "w")
    format = _settle_format(codec, source, options.pix_fmt)
    notes = []
    coarser = source.family != "gray" and format.subsampling > source.subsampling
    if options.pix_fmt is None and (coarser or format.bits < source.bits):
        notes.append(f"{codec.name} gets {format.name}, which is coarser than the source's {source.name}")
    traits = TRAITS.get(codec.name)
    if traits is None:
        settings, params, qscale = _without_quality(codec, options)
    else:
        settings, params, qscale = _quality(traits, codec.name, format, options), _params(traits), None
    return Encoding(
        codec=codec.name,
        format=format,
        color=_output_color(source, color, format),
        options=settings,
        params=params,
        qscale=qscale,
        constant_rate=codec.name in _CONSTANT_RATE,
        notes=tuple(notes),
    )


def _settle_codec(source: PixelFormat, holds: Callable[[str], bool], asked: str | None) -> str:
    if asked is not None:
        known = _video_encoders()
        if asked not in known:
            near = difflib.get_close_matches(asked, known, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else ""
            raise UsageError(f"there is no video encoder {asked!r}; {hint or 'for example: ' + ', '.join(TRAITS)}")
        if not holds(asked):
            raise UsageError(f"the output's container cannot hold {asked}; choose another encoder, or .mkv")
        return asked
    holding = [name for name in _AUTOMATIC[8 if source.bits == 8 else 10] if holds(name)]
    if not holding:
        raise UsageError("the output's container holds no video that this program makes; choose .mkv, .mp4 or .mov")
    return next((name for name in holding if _nearest(Codec(name, "w"), source).bits >= source.bits), holding[0])


def _video_encoders() -> list[str]:
    found = []
    for name in av.codecs_available:
        try:
            codec = Codec(name, "w")
        except UnknownCodecError:
            continue
        if codec.type == "video":
            found.append(name)
    return sorted(found)


def _settle_format(codec: Codec, source: PixelFormat, asked: str | None) -> PixelFormat:
    if asked is None:
        return _nearest(codec, source)
    usable = [format.name for format in _formats(codec)]
    if asked not in usable:
        raise UsageError(f"{codec.name} cannot take pixel format {asked!r} from here; it takes {', '.join(usable)}")
    return FORMATS[asked]


def _formats(codec: Codec) -> list[PixelFormat]:
    """The formats that both the encoder and the engine know; an encoder that lists none takes all."""
    listed = codec.video_formats
    usable = [f for f in FORMATS.values() if listed is None or any(f.name == v.name for v in listed)]
    if not usable:
        raise UsageError(f"{codec.name} takes no pixel format that this program makes; choose another encoder")
    return usable


def _nearest(codec: Codec, source: PixelFormat) -> PixelFormat:
    """The encoder's format that loses least of the source; lossy encoders get RGB as YUV 4:4:4."""
    usable = _formats(codec)
    wanted = source.name
    if source.family == "rgb" and codec.lossy and any(f.family == "yuv" for f in usable):
        usable = [f for f in usable if f.family == "yuv"]
        wanted = {8: "yuv444p", 10: "yuv444p10le"}.get(source.bits, "yuv444p12le")
    elif source.family == "gray" and not any(f.family == "gray" for f in usable):
        usable = [f for f in usable if f.family == "yuv"] or usable
        wanted = {8: "yuv420p", 10: "yuv420p10le"}.get(source.bits, "yuv420p12le")
    best, _ = find_best_pix_fmt_of_list([f.name for f in usable], wanted)
    return usable[0] if best is None else FORMATS[best.name]


def _output_color(source: PixelFormat, color: ColorSpec, format: PixelFormat) -> ColorSpec:
    if format.family == "rgb":
        return ColorSpec("rgb", RGB_FULL.range, RGB_FULL.siting, color.primaries, color.transfer)
    if source.family == "rgb":
        return ColorSpec("bt709", "limited", "left", color.primaries, color.transfer)
    return ColorSpec(color.matrix, color.range, color.siting, color.primaries, color.transfer)


def _quality(traits: Traits, name: str, format: PixelFormat, options: EncodeOptions) -> dict[str, str]:
    key, largest = traits.quality
    crf = options.crf if options.crf is not None else traits.crf[format.bits > 8]
    if not 0 <= crf <= largest:
        raise UsageError(f"{name} takes a crf of 0 to {largest:g}, got {crf:g}")
    preset_key, default, presets = traits.preset
    preset = options.preset if options.preset is not None else default
    if preset not in presets:
        raise UsageError(f"{name} has no preset {preset!r}; it has {', '.join(presets)}")
    return {**traits.settings, key: f"{crf:g}", preset_key: preset}


def _params(traits: Traits) -> tuple[str, ...]:
    return tuple(traits.params[1]) if traits.params else ()


def _without_quality(codec: Codec, options: EncodeOptions) -> tuple[dict[str, str], tuple[str, ...], int | None]:
    """Encoders that are not in the table: lossless ones need nothing, others a fine constant quantiser."""
    lossless = codec.lossless and not codec.lossy
    for option, value in (("crf", options.crf), ("preset", options.preset)):
        if value is not None:
            why = "it is lossless" if lossless else "this program does not know its quality settings"
            takers = ", ".join(TRAITS)
            raise UsageError(f"{codec.name} takes no {option} ({why}); leave --{option} out, or use one of {takers}")
    return {}, (), None if lossless else _QSCALE
