"""One HTML file in which a slider goes from one picture or video to another. It needs nothing but itself.

Two videos are one in it, one below the other, so that they cannot get out of step. Videos are encoded again, as
browsers play H.264 only; pictures are PNG and lose nothing.
"""

from __future__ import annotations

import base64
import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import MediaError, RfdnError
from rfdn_stream.evaluation.series import LEFT, RIGHT, Series, draw
from rfdn_stream.frame import Frame, Layout
from rfdn_stream.jobs.compare.duo import Duo
from rfdn_stream.jobs.compare.stills import Way
from rfdn_stream.jobs.compare.views import Crop, Picture, detailed_crop, picture_of
from rfdn_stream.jobs.compare.wipe import write_frames
from rfdn_stream.jobs.report import LogReporter, Reporter
from rfdn_stream.media.output import OutputPlan
from rfdn_stream.media.target import whole_or_nothing

SECONDS = 10.0
"""How much of two videos a page holds, where the user does not say."""
MOST_BYTES = 24_000_000
"""Of a page's video; about a third more in the file."""
LARGEST = 1920, 1080
"""The largest part of a video that a page shows."""
CRF = 14
_GAP = 16  # rows between the two videos, so that the colours of one do not reach into the other


@dataclass(frozen=True)
class Media:
    """What a page shows.

    Args:
        size: (width, height) of each of the two.
        shape: width over height as it is shown.
        pictures: the two, as data URIs; empty for a video.
        video: the two, one `second` rows below the other, as a data URI; "" for pictures.
        second: the row where the second one begins.
        rate: frames a second.
        frames: how many.
        facts: what is to be known of them, in sentences for the viewer.
    """

    size: tuple[int, int]
    shape: float
    pictures: tuple[str, ...] = ()
    video: str = ""
    second: int = 0
    rate: float = 0.0
    frames: int = 1
    facts: tuple[str, ...] = field(default_factory=tuple)


def media_of_pictures(ways: Sequence[Way], part: Crop | None, size: tuple[int, int]) -> Media:
    """Two pictures for a page: `part` of them, in pixels of a picture of `size`, or all."""
    shown = []
    for way in ways:
        height, width = way.picture.shape[:2]
        crop = Crop(0, 0, width, height) if part is None else part.scaled(width / size[0], height / size[1])
        shown.append(crop.of(way.picture))
    height, width = max(picture.shape[:2] for picture in shown)
    return Media((width, height), width / height, tuple(map(_png, shown)))


def media_of_videos(duo: Duo, *, chosen: bool, reporter: Reporter | None = None) -> Media:
    """Two videos for a page: no more of them than `MOST_BYTES`, no larger a part than `LARGEST`.

    Args:
        duo: the two.
        chosen: whether the user has chosen the part; a larger one than a page shows is cut around its middle then.
        reporter: hears of the progress.

    Raises:
        MediaError: a file cannot be read, or the two do not have the same frames.
    """
    facts = [*_span_told(duo), *_fit_in(duo, chosen)]
    with tempfile.TemporaryDirectory(prefix="rfdn-stream-") as folder:
        target = Path(folder) / "pair.mp4"
        plan = duo.plan(target, EncodeOptions("libx264", CRF, pix_fmt="yuv420p"))
        frames = _stacked(duo, plan)
        count = write_frames(duo, target, plan, frames, reporter or LogReporter(), most=MOST_BYTES)
        full = next(frames, None) is not None
        data = target.read_bytes()
    seconds = count / float(duo.larger.info.rate)
    facts.append(
        f"{count} frames, encoded again for this page: H.264, crf {CRF}, 4:2:0, 8 bits, so fine grain may differ"
    )
    if full:
        facts.append(f"cut after {seconds:.1f} s: a page holds {MOST_BYTES // 1_000_000} MB of video")
    size = duo.crop.width, duo.crop.height
    return Media(
        size,
        size[0] * float(duo.aspect) / size[1],
        video=_uri("video/mp4", data),
        second=size[1] + _GAP,
        rate=float(duo.larger.info.rate),
        frames=count,
        facts=(*facts, *duo.notes),
    )


def write_page(
    target: str | Path,
    title: str,
    names: Sequence[str],
    details: Sequence[str],
    media: Media,
    series: Sequence[Series] = (),
) -> None:
    """Writes the page.

    Args:
        target: an HTML file; it gets its name when it is whole.
        title, names, details: of the page, and of what is to the left and to the right.
        series: figures of the two, in that order, for a chart and a table; none = no such section.

    Raises:
        UsageError: there is to be a chart, and matplotlib is not installed.
        MediaError: the file cannot be written.
    """
    target = Path(target)
    told: dict[str, Any] = {
        "names": list(names),
        "details": list(details),
        "size": media.size,
        "shape": media.shape,
        "pictures": media.pictures,
        "video": media.video,
        "second": media.second,
        "rate": media.rate,
        "series": [_figures(one) for one in series],
        "chart": _uri("image/svg+xml", draw(series, ".svg")) if series else "",
        "axis": [LEFT, RIGHT],
    }
    facts = [*media.facts, *(note for one in series for note in one.notes)]
    page = resources.files("rfdn_stream.jobs.compare").joinpath("page.html").read_text("utf-8")
    page = page.replace("{{title}}", escape(title))
    page = page.replace("{{facts}}", "".join(f"<li>{escape(fact)}</li>" for fact in dict.fromkeys(facts)))
    page = page.replace("{{data}}", json.dumps(told, allow_nan=False).replace("<", "\\u003c"))
    write_whole(target, page.encode())


def write_whole(target: Path, content: bytes) -> None:
    """Writes a file that gets its name when it is whole; MediaError where it cannot be."""
    with whole_or_nothing(target) as partial:
        try:
            partial.write_bytes(content)
        except OSError as failure:
            raise MediaError(f"cannot write {target}: {failure.strerror}; free some space") from None


def png_of(picture: Picture) -> bytes:
    """An RGB picture as the content of a PNG file."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise RfdnError(f"a picture of {picture.shape[1]}x{picture.shape[0]} cannot be encoded as PNG")
    return bytes(data)


def _span_told(duo: Duo) -> list[str]:
    """Which part of the first video is shown, if it is not all."""
    span, container = duo.sources[0].span, duo.sources[0].container
    first, whole = (container.start_time or 0) / 1_000_000, (container.duration or 0) / 1_000_000
    begin = 0.0 if span.begin is None else float(span.begin) - first
    end = whole if span.end is None else min(whole, float(span.end) - first)
    if end - begin > whole - 0.1:
        return []
    return [f"shown are {begin:.2f} s to {end:.2f} s of {whole:.2f} s; --start and --duration choose others"]


def _fit_in(duo: Duo, chosen: bool) -> list[str]:
    """Makes the part no larger than a page shows, and says so: the middle of a chosen one, else the most detailed."""
    whole = duo.crop
    width, height = min(whole.width, LARGEST[0]), min(whole.height, LARGEST[1])
    if (width, height) == (whole.width, whole.height):
        return []
    if chosen:
        part, which = Crop((whole.width - width) // 2, (whole.height - height) // 2, width, height), "the middle"
    else:
        source = duo.larger
        part = detailed_crop(picture_of(source.first, source.info.rotation), width, height)
        which = "the most detailed part"
    duo.crop = Crop(whole.x + (part.x & ~1), whole.y + (part.y & ~1), width, height)
    return [f"shown is {which}, {duo.crop} (x,y,width,height) of {duo.size[0]}x{duo.size[1]}; --crop chooses another"]


def _stacked(duo: Duo, plan: OutputPlan) -> Iterator[Frame]:
    """Both of a pair in one frame, one below the other, from time 0 on."""
    begun: int | None = None
    for upper, lower in duo.frames(plan):
        begun = upper.pts or 0 if begun is None else begun
        layout = Layout(upper.format, upper.width, 2 * upper.height + _GAP)
        planes = []
        for index, (above, below) in enumerate(zip(upper.planes, lower.planes, strict=True)):
            rows = _GAP >> (upper.format.subsampling[1] if index else 0)
            half = np.repeat(above[-1:], rows // 2, axis=0), np.repeat(below[:1], rows // 2, axis=0)
            planes.append(np.concatenate([above, *half, below]))
        yield replace(upper.like(tuple(planes), layout, upper.color), pts=(upper.pts or 0) - begun)


def _figures(one: Series) -> dict[str, Any]:
    return {
        "name": one.name,
        "seconds": [round(second, 6) for second in one.seconds],
        "psnr": [_finite(value) for value in one.psnr],
        "ssim": [round(value, 6) for value in one.ssim],
        "vmaf": [round(value, 4) for value in one.vmaf],
        "mean": [None if value is None else _finite(value) for value in one.mean],
        "least": [None if value is None else _finite(value) for value in one.least],
    }


def _finite(value: float) -> float | str:
    return round(value, 6) if math.isfinite(value) else "inf"


def _png(picture: Picture) -> str:
    return _uri("image/png", png_of(picture))


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
