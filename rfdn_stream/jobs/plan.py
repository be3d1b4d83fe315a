"""A job as a plan: everything that shapes the result, settled once, and the segments of the source.

It lies as ``job.json`` in a folder beside the output, and goes as a value to every process that works on the job.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av

from rfdn_stream import __version__
from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.jobs.doors import Doors
from rfdn_stream.jobs.opened import Opened, is_same_kind
from rfdn_stream.jobs.request import Request
from rfdn_stream.media.cuts import Cuts
from rfdn_stream.media.target import followed, hidden_name, write_error
from rfdn_stream.media.writer import VideoFileSink

PLAN = "job.json"
FORMAT = 2
ENDS = 1 << 20  # bytes of the source's head and of its tail that are looked at


@dataclass(frozen=True)
class Segment:
    """A part of the source between two of its keyframes; times are of the video stream, in its ticks.

    Args:
        index: from 0, in order of time.
        begin, dts: the presentation and decoding time of its keyframe; None = from the first picture of the job.
        before: presentation and decoding time of the keyframe before that, for what needs the pictures before it.
        end: the time of the next segment's keyframe; None = to the last picture of the job.
    """

    index: int
    begin: int | None
    dts: int | None
    before: tuple[int, int | None] | None
    end: int | None

    @property
    def name(self) -> str:
        """Of its file, in the job's folder."""
        return f"{self.index:05}.packets"


@dataclass(frozen=True)
class Fingerprint:
    """What tells a file from another, or from what it was: size, time of change, and a hash of its head and tail."""

    size: int
    changed_ns: int
    ends: str

    @classmethod
    def of(cls, path: Path) -> Fingerprint:
        """The file's as it is now; MediaError if it is gone."""
        try:
            with path.open("rb") as file:
                stat = os.fstat(file.fileno())
                digest = hashlib.sha256(file.read(ENDS))
                file.seek(max(0, stat.st_size - ENDS))
                digest.update(file.read(ENDS))
        except OSError as failure:
            raise MediaError(
                f"the source {path} cannot be read any more: {failure.strerror}; put it back to go on with the job"
            ) from None
        return cls(stat.st_size, stat.st_mtime_ns, digest.hexdigest())


@dataclass(frozen=True)
class JobPlan:
    """Pickled or as JSON, all that a process needs to work on a job.

    Args:
        source, target: absolute paths, which every worker must see the file under.
        request: the user's options.
        fingerprint: of the source.
        versions: of what makes the result.
        weights: sha256 of each network's.
        device, engine: what ``auto`` was settled to; workers may have another device of the same kind.
        processors: that the encoder is set up for, on whose number its bitstream depends.
        size: (width, height) of the frames.
        frames: expected, 0 = unknown.
        headline: of the job, for people; `network`: what runs it, and its `scale`.
        header: what the encoder says before its first packet, as hexadecimal digits; "" = not known beforehand.
        segments: two or more.
        verify, keep_job: what `jobs --resume` goes on with; asking for the same job again may change them.
    """

    source: str
    target: str
    request: Request
    fingerprint: Fingerprint
    versions: dict[str, str]
    weights: tuple[str, ...]
    device: str
    engine: str
    processors: int
    size: tuple[int, int]
    frames: int
    headline: str
    network: str
    scale: int
    header: str
    segments: tuple[Segment, ...]
    verify: str = "fast"
    keep_job: bool = False

    @property
    def doors(self) -> Doors:
        """Where it comes from and where it goes."""
        return Doors(self.source, Path(self.target))

    @property
    def folder(self) -> Path:
        """Of the job, beside the output."""
        return job_folder(Path(self.target))

    def path(self, segment: Segment) -> Path:
        """Where the segment lies once it is whole."""
        return self.folder / segment.name

    def save(self) -> None:
        """Writes ``job.json``; it is there whole or not at all."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1)
        write_whole(self.folder / PLAN, text.encode())


def job_folder(target: Path) -> Path:
    """The folder of the job that makes `target`, beside it; where that is a link, beside the file that it leads to."""
    target = followed(target)
    return target.with_name(hidden_name(target, ".rfdn-job"))


def make_plan(
    job: Opened,
    target: Path,
    request: Request,
    cuts: Cuts,
    count: int,
    trial: VideoFileSink,
    *,
    verify: str = "fast",
    keep_job: bool = False,
) -> JobPlan:
    """The plan of a job that is begun; nothing is written.

    Args:
        count: of processors that the encoder is set up for.
        trial: the output as it will be, opened for its header.
        verify, keep_job: as for `upscale`.
    """
    coded, header = trial.report.size, trial.header
    begins: list[tuple[int | None, int | None, tuple[int, int | None] | None]] = [(None, None, None)]
    begins += [(key.pts, key.dts, (before.pts, before.dts)) for key, before in cuts.at]
    ends = [key.pts for key, _ in cuts.at]
    source = Path(os.path.abspath(job.source.path))
    return JobPlan(
        source=str(source),
        target=os.path.abspath(target),
        request=request,
        fingerprint=Fingerprint.of(source),
        versions=versions(),
        weights=tuple(model.sha256 for model in job.upscaler.models),
        device=job.device,
        engine=job.engine,
        processors=count,
        size=job.size,
        frames=job.frames,
        headline=job.headline(coded),
        network=job.upscaler.description,
        scale=job.upscaler.scale,
        header=header.hex(),
        segments=tuple(Segment(index, *begin, end) for index, (begin, end) in enumerate(zip(begins, [*ends, None]))),
        verify=verify,
        keep_job=keep_job,
    )


def load_plan(folder: Path) -> JobPlan:
    """The plan in a job's folder.

    Raises:
        UsageError: there is none, it cannot be read, or another version of this program has made it.
    """
    try:
        found = json.loads((folder / PLAN).read_bytes())
        if found.pop("format", None) != FORMAT:
            raise UsageError(f"the job in {folder} is of another version of rfdn-stream; --restart begins it anew")
        return _built(found)
    except OSError as failure:
        raise UsageError(f"the job in {folder} has no plan ({failure.strerror}); --restart begins it anew") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UsageError(f"the plan of the job in {folder} is damaged; --restart begins it anew") from None


def _built(found: dict[str, Any]) -> JobPlan:
    request = found.pop("request")
    encode = EncodeOptions(**request.pop("encode"))
    request["fit"] = request["fit"] and tuple(request["fit"])
    segments = tuple(
        Segment(**{**each, "before": each["before"] and tuple(each["before"])}) for each in found.pop("segments")
    )
    return JobPlan(
        **{
            **found,
            "request": Request(**request, encode=encode),
            "fingerprint": Fingerprint(**found["fingerprint"]),
            "weights": tuple(found["weights"]),
            "size": tuple(found["size"]),
            "segments": segments,
        }
    )


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Of all that a frame passes through on its way."""
    return {"rfdn-stream": __version__, "PyAV": av.__version__, "torch": version("torch")}


def differences(plan: JobPlan, source: str, request: Request, device: str) -> list[str]:
    """How a request, whose device is settled, differs from the one that the job was begun with, in words.

    None = the job can go on.

    Raises:
        MediaError: the source is gone.
    """
    found = []
    if source != plan.source:
        found.append(f"the source is {source}, not {plan.source}")
    elif (now := Fingerprint.of(Path(source))) != plan.fingerprint:
        what = "size" if now.size != plan.fingerprint.size else "content or time of change"
        found.append(f"the source {source} has changed since ({what})")
    if not is_same_kind(device, plan.device):
        found.append(f"the device is {device}, not {plan.device}")
    then = plan.request.settings()
    for name, value in request.settings().items():
        if value != then[name] and name != "--device":
            found.append(f"{name} is {_said(value)} and was {_said(then[name])}")
    found += [
        f"{name} is {now}, not {plan.versions.get(name)}"
        for name, now in versions().items()
        if now != plan.versions.get(name)
    ]
    return found


def _said(value: object) -> str:
    if value is None:
        return "not given"
    return f"{value:g}" if isinstance(value, float) else str(value)


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that it is there whole or not at all, also after a power cut; MediaError if it cannot."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as failure:
        partial.unlink(missing_ok=True)
        raise write_error(path, failure) from failure


def sync_folder(folder: Path) -> None:
    """Makes names in the folder last; where a folder cannot be opened (Windows), the system sees to it."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
