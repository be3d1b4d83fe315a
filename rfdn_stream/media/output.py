"""What an output will be, settled before work starts: its container, its encoding, and what is copied."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

import av
from av.codec.codec import Codec
from av.format import Flags

from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import UsageError
from rfdn_stream.media.alpha import format_with_alpha
from rfdn_stream.media.card import Card
from rfdn_stream.media.contents import Difference
from rfdn_stream.media.encoders import Encoding, choose_encoding
from rfdn_stream.media.extras import lost_extras
from rfdn_stream.media.passthrough import LABELS, TS_CODECS, CopiedStream, has_flag, plan_copies
from rfdn_stream.media.probe import ffmpeg_name
from rfdn_stream.media.rehearsal import announced, rehearse
from rfdn_stream.media.selection import selected
from rfdn_stream.media.source import Source

# ASF and Ogg: what FFmpeg writes into them comes back at other times.
_WITH_OTHER_TIMES = frozenset({"asf", "asf_stream", "ogg", "ogv"})


@dataclass(frozen=True)
class OutputPlan:
    """All that is decided of an output.

    Args:
        muxer: FFmpeg's name of the container.
        encoding: the encoder; its `format` and `color` are what the sink's frames must have.
        copied: streams that go along.
        dropped: what does not, each with the reason.
        notes: sentences for the user.
        card: where the encoder takes its frames from; None = the host's memory.
        changes: in what the output's tags and marks will differ from the source's; None = it could not be tried.
    """

    muxer: str
    encoding: Encoding
    copied: tuple[CopiedStream, ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    card: Card | None = None
    changes: frozenset[Difference] | None = frozenset()

    def trial(self, size: tuple[int, int]) -> tuple[str, ...]:
        """The arguments of `inquiry.try_encoding` for pictures of (width, height)."""
        options = self.encoding.options if self.card is None else {**self.encoding.options, "gpu": str(self.card.index)}
        pairs = (f"{key}={value}" for key, value in options.items())
        return self.encoding.codec, self.encoding.format.name, *map(str, size), *pairs


def muxer_of(path: str | Path) -> str:
    """FFmpeg's name of the container that the path's extension asks for; nothing is written.

    Raises:
        UsageError: the extension is unknown, or does not mean one video file with timestamps.
    """
    extension = Path(path).suffix
    try:
        with av.open(ffmpeg_name(path), "w") as output:
            name = output.format.name
    except ValueError:
        got = f"the extension {extension!r} of {path} is unknown" if extension else f"{path} has no extension"
        raise UsageError(f"{got}; the usual ones are .mkv, .mp4, .mov, .webm, .ts and .avi") from None
    if has_flag(name, Flags.no_file) or has_flag(name, Flags.no_timestamps) or name in _WITH_OTHER_TIMES:
        raise UsageError(f"{extension} does not hold a video with its timestamps; use .mkv, .mp4 or .mov")
    return name


def plan_output(
    source: Source,
    path: str | Path,
    options: EncodeOptions | None = None,
    card: Card | None = None,
    streams: str | None = None,
) -> OutputPlan:
    """Decides how `source` is written to a file named `path`; nothing is written.

    Args:
        card: where frames will be; an encoder that can take them there does.
        streams: which of the others are copied, as for `selection.selected`; None = all.

    Raises:
        UsageError: the extension or an option does not fit.
    """
    muxer = muxer_of(path)
    chosen = None if streams is None else selected(streams, list(source.container.streams), source.video)
    encoding = choose_encoding(source.info.format, source.info.color, lambda codec: holds(muxer, codec), options)
    if muxer == "avi" and Codec(encoding.codec, "w").reorder:  # it has no times, so frames are shown as they come
        encoding = replace(encoding, options={**encoding.options, "bf": "0"})
    encoding = replace(encoding, alpha=format_with_alpha(encoding, source.first.origin))
    if encoding.on_card is None:
        card = None
    elif card is not None:
        encoding = replace(encoding, format=encoding.on_card)
    copies = plan_copies(source, muxer, chosen)
    dropped = list(copies.dropped)
    dropped += lost_extras(source, muxer, encoding)
    notes = [*encoding.notes, *copies.notes]
    if source.span.begin is None and (first := float(source.span.shift)):
        notes.append(f"every time is moved by {-first:+.3f} s, as the source's clock begins at {first:.3f} s")
    changes = rehearse(source, muxer, copies.copied)
    if changes is None:
        notes.append(f"what {LABELS.get(muxer, muxer)} keeps of tags and marks could not be tried and may be less")
    else:
        lost, more = announced(changes, muxer)
        dropped, notes = dropped + lost, notes + more
    if is_constant_rate(muxer, encoding):
        label = LABELS.get(muxer, muxer)
        who = encoding.codec if encoding.constant_rate else label
        notes.append(f"{who} keeps a constant frame rate: times are rounded to 1/{float(source.info.rate):g} s")
    return OutputPlan(muxer, encoding, copies.copied, tuple(dropped), tuple(notes), card, changes)


def is_constant_rate(muxer: str, encoding: Encoding) -> bool:
    """Whether times must be rounded to whole frames, for the encoder's sake or for the container's (AVI)."""
    return encoding.constant_rate or muxer == "avi"


def holds(muxer: str, codec: str) -> bool:
    """Whether a container can hold what an encoder makes."""
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as output:
            made = output.add_stream(codec).codec_context.codec.canonical_name
    except ValueError:
        return False
    return muxer != "mpegts" or made in TS_CODECS
