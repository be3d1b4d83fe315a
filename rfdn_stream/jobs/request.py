"""What is asked of a video, as one value that can be stored, sent to another process and compared."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from rfdn_stream.config import EncodeOptions
from rfdn_stream.jobs.doors import Reading
from rfdn_stream.jobs.size import network_scales, wanted_size
from rfdn_stream.multi import open_upscaler
from rfdn_stream.upscaler import Upscaler

SEGMENT_SECONDS = 10.0


@dataclass(frozen=True)
class Request:
    """All options that shape the result; see `upscale` for what they mean. Paths are absolute.

    Args:
        segment: how long a segment is, at least, in seconds.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None
    fit: tuple[int, int] | None = None
    model: str | None = None
    device: str = "auto"
    engine: str = "auto"
    decode: str = "auto"
    deinterlace: str = "auto"
    precision: str = "auto"
    tile: int | None = None
    dither: bool = False
    strength: float = 1.0
    denoise: float | None = None
    batch: int | None = None
    reuse: str = "frames"
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    start: float | None = None
    duration: float | None = None
    crop: str | None = None
    streams: str | None = None
    matrix: str | None = None
    raw: str | None = None
    fps: str | None = None
    segment: float = SEGMENT_SECONDS

    @property
    def reading(self) -> Reading:
        """How the source is read."""
        return Reading(
            self.start, self.duration, self.decode, self.deinterlace, self.crop, self.matrix, self.raw, self.fps
        )

    def open_upscaler(
        self,
        columns: int,
        rows: int,
        lying: bool = False,
        *,
        purpose: str = "video",
        device: str = "",
        engine: str = "",
    ) -> Upscaler:
        """The network for pictures of this size, `lying` on their side if players turn them.

        Args:
            device, engine: instead of the request's.
        """
        wanted = wanted_size(self.scale, self.width, self.height, self.fit)
        size = wanted.turned() if wanted and lying else wanted
        return open_upscaler(
            self.model,
            scale=network_scales(size, columns, rows, self.model),
            size=size,
            device=device or self.device,
            engine=engine or self.engine,
            precision=self.precision,
            tile=self.tile,
            dither=self.dither,
            strength=self.strength,
            denoise=self.denoise,
            batch=self.batch,
            reuse=self.reuse,
            purpose=purpose,
        )

    def settings(self) -> dict[str, object]:
        """The options by the names of the command line."""
        plain = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "encode"}
        plain |= {each.name: getattr(self.encode, each.name) for each in fields(self.encode)}
        plain["fit"] = "x".join(map(str, self.fit)) if self.fit else None
        return {f"--{name.replace('_', '-')}": value for name, value in plain.items()}


def absolute(model: str | Path | None) -> str | None:
    """A model as the user names it; a file's path made absolute, so that it means the same in every process."""
    if model is None:
        return None
    return str(Path(model).resolve()) if Path(model).is_file() else str(model)
