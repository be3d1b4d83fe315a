"""A video that is open, with all that is decided of its result, and the network: what every way of working needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rfdn_stream import registry
from rfdn_stream.engines.base import Engine
from rfdn_stream.jobs.doors import Doors
from rfdn_stream.jobs.outlook import Outlook, expected_frames, of_video, remarks
from rfdn_stream.jobs.report import LogReporter, Reporter, log
from rfdn_stream.jobs.request import Request
from rfdn_stream.media.card import Card
from rfdn_stream.media.naming import Images
from rfdn_stream.media.output import OutputPlan
from rfdn_stream.media.source import Source
from rfdn_stream.opening import open_device
from rfdn_stream.process import keep_small_blocks, return_large_blocks
from rfdn_stream.upscaler import Upscaler

LARGE_PICTURE = 1920 * 1080  # pixels put out above which memory counts for more than a few per cent of time


@dataclass(frozen=True)
class Opened:
    """Source and network, open, and the output's plan; `size` is (width, height) of the frames that are put out."""

    doors: Doors
    source: Source
    output: OutputPlan
    upscaler: Upscaler
    size: tuple[int, int]

    @property
    def target(self) -> Path:
        """Where the result goes."""
        return self.doors.path

    @property
    def device(self) -> str:
        """The name of where the network runs, or of several with commas between."""
        return ",".join(each.device.name for each in getattr(self.upscaler, "upscalers", (self.upscaler,)))

    @property
    def engine(self) -> str:
        """The name of what runs the network; of networks in sequence each one's, with commas, where they differ."""
        engine = self.upscaler.engine
        names = [_name_of(each) for each in getattr(engine, "engines", (engine,))]
        return names[0] if len(set(names)) == 1 else ",".join(names)

    @property
    def frames(self) -> int:
        """An estimate for the progress bar only; the file may hold more or fewer."""
        return expected_frames(self.source.info)

    @property
    def outlook(self) -> Outlook:
        """All that is decided, for people and programs."""
        upscaler = self.upscaler
        return of_video(self.source, self.output, upscaler.description, upscaler.scale, self.size, str(self.target))

    def headline(self, size: tuple[int, int]) -> str:
        """One line for people: what goes in, what comes out, in which coded size, and how."""
        info, encoding = self.source.info, self.output.encoding
        settings = "".join(f" {key} {value}" for key, value in encoding.options.items())
        return (
            f"{info.width}x{info.height} {info.format.name} to {size[0]}x{size[1]} {encoding.format.name}: "
            f"{self.upscaler.description}; {encoding.codec}{settings}"
        )

    def for_processors(self, count: int) -> Opened:
        """The same with an encoder that makes the same on every machine."""
        return replace(self, output=replace(self.output, encoding=self.output.encoding.for_processors(count)))


@contextmanager
def opened(
    doors: Doors, request: Request, reporter: Reporter | None = None, *, device: str = "", engine: str = ""
) -> Iterator[Opened]:
    """Opens a video and decides everything before the weights are loaded: what cannot work fails at once.

    Args:
        target: whose name chooses the container; nothing is written.
        reporter: hears what is worth knowing; None = nobody.
        device, engine: instead of the request's.

    Raises:
        UsageError: the request cannot be carried out.
        MediaError: the file cannot be read.
    """
    device, card = settled(device or request.device)
    with doors.open(request.reading, card, reporter or LogReporter()) as source:
        output = doors.plan(source, request.encode, card, request.streams)
        if reporter is not None:
            _tell(source, output, reporter)
        info = source.info
        lying = info.rotation in (90, 270)
        purpose = "image" if isinstance(doors.source, Images) else "video"
        with request.open_upscaler(
            info.width, info.height, lying, purpose=purpose, device=device, engine=engine
        ) as upscaler:
            size = upscaler.size_of(info.width, info.height)
            if size[0] * size[1] > LARGE_PICTURE:
                return_large_blocks()
            else:
                keep_small_blocks()
            yield Opened(doors, source, output, upscaler, size)


def settled(device: str) -> tuple[str, Card | None]:
    """The device's own name, and the card that it is; several cards get their frames by way of the host."""
    if "," in device:
        return device, None
    found = open_device(device)
    found.close()
    where = found.torch_device
    return found.name, Card(where.index or 0) if where.type == "cuda" else None


def read_source(doors: Doors, request: Request) -> Source:
    """The source alone, decoded on the processor as far as its first picture: for its header and other streams."""
    reading = request.reading
    if not isinstance(doors.source, Images):  # which nothing decodes
        reading = replace(reading, decode="cpu")
    return doors.open(reading, None, LogReporter())


def is_same_kind(device: str, other: str) -> bool:
    """Whether two devices compute alike, such as two cards."""
    return device.partition(":")[0] == other.partition(":")[0]


def computes_alike(device: str) -> bool:
    """Whether all devices that the user names do, where there are several."""
    first, *others = (name.strip() for name in device.split(","))
    return all(is_same_kind(first, other) for other in others)


def _name_of(engine: Engine) -> str:
    kind = type(engine)
    return next(name for name, where in registry.ENGINES.items() if where == f"{kind.__module__}:{kind.__name__}")


def _tell(source: Source, plan: OutputPlan, reporter: Reporter) -> None:
    for what, why in plan.dropped:
        log.warning("not kept: %s (%s)", what, why)
    for warning, text in remarks(source, plan):
        log.warning(text) if warning else reporter.note(text)
