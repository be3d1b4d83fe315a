"""Which of the other streams are copied: ``--streams a:eng,s,t``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from av.stream import Stream

from rfdn_stream.errors import UsageError
from rfdn_stream.media.passthrough import describe_stream

KINDS = {"v": "video", "a": "audio", "s": "subtitle", "d": "data", "t": "attachment"}
"""Letters of a selector, as FFmpeg's, and the streams' kinds; cover art is a video."""


@dataclass(frozen=True)
class Selector:
    """Streams of a kind: all of them, the one of that number among them, or those of a language.

    Args:
        text: as the user wrote it, ``a``, ``a:0`` or ``a:eng``.

    Raises:
        UsageError: it is written otherwise.
    """

    text: str

    def __post_init__(self) -> None:
        letter, colon, which = self.text.partition(":")
        if letter not in KINDS or (colon and not which.isalnum()):
            letters = ", ".join(f"{letter} ({kind})" for letter, kind in KINDS.items())
            raise UsageError(
                f"unknown stream selector {self.text!r}; write {letters}, each with a number or a language "
                "behind it if not all are meant: a:0, s:eng; with commas between"
            )

    def chosen(self, streams: Sequence[Stream]) -> list[Stream]:
        """Those that it means, in the file's order."""
        letter, _, which = self.text.partition(":")
        kind = [stream for stream in streams if stream.type == KINDS[letter]]
        if which.isdecimal():
            return kind[int(which) : int(which) + 1]
        return [stream for stream in kind if not which or (stream.language or "und").lower() == which.lower()]


def selected(text: str, streams: Sequence[Stream], video: Stream) -> set[int]:
    """Indices of the streams that a list of selectors means.

    Args:
        video: the one that is enlarged, which is always there.

    Raises:
        UsageError: a selector that is not understood, or one that means no stream.
    """
    found: set[int] = set()
    for selector in [Selector(part.strip()) for part in text.split(",")]:
        chosen = selector.chosen(streams)
        if not chosen:
            there = ", ".join(describe_stream(stream) for stream in streams)
            raise UsageError(f"no stream is {selector.text!r}; there are: {there}")
        found |= {stream.index for stream in chosen}
    return found | {video.index}
