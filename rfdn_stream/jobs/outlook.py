"""What a job will do, known before its first frame is made: for people as lines, for programs as values of JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from rfdn_stream.frame import ColorSpec, Frame, VideoInfo
from rfdn_stream.media.hdr import StaticHdr
from rfdn_stream.media.output import OutputPlan
from rfdn_stream.media.passthrough import LABELS, describe_stream, is_written_anew
from rfdn_stream.media.source import Source
from rfdn_stream.upscaler import Upscaler

ENLARGED, KEPT, CONVERTED, DROPPED, ANEW = "enlarged", "kept", "converted", "dropped", "written anew"


@dataclass(frozen=True)
class Picture:
    """What the pictures of one side are; `codec` is FFmpeg's name of a codec, or of an encoder."""

    path: str
    container: str
    width: int
    height: int
    pixel_format: str
    codec: str
    matrix: str
    range: str
    siting: str
    primaries: int
    transfer: int

    @classmethod
    def of(cls, path: str, container: str, codec: str, size: tuple[int, int], format: str, color: ColorSpec) -> Picture:
        """With the colour's fields side by side."""
        return cls(
            path, container, *size, format, codec,
            color.matrix, color.range, color.siting, color.primaries, color.transfer,
        )  # fmt: skip


@dataclass(frozen=True)
class StreamFate:
    """What becomes of one of the source's streams; `to` = a codec, `reason` = why it is dropped."""

    index: int
    stream: str
    fate: str
    to: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Estimate:
    """Of the time, from `measured` frames: seconds a frame in the network and in the encoder, and of the whole."""

    measured: int
    network: float
    encoder: float
    seconds: float | None


@dataclass(frozen=True)
class Outlook:
    """All that is decided of a job.

    Args:
        frames: an estimate from the header; None = unknown.
        rate: frames a second, for videos.
        guessed: which of the source's colours it does not say itself.
        streams: of the source.
        dropped: pairs of what else is lost, or which stream, and why.
    """

    kind: str
    source: Picture
    target: Picture
    options: dict[str, str]
    engine: str
    scale: int
    frames: int | None = None
    rate: Fraction | None = None
    seconds: float | None = None
    guessed: tuple[str, ...] = ()
    streams: tuple[StreamFate, ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    estimate: Estimate | None = None

    def facts(self) -> dict[str, Any]:
        """As JSON takes it; docs/events.schema.json has the meanings."""
        facts = asdict(self)
        facts["rate"] = None if self.rate is None else str(self.rate)
        facts["dropped"] = [{"what": what, "why": why} for what, why in self.dropped]
        return facts

    def __str__(self) -> str:
        return "\n".join(f"{name + ':':12}{text}" for name, text in self._lines())

    def _lines(self) -> Iterator[tuple[str, str]]:
        source, target = self.source, self.target
        yield "plan", f"{source.path} -> {target.path}; nothing is written"
        long = "" if self.seconds is None else f", {clock(self.seconds)}"
        rate = "" if self.rate is None else f", {float(self.rate):.6g} fps{long}"
        yield "in", f"{source.width}x{source.height} {source.pixel_format}, {source.codec}{rate}"
        options = "".join(f" {key} {value}" for key, value in self.options.items())
        yield (
            "out",
            f"{target.width}x{target.height} {target.pixel_format}, {target.codec}{options}, {target.container}",
        )
        for name, side in (("colour in", source), ("colour out", target)):
            yield (
                name,
                f"matrix {side.matrix}, range {side.range}, siting {side.siting}"
                + (f" (guessed: {', '.join(self.guessed)})" if side is source and self.guessed else ""),
            )
        yield "network", f"x{self.scale}: {self.engine}"
        for fate in self.streams:
            if fate.fate not in (ENLARGED, DROPPED):
                yield fate.fate, fate.stream + (f" to {fate.to}" if fate.to else "")
        lost = tuple((fate.stream, fate.reason) for fate in self.streams if fate.fate == DROPPED)
        for what, why in dict.fromkeys(lost + self.dropped):
            yield "dropped", f"{what} ({why})"
        for note in self.notes:
            yield "note", note
        yield "estimate", self._estimate_line()

    def _estimate_line(self) -> str:
        if self.estimate is None:
            return "none was made"
        if self.kind == "image":
            return f"{clock(self.estimate.network)} in the network, measured on a part"
        each = f"{self.estimate.network:.3g} s a frame in the network, {self.estimate.encoder:.3g} s in the encoder"
        if self.estimate.seconds is None:
            return f"{each}; how many frames there are is not known"
        frames = f"{clock(self.estimate.seconds)} for about {self.frames:,} frames"
        return f"{frames}: {each}, measured on {self.estimate.measured}"


def clock(seconds: float) -> str:
    """A length of time for people: ``0.4 s``, ``12 s``, ``3:25``, ``1:02:03``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}".removeprefix("0:")


def expected_frames(info: VideoInfo) -> int:
    """An estimate only; the file may hold more or fewer; 0 = unknown."""
    return round(info.duration * float(info.rate)) if info.duration else info.frames_from_header


def of_video(source: Source, plan: OutputPlan, network: str, scale: int, size: tuple[int, int], target: str) -> Outlook:
    """The outlook of a video.

    Args:
        network: its `Upscaler.description`, and `scale`.
        size: of the frames put out.
    """
    info, encoding = source.info, plan.encoding
    container = source.container.format.name
    before = Picture.of(
        str(source.path), container, info.codec, (info.width, info.height), info.format.name, info.color
    )
    label = LABELS.get(plan.muxer, plan.muxer)
    pixels = encoding.alpha or encoding.format.name
    return Outlook(
        kind="video",
        source=before,
        target=Picture.of(target, label, encoding.codec, size, pixels, encoding.color),
        options=encoding.with_hdr(StaticHdr.of(source.first.origin), size),
        engine=network,
        scale=scale,
        frames=expected_frames(info) or None,
        rate=info.rate,
        seconds=info.duration,
        guessed=info.color.guessed,
        streams=tuple(_fates(source, plan)),
        dropped=plan.dropped,
        notes=tuple(text for _, text in remarks(source, plan)),
    )


def of_image(
    frame: Frame, size: tuple[int, int], upscaler: Upscaler, source: str, target: str, suffixes: tuple[str, str]
) -> Outlook:
    """The outlook of an image; `suffixes` are of the two files' names."""
    kinds = [suffix.lower().removeprefix(".") for suffix in suffixes]
    sizes = (frame.width, frame.height), size
    sides = [
        Picture.of(path, kind, kind, each, frame.format.name, frame.color)
        for path, kind, each in zip((source, target), kinds, sizes)
    ]
    return Outlook("image", sides[0], sides[1], {}, upscaler.description, upscaler.scale, frames=1)


def _fates(source: Source, plan: OutputPlan) -> Iterator[StreamFate]:
    copies, reasons = {copy.index: copy for copy in plan.copied}, dict(plan.dropped)
    for stream in source.container.streams:
        name, copy = describe_stream(stream), copies.get(stream.index)
        if stream.index == source.video.index:
            yield StreamFate(stream.index, name, ENLARGED, plan.encoding.codec)
        elif copy is not None:
            yield StreamFate(stream.index, name, CONVERTED if copy.how == "convert" else KEPT, copy.codec)
        elif name in reasons:
            yield StreamFate(stream.index, name, DROPPED, reason=reasons[name])
        elif is_written_anew(stream):
            yield StreamFate(stream.index, name, ANEW)
        else:
            yield StreamFate(stream.index, name, DROPPED, reason="not among --streams")


def remarks(source: Source, plan: OutputPlan) -> Iterator[tuple[bool, str]]:
    """What is worth saying before work starts, beside what is dropped; True = a warning."""
    if source.decoding:
        yield False, source.decoding
    color = source.info.color
    if color.guessed:
        meaning = {"matrix": color.matrix, "range": color.range, "siting": color.siting}
        guesses = ", ".join(f"{name} {meaning[name]}" for name in color.guessed)
        yield False, f"the source does not say how its colour is meant; taken as players take it: {guesses}"
    if source.film:
        yield (
            False,
            (
                "the source is film with soft telecine: each picture is made once, at its own time, "
                "and does not ask for a field to be shown twice any more"
            ),
        )
    if source.deinterlaced:
        yield False, "the source is interlaced: bwdif makes frames of its fields (--deinterlace off leaves them)"
    elif source.info.interlaced and source.first.origin.interlaced_frame:
        yield True, "the source is interlaced and its lines are enlarged as they are; --deinterlace auto is better"
    yield from ((False, note) for note in plan.notes)
