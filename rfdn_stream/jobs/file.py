"""One call from a file to its enlargement."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import UsageError
from rfdn_stream.jobs.choice import choose_executor
from rfdn_stream.jobs.dry_run import with_estimate
from rfdn_stream.jobs.executors import Executor, SerialExecutor
from rfdn_stream.jobs.image import upscale_image
from rfdn_stream.jobs.lock import locked
from rfdn_stream.jobs.opened import opened
from rfdn_stream.jobs.outlook import Outlook
from rfdn_stream.jobs.plan import PLAN, job_folder
from rfdn_stream.jobs.proof import Proof, check_mode
from rfdn_stream.jobs.report import LogReporter, Reporter
from rfdn_stream.jobs.request import SEGMENT_SECONDS, Request, absolute
from rfdn_stream.jobs.segmented import begin_job, carry_out, discard_job, new_job, resume_job
from rfdn_stream.jobs.size import wanted_size
from rfdn_stream.jobs.video import Made, upscale_video
from rfdn_stream.media.cuts import find_cuts
from rfdn_stream.media.image import EXTENSIONS
from rfdn_stream.media.target import settle_target, whole_or_nothing


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
            "bytes": self.target.stat().st_size,
            "verified": self.proof.mode,
            "identical_except": list(self.proof.exceptions),
        }

    def __str__(self) -> str:
        what = "image" if self.frames == 1 else f"{self.frames} frames"
        speed = "" if self.frames == 1 else f" ({self.frames / self.seconds:.2f} fps)"
        return f"{self.target}: {what} of {self.width}x{self.height} in {self.seconds:.1f} s{speed}"


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
    overwrite: bool = False,
    restart: bool = False,
    keep_job: bool = False,
    segment: float = SEGMENT_SECONDS,
    workers: int = 1,
    cluster: str | None = None,
    verify: str = "fast",
    dry_run: bool = False,
    reporter: Reporter | None = None,
) -> Result:
    """Enlarges a video or an image file; everything else in the file is kept.

    The result is written under a temporary name beside `target`, read back and checked, then renamed. A video that is
    longer than two segments is done in segments, which are kept in a folder beside `target` until then: a job that ends
    before, however it does, goes on from there when the same is asked for again (docs/jobs.md).

    Args:
        source, target: paths; the target's extension chooses the container or image format.
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
        overwrite: replace an existing target.
        restart: throw away what an earlier run has left, instead of going on with it.
        keep_job: leave the folder of the segments.
        segment: how long a segment is, at least, in seconds; it ends at a keyframe of the source. 0 = as short as it
            can be, also where there is but one.
        workers: processes that do segments at the same time, each on one of the devices where several are named. The
            result is the same as of one. A program of its own needs ``if __name__ == "__main__":`` around the call.
        cluster: a Ray cluster to do them instead: ``auto`` = the one of this machine, or its address.
        verify: how the result is compared with the source: ``fast``, ``full`` (every frame of both is decoded once
            more), ``off``.
        dry_run: everything is decided and two frames are timed, but nothing is written.
        reporter: hears of the progress.

    Raises:
        UsageError: the request cannot be carried out; nothing was written.
        RfdnError: the job failed; nothing was left behind but whole segments.
    """
    source, target = Path(source), Path(target)
    reporter = reporter or LogReporter()
    settle_target(source, target, overwrite=overwrite)
    check_mode(verify, source)
    encode = EncodeOptions(codec=codec, crf=crf, preset=preset, pix_fmt=pix_fmt)
    is_image = _both_images(source, target)
    if is_image and (
        encode != EncodeOptions() or {decode, deinterlace} != {"auto"} or start is not None or duration is not None
    ):
        raise UsageError(
            "--decode, --deinterlace, --codec, --crf, --preset, --pix-fmt, --start and --duration are for videos, "
            "not images"
        )
    request = Request(
        scale=scale,
        width=width,
        height=height,
        fit=fit,
        model=absolute(model),
        device=device,
        engine=engine,
        decode=decode,
        deinterlace=deinterlace,
        precision=precision,
        tile=tile,
        dither=dither,
        strength=strength,
        denoise=denoise,
        batch=batch,
        reuse=reuse,
        encode=encode,
        start=start,
        duration=duration,
        segment=segment,
    )
    wanted_size(scale, width, height, fit)
    executor = functools.partial(choose_executor, device, workers, cluster)
    executor()  # refuses what it must before anything is opened
    begun = time.perf_counter()
    made = (
        _upscale_image(source, target, request, reporter, overwrite=overwrite, verify=verify, dry_run=dry_run)
        if (is_image)
        else _upscale_video(
            source,
            target,
            request,
            reporter,
            executor,
            overwrite=overwrite,
            restart=restart,
            keep_job=keep_job,
            verify=verify,
            dry_run=dry_run,
        )
    )
    result = Result(target, made.frames, *made.size, time.perf_counter() - begun, made.outlook, made.proof)
    if dry_run:
        reporter.event("plan", made.outlook.facts())
    else:
        reporter.event("report", result.facts())
    return result


def _upscale_image(
    source: Path, target: Path, request: Request, reporter: Reporter, *, overwrite: bool, verify: str, dry_run: bool
) -> Made:
    with nullcontext(target) if dry_run else whole_or_nothing(target, overwrite=overwrite) as partial:
        size, plan, proof = upscale_image(source, partial, target, request, reporter, verify=verify, dry_run=dry_run)
    return Made(0 if dry_run else 1, size, plan, proof)


def _upscale_video(
    source: Path,
    target: Path,
    request: Request,
    reporter: Reporter,
    executor: Callable[..., Executor],
    *,
    overwrite: bool,
    restart: bool,
    keep_job: bool,
    verify: str,
    dry_run: bool,
) -> Made:
    """In segments where there are several, else in one go."""
    if dry_run:
        with opened(source, target, request) as job:
            estimated = with_estimate(job.outlook, job.source, job.output, job.upscaler, job.size)
            return Made(0, job.size, estimated, Proof("off"))
    folder = job_folder(target)
    finish = functools.partial(carry_out, reporter=reporter, overwrite=overwrite, keep_job=keep_job, verify=verify)
    if restart and folder.is_dir():
        discard_job(folder)
    if (folder / PLAN).exists():
        with locked(folder):
            return finish(resume_job(source, request, folder), executor())
    with opened(source, target, request, reporter) as job:
        cuts = find_cuts(job.source, request.segment)
        if cuts.reason or not (cuts.at or request.segment == 0):
            if cuts.reason:
                reporter.note(f"in one go, and to be begun anew if it is interrupted: {cuts.reason}")
            if not isinstance(executor(), SerialExecutor):
                reporter.note("by one worker, here: there are no segments to share out")
            with whole_or_nothing(target, overwrite=overwrite) as partial:
                return upscale_video(job, partial, request, reporter, verify=verify)
        with new_job(folder):
            plan = begin_job(job, target, request, cuts, folder, reporter)
            return finish(plan, executor(job))


def _both_images(source: Path, target: Path) -> bool:
    kinds = [path.suffix.lower() in EXTENSIONS for path in (source, target)]
    if kinds[0] != kinds[1] and source.exists():
        names = ["an image" if kind else "a video" for kind in kinds]
        raise UsageError(
            f"{source.name} is {names[0]} by its name and {target.name} {names[1]}; "
            f"images go into images ({', '.join(sorted(EXTENSIONS))}), videos into videos (.mkv, .mp4, .mov, ...)"
        )
    return kinds[0]
