"""One call from a file to its enlargement."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import UsageError
from rfdn_stream.jobs.choice import choose_executor
from rfdn_stream.jobs.doors import Doors, Reading, settle_doors
from rfdn_stream.jobs.dry_run import with_estimate
from rfdn_stream.jobs.executors import Executor, SerialExecutor
from rfdn_stream.jobs.image import upscale_image
from rfdn_stream.jobs.opened import Opened, computes_alike, opened
from rfdn_stream.jobs.outlook import Outlook
from rfdn_stream.jobs.plan import PLAN, job_folder
from rfdn_stream.jobs.proof import Proof, check_mode
from rfdn_stream.jobs.report import LogReporter, Reporter
from rfdn_stream.jobs.request import SEGMENT_SECONDS, Request, absolute
from rfdn_stream.jobs.segmented import begin_job, carry_out, new_job, resume_job
from rfdn_stream.jobs.size import wanted_size
from rfdn_stream.jobs.video import Made, upscale_video
from rfdn_stream.lock import locked
from rfdn_stream.media.cuts import Cuts, find_cuts
from rfdn_stream.media.naming import Images
from rfdn_stream.media.y4m import STDOUT

TRIAL = "trial.part"
LONG = 1 << 30  # bytes of a source whose packets take a while to be read through


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
    restart: bool = False,
    keep_job: bool = False,
    segment: float = SEGMENT_SECONDS,
    workers: int = 1,
    cluster: str | None = None,
    verify: str = "fast",
    dry_run: bool = False,
    reporter: Reporter | None = None,
) -> Result:
    """Enlarges a video, an image or an image sequence; everything else in the file is kept.

    The result is written under a temporary name beside `target`, read back and checked, then renamed. A video that is
    longer than two segments is done in segments, which are kept in a folder beside `target` until then: a job that ends
    before, however it does, goes on from there when the same is asked for again (docs/jobs.md).

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
        crop=crop,
        streams=streams,
        matrix=matrix,
        raw=raw,
        fps=fps,
        segment=segment,
    )
    wanted_size(scale, width, height, fit)
    executor = functools.partial(choose_executor, device, workers, cluster)
    executor()  # refuses what it must before anything is opened
    begun = time.perf_counter()
    made = (
        _upscale_image(doors, request, reporter, overwrite=overwrite, verify=verify, dry_run=dry_run)
        if is_image and isinstance(doors.source, str)
        else _upscale_video(
            doors,
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
    result = Result(doors.path, made.frames, *made.size, time.perf_counter() - begun, made.outlook, made.proof)
    if dry_run:
        reporter.event("plan", made.outlook.facts())
    else:
        reporter.event("report", result.facts())
    return result


def _upscale_image(
    doors: Doors, request: Request, reporter: Reporter, *, overwrite: bool, verify: str, dry_run: bool
) -> Made:
    assert isinstance(doors.source, str)
    with nullcontext(doors.path) if dry_run else doors.writing(overwrite=overwrite) as partial:
        size, plan, proof = upscale_image(
            Path(doors.source), partial, doors.path, request, reporter, verify=verify, dry_run=dry_run
        )
    return Made(0 if dry_run else 1, size, plan, proof)


def _upscale_video(
    doors: Doors,
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
        with opened(doors, request) as job:
            estimated = with_estimate(
                job.outlook, job.source, job.output, job.upscaler, job.size, encoded=not doors.plain
            )
            return Made(0, job.size, estimated, Proof("off"))
    if doors.plain:
        with opened(doors, request, reporter) as job:
            return _in_one_go(job, request, reporter, executor, overwrite=overwrite, verify=verify)
    folder = job_folder(doors.path)
    finish = functools.partial(carry_out, reporter=reporter, overwrite=overwrite, keep_job=keep_job, verify=verify)
    if (folder / PLAN).exists() and not restart:
        with locked(folder):
            return finish(resume_job(doors.origin, request, folder), executor())
    if restart and folder.is_dir():
        with locked(folder):  # who works on it is told at once
            pass
    with opened(doors, request, reporter) as job:
        cuts = _cuts(job, request, reporter)
        if restart and folder.is_dir():
            with locked(folder):
                executor(job).reach()
                with job.doors.sink(folder / TRIAL, job.source, job.output, job.size):
                    pass  # nothing here is left that could refuse the new job, not even its encoder
                shutil.rmtree(folder)
        if cuts.reason or not (cuts.at or request.segment == 0):
            if cuts.reason:
                reporter.note(f"in one go, and to be begun anew if it is interrupted: {cuts.reason}")
            return _in_one_go(job, request, reporter, executor, overwrite=overwrite, verify=verify)
        with new_job(folder):
            plan = begin_job(job, doors.path, request, cuts, folder, reporter, keep_job=keep_job, verify=verify)
            return finish(plan, executor(job))


def _cuts(job: Opened, request: Request, reporter: Reporter) -> Cuts:
    """Where the source is cut; bare samples and images have no keyframes, and devices must not differ."""
    if isinstance(job.doors.source, Images) or request.raw is not None:
        return Cuts()
    if not computes_alike(request.device):
        return Cuts(reason=f"the devices {request.device} compute differently, so a segment's result would tell which")
    source = Path(job.source.path)
    if source.is_file() and (size := source.stat().st_size) >= LONG:
        reporter.note(f"reading {size / 1e9:.1f} GB to find the keyframes where it can be cut")
    return find_cuts(job.source, request.segment)


def _in_one_go(
    job: Opened,
    request: Request,
    reporter: Reporter,
    executor: Callable[..., Executor],
    *,
    overwrite: bool,
    verify: str,
) -> Made:
    if not isinstance(executor(), SerialExecutor):
        reporter.note("by one worker, here: there are no segments to share out")
    with job.doors.writing(overwrite=overwrite) as partial:
        return upscale_video(job, partial, request, reporter, verify=verify)
