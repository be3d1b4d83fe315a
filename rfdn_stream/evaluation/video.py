"""Videos against their originals, frame by frame: PSNR, SSIM, VMAF and flicker, on luma.

Luma is what the files hold, as codes of 255 in the 16..235 range; nothing is cut off at the borders. Memory does
not depend on the length, but for a few hundred bytes a frame in libvmaf.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np

from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.evaluation import vmaf
from rfdn_stream.evaluation.enlargers import Enlarger
from rfdn_stream.evaluation.flicker import Flicker
from rfdn_stream.evaluation.metrics import WINDOW, Luma, decibels, similarity, squared_error
from rfdn_stream.evaluation.shown import deinterlaced_notes, open_shown, turn_onto, turned, upright
from rfdn_stream.evaluation.small import LOSSLESS, cropped, frames_of, make_small, plan_small
from rfdn_stream.frame import Frame
from rfdn_stream.kernels.colour import conversion
from rfdn_stream.media.source import Source

OnFrame = Callable[[], None]
OnProgress = Callable[[int, int], None]
"""Hears of (steps done, steps expected by the header; 0 = unknown), after every frame on its way."""
_ROUNDED = Fraction(1, 1000)  # Matroska's ticks; what has longer ones, as AVI, counts frames and rounds nothing


@dataclass(frozen=True)
class VideoScore:
    """How near a video is to its reference.

    Args:
        frames, width, height: what was compared.
        psnr_y: dB, of the mean squared error of all frames (as FFmpeg's psnr filter averages); infinite for equal ones.
        ssim_y: mean of the frames' SSIM.
        vmaf: mean of the frames' VMAF, 0 to 100; None where it was not measured.
        flicker, flicker_reference: see `flicker.Flicker`; None where nothing stands still.
        still: the share of pixels that the flicker was measured on.
        notes: what is to be known of these figures, in sentences for the user.
    """

    frames: int
    width: int
    height: int
    psnr_y: float
    ssim_y: float
    vmaf: float | None
    flicker: float | None
    flicker_reference: float | None
    still: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Enlarged:
    """One figure of a table: the small video's encoding in words, the enlarger's name, and the score."""

    encoding: str
    enlarger: str
    score: VideoScore


def evaluate_video(
    reference: str | Path,
    enlargers: Sequence[Enlarger],
    encodes: Sequence[EncodeOptions] = (LOSSLESS,),
    *,
    frames: int | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> list[Enlarged]:
    """Makes a video small, enlarges it again, and compares it with what it was.

    Args:
        reference: the original video file.
        enlargers: all of one scale, by which the video is made small (`small.make_small`).
        encodes: how the small video is encoded, one after the other; it lies in a temporary folder meanwhile.
        frames: take only so many, from the beginning.
        on_progress: a step is a frame made small, or enlarged and compared.

    Raises:
        UsageError: an option that does not fit, or a video too small to be measured.
        MediaError: the video cannot be read, or has no luma.
    """
    reference, scale = Path(reference), enlargers[0].scale
    with open_shown(reference) as source:
        _check(source)
        for encode in encodes:  # what cannot work fails at once
            plan_small(source, scale, encode)
        on_frame = _counting(on_progress, _expected(source, frames) * len(encodes) * (1 + len(enlargers)))
    results = []
    with tempfile.TemporaryDirectory(prefix="rfdn-stream-") as folder:
        for encode in encodes:
            small = Path(folder) / "small.mkv"
            encoding = make_small(reference, small, scale, encode, frames, on_frame)
            for enlarger in enlargers:
                with open_shown(small) as source, open_shown(reference) as original:
                    size = source.info.width * scale, source.info.height * scale
                    originals = (cropped(frame, *size) for frame in frames_of(original))
                    names = "the result", str(reference)
                    # Matroska's milliseconds are too long for some rates.
                    pairs = Pairs(enlarger.map(frames_of(source)), originals, frames, names, timed=False)
                    score = measured(pairs, on_frame)
                    score = replace(score, notes=(*score.notes, *deinterlaced_notes(original)))
                    results.append(Enlarged(encoding, enlarger.name, score))
    return results


def compare_videos(
    result: str | Path,
    reference: str | Path,
    *,
    frames: int | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> VideoScore:
    """Compares a video file with its original, frame by frame in order; where one is longer, what both have.

    Args:
        result, reference: video files of one size as players turn them.
        frames: take only so many, from the beginning.
        on_progress: a step is a frame compared.

    Raises:
        UsageError: the two differ in size, or are too small to be measured.
        MediaError: one cannot be read or has no luma, or a frame is shown at another time than its original.
    """
    with open_shown(result) as ours, open_shown(reference) as original:
        for source in (ours, original):
            _check(source)
        sizes = ["{}x{}".format(*upright(source)) for source in (ours, original)]
        if sizes[0] != sizes[1]:
            raise UsageError(
                f"{result} is {sizes[0]} and {reference} {sizes[1]}; the reference is the original at the result's size"
            )
        if min(ours.info.width, ours.info.height) < WINDOW:
            raise UsageError(f"{result} is {sizes[0]}; videos to be compared have {WINDOW}x{WINDOW} pixels or more")
        turn = turn_onto(ours, original)
        results = (turned(frame, turn) for frame in frames_of(ours))
        pairs = Pairs(results, frames_of(original), frames, (str(result), str(reference)))
        score = measured(pairs, _counting(on_progress, _expected(original, frames)))
        damage = [source for source in (ours, original) if source.damage]
        notes = tuple(f"{source.path} is damaged in {len(source.damage)} places" for source in damage)
        notes = (*score.notes, *notes, *deinterlaced_notes(ours, original))
    return replace(score, notes=notes)


def luma_of(frame: Frame) -> Luma:
    """Luma of a YUV or grey frame, [H, W] float64 on the scale of 8 bits and limited range: black 16, white 235.

    Raises:
        MediaError: an RGB frame.
    """
    if frame.format.family == "rgb":
        raise MediaError(f"a frame of {frame.format.name} has no luma")
    numbers = conversion(frame.format, frame.color)
    step = 219 / numbers.span[0]  # 1 for 8 bits, 1/4 for 10; exact in limited range
    codes = (frame.planes[0] >> numbers.shift).astype(np.float64)
    return np.asarray(codes * step + (16 - numbers.offset[0] * step))


def _check(source: Source) -> None:
    if source.info.format.family == "rgb":
        raise MediaError(
            f"{source.path} is RGB ({source.info.format.name}) and has no luma to be measured; "
            "convert it first, for example: ffmpeg -i IN -pix_fmt yuv444p OUT"
        )


def _counting(on_progress: OnProgress, total: int) -> OnFrame:
    steps = count(1)
    return lambda: on_progress(next(steps), total)


def _expected(source: Source, frames: int | None) -> int:
    """Frames by the header, or as asked; 0 = unknown."""
    info = source.info
    found = round(info.duration * float(info.rate)) if info.duration else info.frames_from_header
    return min(found, frames) if found and frames else found or frames or 0


class Pairs:
    """Frames of two videos, the n-th with the n-th, as far as both go.

    Args:
        timed: whether their times are compared; not needed where one video was made of the other just now.

    Attributes:
        ended: which of the two names ended before the other and before `limit`, if any.
    """

    def __init__(
        self,
        results: Iterable[Frame],
        references: Iterable[Frame],
        limit: int | None,
        names: tuple[str, str],
        *,
        timed: bool = True,
    ) -> None:
        self._iterators = iter(results), iter(references)
        self._limit, self._names, self._timed = limit, names, timed
        self._start: tuple[float, float] | None = None
        self.ended: str | None = None

    def __iter__(self) -> Iterator[tuple[Frame, Frame]]:
        for number in count():
            if number == self._limit:
                return
            result, reference = (next(iterator, None) for iterator in self._iterators)
            if result is None or reference is None:
                if result is not None or reference is not None:
                    self.ended = self._names[reference is None]
                return
            if self._timed:
                self._check_times(number, result, reference)
            yield result, reference

    def _check_times(self, number: int, result: Frame, reference: Frame) -> None:
        """Raises where the pair's times, each from its first frame on, differ by more than `tolerance`."""
        times = result.seconds or 0.0, reference.seconds or 0.0
        self._start = self._start or times
        ours, originals = (time - first for time, first in zip(times, self._start, strict=True))
        if abs(ours - originals) > tolerance(result, reference):
            raise MediaError(
                f"frame {number} of {self._names[0]} is shown {ours:.4f} s after its first frame and that of "
                f"{self._names[1]} {originals:.4f} s after; only videos with the same frames can be compared"
            )


def tolerance(result: Frame, reference: Frame) -> float:
    """Seconds that one frame's times in two files may differ by: half a frame, or as much as the files round them."""
    rounded = (min(frame.time_base, _ROUNDED) for frame in (result, reference))
    return float(max(reference.duration * reference.time_base / 2, sum(rounded)))


class _Meter:
    """All measures of one video, fed frame by frame.

    Args:
        like: a frame of the reference.
        stack: what VMAF's filter is to be closed with.
    """

    def __init__(self, like: Frame, stack: ExitStack) -> None:
        self._size = like.width, like.height
        self._frames, self._error, self._similarity = 0, 0.0, 0.0
        self._flicker = Flicker()
        self._no_vmaf = vmaf.why_not(*self._size)
        if self._no_vmaf is None:
            self._vmaf = stack.enter_context(vmaf.open_vmaf(*self._size, like.format.bits))

    def add(self, result: Luma, reference: Luma) -> None:
        """Takes the next frame's lumas."""
        self._frames += 1
        self._error += squared_error(result, reference)
        self._similarity += similarity(result, reference)
        self._flicker.add(result, reference)
        if self._no_vmaf is None:
            self._vmaf.add(result, reference)

    def score(self) -> VideoScore:
        """The score of all frames. Ends the measuring."""
        return VideoScore(
            self._frames,
            *self._size,
            psnr_y=decibels(self._error / self._frames),
            ssim_y=self._similarity / self._frames,
            vmaf=self._vmaf.score() if self._no_vmaf is None else None,
            flicker=self._flicker.result,
            flicker_reference=self._flicker.reference,
            still=self._flicker.still,
            notes=(f"VMAF is left out: {self._no_vmaf}",) if self._no_vmaf else (),
        )


def measured(pairs: Pairs, on_frame: OnFrame = lambda: None) -> VideoScore:
    """The score of these pairs; their frames are let go one after the other."""
    meter: _Meter | None = None
    with ExitStack() as stack:
        for result, reference in pairs:
            meter = meter or _Meter(reference, stack)
            meter.add(luma_of(result), luma_of(reference))
            on_frame()
        assert meter is not None  # a source that opens has a frame
        score = meter.score()
    if pairs.ended is not None:
        note = f"{pairs.ended} ends after {score.frames} frames and the other goes on; what both have was compared"
        score = replace(score, notes=(*score.notes, note))
    return score
