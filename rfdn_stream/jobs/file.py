"""One call from a file to its enlargement."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import UsageError
from rfdn_stream.jobs.doors import Reading, settle_doors
from rfdn_stream.jobs.image import upscale_image
from rfdn_stream.jobs.outlook import Outlook
from rfdn_stream.jobs.proof import Proof, check_mode
from rfdn_stream.jobs.report import LogReporter, Reporter
from rfdn_stream.jobs.size import network_scales, wanted_size
from rfdn_stream.jobs.video import upscale_video
from rfdn_stream.media.card import Card
from rfdn_stream.media.naming import Images
from rfdn_stream.media.source import Source
from rfdn_stream.media.y4m import STDOUT
from rfdn_stream.multi import open_upscaler
from rfdn_stream.opening import open_device
from rfdn_stream.upscaler import Upscaler


@dataclass(frozen=True)
class Result:
    """What a job made: where, how many frames of which size, in how many seconds; as it was planned and proven.

    Of a dry run `frames` is 0, and the plan has an estimate.
    """

    target: Path
    frames: int
    width: int
    height: int
    seconds: float
    plan: Outlook
    proof: Proof

    def facts(self) -> dict[str, Any]:
        """As JSON takes it; docs/events.schema.json has the meanings."""
        return {
            "target": str(self.target),
            "frames": self.frames,
            "width": self.width,
            "height": self.height,
            "seconds": self.seconds,
            "bytes": self.target.stat().st_size if self.target.is_file() else None,
            "verified": self.proof.mode,
            "identical_except": list(self.proof.exceptions),
        }

    def __str__(self) -> str:
        what = "image" if self.frames == 1 else f"{self.frames} frames"
        speed = "" if self.frames == 1 else f" ({self.frames / self.seconds:.2f} fps)"
        where = "standard output" if str(self.target) == STDOUT else self.target
        return f"{where}: {what} of {self.width}x{self.height} in {self.seconds:.1f} s{speed}"


def upscale(
    source: str | Path,
    target: str | Path,
    *,
    scale: float | None = None,
    width: int | None = None,
    height: int | None = None,
    fit: tuple[int, int] | None = None,
    model: str | Path | None = None,
    device: str = "auto",
    engine: str = "auto",
    decode: str = "auto",
    deinterlace: str = "auto",
    precision: str = "auto",
    tile: int | None = None,
    dither: bool = False,
    strength: float = 1.0,
    denoise: float | None = None,
    batch: int | None = None,
    reuse: str = "frames",
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    pix_fmt: str | None = None,
    start: float | None = None,
    duration: float | None = None,
    crop: str | None = None,
    streams: str | None = None,
    matrix: str | None = None,
    raw: str | None = None,
    fps: str | None = None,
    overwrite: bool = False,
    verify: str = "fast",
    dry_run: bool = False,
    reporter: Reporter | None = None,
) -> Result:
    """Enlarges a video, an image or an image sequence; everything else in the file is kept.

    The result is written under a temporary name beside `target`, read back and checked, then renamed.

    Args:
        source: a path, an address, ``-`` for standard input; an image sequence as ``shot_%05d.png``, a folder of images
            or a glob.
        target: a path, whose extension chooses the container or image format; ``-`` for y4m on standard output; an
            image sequence as ``shot_%05d.png``.
        scale: times as large each way, such as 2 or 1.5; None = 2, or the model's.
        width, height, fit: instead of a scale, as for `Size`, of the picture as players turn it. The network enlarges
            at least as much, if there is one that does, and what it gives is resampled.
        model, device, engine, precision, tile, dither, strength, denoise, batch, reuse: as for `Upscaler`, and several
            devices as for `open_upscaler`. The default model for images is another than for videos.
        decode: where the video is decoded: ``cpu``, ``cuda`` (by NVDEC), or ``auto``: where the network runs, if it can
            be. Frames that NVDEC decodes, that the network enlarges and that an NVENC codec encodes on one card stay
            in its memory.
        deinterlace: ``auto`` = pictures that say they are interlaced, one frame a frame; ``bob`` = a frame of each
            field; ``tff``, ``bff`` = all pictures, top or bottom field first; ``off``.
        codec, crf, preset, pix_fmt: the video encoder, by FFmpeg's names; None = chosen by the source.
        start, duration: the part to take, in seconds; None = all.
        crop, matrix, raw, fps: how the source is read, as for `Reading`.
        streams: which of the source's other streams are copied, such as ``a:eng,s``; None = all that can be.
        overwrite: replace an existing target.
        verify: how the result is compared with the source: ``fast``, ``full`` (every frame of both is decoded once
            more), ``off``.
        dry_run: everything is decided and two frames are timed, but nothing is written.
        reporter: hears of the progress.

    Raises:
        UsageError: the request cannot be carried out; nothing was written.
        RfdnError: the job failed; nothing was left behind.
    """
    reporter = reporter or LogReporter()
    doors = settle_doors(source, target, overwrite=overwrite)
    check_mode(verify, source)
    if verify == "full" and doors.plain:
        raise UsageError(f"--verify full is for video files; {doors.target} holds pictures only, which fast looks at")
    encode = EncodeOptions(codec=codec, crf=crf, preset=preset, pix_fmt=pix_fmt)
    reading = Reading(start, duration, decode, deinterlace, crop, matrix, raw, fps)
    is_image = doors.one_image
    if is_image and (encode != EncodeOptions() or reading != Reading() or streams is not None):
        raise UsageError(
            "--decode, --deinterlace, --codec, --crf, --preset, --pix-fmt, --start, --duration, --crop, --streams, "
            "--matrix, --raw and --fps are for videos, not images"
        )
    wanted = wanted_size(scale, width, height, fit)
    device, card = _settled(device)

    def make_upscaler(columns: int, rows: int, lying: bool = False) -> Upscaler:
        size = wanted.turned() if wanted and lying else wanted
        return open_upscaler(
            model,
            scale=network_scales(size, columns, rows, model, denoise),
            size=size,
            device=device,
            engine=engine,
            precision=precision,
            tile=tile,
            dither=dither,
            strength=strength,
            denoise=denoise,
            batch=batch,
            reuse=reuse,
            purpose="image" if is_image or isinstance(doors.source, Images) else "video",
        )

    begun = time.perf_counter()

    def open_source(again: bool = False) -> Source:
        """The source; `again`, to be compared with, on the processor."""
        return doors.open(replace(reading, decode="cpu") if again else reading, None if again else card, reporter)

    with nullcontext(doors.path) if dry_run else doors.writing(overwrite=overwrite) as partial:
        if isinstance(doors.source, str) and is_image:
            frames = 0 if dry_run else 1
            (columns, rows), plan, proof = upscale_image(
                Path(doors.source), partial, doors.path, make_upscaler, reporter, verify=verify, dry_run=dry_run
            )
        else:
            frames, (columns, rows), plan, proof = upscale_video(
                doors,
                partial,
                make_upscaler,
                encode,
                reporter,
                open_source=open_source,
                card=card,
                streams=streams,
                verify=verify,
                dry_run=dry_run,
            )
    result = Result(doors.path, frames, columns, rows, time.perf_counter() - begun, plan, proof)
    if dry_run:
        reporter.event("plan", plan.facts())
    else:
        reporter.event("report", result.facts())
    return result


def _settled(device: str) -> tuple[str, Card | None]:
    """The device's own name, and the card that it is; several cards get their frames by way of the host."""
    if "," in device:
        return device, None
    found = open_device(device)
    found.close()
    where = found.torch_device
    return found.name, Card(where.index or 0) if where.type == "cuda" else None
