"""``rfdn-stream live SOURCE SINK``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfdn_stream.cli.bench import frame_size
from rfdn_stream.cli.upscale import seconds

if TYPE_CHECKING:
    from rfdn_stream.live.meter import Status
    from rfdn_stream.nets.base import Network

SOURCE, PICTURE, TIME, ENCODER = "Source", "Picture", "Time", "Sink"


def live_command(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="camera, camera:1, /dev/video0, screen, test, an address (udp, rtsp, rtmp, http, ...), or a file.",
            show_default=False,
        ),
    ] = None,
    sink: Annotated[
        str,
        typer.Argument(
            metavar="SINK",
            help="window, camera (a virtual one), page, an address (rtmp, rtsp, udp, srt), null, or a file.",
        ),
    ] = "window",
    list_: Annotated[
        bool, typer.Option("--list", help="Show the cameras and screens there are, with their formats, and the sinks.")
    ] = False,
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Ask for this size; of a screen, its upper left.", rich_help_panel=SOURCE),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="FPS", help="Ask for this frame rate.", rich_help_panel=SOURCE),
    ] = None,
    input_format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Ask the camera for this format, as mjpeg or yuyv422.", rich_help_panel=SOURCE
        ),
    ] = None,
    as_camera: Annotated[
        bool,
        typer.Option("--as-camera", help="Pace an address by its timestamps, as files are.", rich_help_panel=SOURCE),
    ] = False,
    loop: Annotated[
        bool, typer.Option("--loop", help="Begin a file again at its end.", rich_help_panel=SOURCE)
    ] = False,
    listen: Annotated[
        bool,
        typer.Option(
            "--listen", help="Wait for the sender to connect (rtmp, rtsp, tcp, http).", rich_help_panel=SOURCE
        ),
    ] = False,
    deinterlace: Annotated[
        str,
        typer.Option(
            metavar="auto|off|tff|bff",
            help="Make frames of fields, as for upscale; costs a frame's delay.",
            rich_help_panel=SOURCE,
        ),
    ] = "auto",
    timeout: Annotated[
        float,
        typer.Option(min=0.1, metavar="S", help="A source silent this long counts as lost.", rich_help_panel=SOURCE),
    ] = 5.0,
    scale: Annotated[
        int | None,
        typer.Option(help="Whole, as for upscale: 2, 3, 4, or a product of these.", rich_help_panel=PICTURE),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="As for upscale.", rich_help_panel=PICTURE)
    ] = None,
    strength: Annotated[float, typer.Option(metavar="0..1", help="As for upscale.", rich_help_panel=PICTURE)] = 1.0,
    denoise: Annotated[
        float | None, typer.Option(metavar="0..1", help="As for upscale.", rich_help_panel=PICTURE)
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda:N", help="As for upscale.", rich_help_panel=PICTURE)
    ] = "auto",
    precision: Annotated[
        str, typer.Option(metavar="auto|fp32|bf16|fp16", help="As for upscale.", rich_help_panel=PICTURE)
    ] = "auto",
    engine: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What runs the network: auto = the device's best; winograd, openvino (CPU); fused, graph, compile, "
            "tensorrt (cards); torch (both).",
            rich_help_panel=PICTURE,
        ),
    ] = "auto",
    latency: Annotated[
        float,
        typer.Option(
            min=1,
            metavar="MS",
            help="The delay to hold, from captured to shown, in milliseconds.",
            rich_help_panel=TIME,
        ),
    ] = 200.0,
    fps: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Frames a second to hold at least. [dim]Default: the source's, up to 30.[/]",
            rich_help_panel=TIME,
        ),
    ] = None,
    no_degrade: Annotated[
        bool,
        typer.Option("--no-degrade", help="Drop frames rather than use less of the network.", rich_help_panel=TIME),
    ] = False,
    duration: Annotated[
        float | None,
        typer.Option(metavar="TIME", parser=seconds, help="End after this long.", rich_help_panel=TIME),
    ] = None,
    serve: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="Show it on a page in the browser besides.", rich_help_panel=ENCODER),
    ] = None,
    codec: Annotated[
        str | None, typer.Option(metavar="NAME", help="FFmpeg's name of the encoder.", rich_help_panel=ENCODER)
    ] = None,
    crf: Annotated[float | None, typer.Option(help="Quality, lower is better.", rich_help_panel=ENCODER)] = None,
    preset: Annotated[str | None, typer.Option(help="Speed of the encoder.", rich_help_panel=ENCODER)] = None,
    bitrate: Annotated[
        int | None, typer.Option(min=1, metavar="KBIT/S", help="At most this much.", rich_help_panel=ENCODER)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", "-y", help="Replace a file that exists.", rich_help_panel=ENCODER)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors.")] = False,
) -> None:
    """Enlarge a live picture: a webcam, the screen, a stream or a file, into a window, a stream, a page or a file.

    It never falls behind: what is too late is replaced by what is newer. Where
    the machine cannot hold the delay and the frame rate, it uses less of the
    network, step by step, says so, and takes it back when it can.
    Ctrl-C, or q in the window, ends it and completes a file; Ctrl-C once
    more does not wait for that.

    [dim]Examples:[/]

      rfdn-stream live camera

      rfdn-stream live camera:1 rtmp://localhost/live/me --size 640x360

      rfdn-stream live udp://0.0.0.0:5000 page --latency 100

      rfdn-stream live film.mp4 film-2x.mkv --loop --duration 60
    """
    from rfdn_stream.errors import UsageError

    if list_:
        _list()
        return
    if source is None:
        raise UsageError("name a SOURCE, such as camera or a file; rfdn-stream live --list shows what there is")
    from rfdn_stream.cli.live_status import LiveReporter
    from rfdn_stream.live.lighter import lighter_twin
    from rfdn_stream.live.session import LiveOptions, Session
    from rfdn_stream.live.sinks import SinkOptions, open_sink
    from rfdn_stream.live.sources import SourceOptions, open_source
    from rfdn_stream.multi import open_upscaler
    from rfdn_stream.nets.blend import denoised
    from rfdn_stream.nets.catalogue import open_model

    wanted = SourceOptions(
        size=frame_size(size) if size else None,
        rate=rate,
        input_format=input_format,
        as_camera=as_camera,
        loop=loop,
        listen=listen,
        deinterlace=deinterlace,
        timeout=timeout,
    )
    file = Path(source) if Path(source).is_file() else None
    encoding = SinkOptions(codec=codec, crf=crf, preset=preset, bitrate=bitrate, overwrite=overwrite, source=file)
    name = open_source(source, wanted).name  # what is written wrongly fails before the weights are loaded
    sinks = [open_sink(sink, encoding), *([open_sink(f"page:{serve}")] if serve is not None else [])]
    options = LiveOptions(latency / 1000, fps, not no_degrade and strength > 0, duration, listen)
    reporter = LiveReporter(quiet=quiet)
    upscaler = open_upscaler(
        model,
        scale=scale,
        device=device,
        precision=precision,
        engine=engine,
        strength=strength,
        denoise=denoise,
        depth=2,
    )

    def again() -> Network:
        return (open_model(upscaler.model, scale) if denoise is None else denoised(scale or 2, denoise))[0]

    reporter.note(f"opening {name}")
    try:
        session = Session(
            lambda: open_source(source, wanted),
            upscaler,
            sinks,
            options,
            light=lighter_twin(upscaler, again),
            on_status=reporter.status,
            on_begin=lambda info, size: reporter.begin_live(info, size, upscaler, sinks),
        )
        status: Status = session.run()
    finally:
        reporter.end()
        upscaler.close(abandon=True)
    reporter.summary(status)


def _list() -> None:
    from rfdn_stream.live.sinks import FORMS
    from rfdn_stream.live.sources import FORMS as SOURCES
    from rfdn_stream.live.sources.listing import list_sources

    for listed in list_sources():
        typer.echo(f"{listed.source}  {listed.what}")
        for format in listed.formats:
            typer.echo(f"    {format}")
    typer.echo(f"\nSOURCE is {SOURCES}.\nSINK is {FORMS}.")
