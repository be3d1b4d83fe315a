"""``rfdn-stream upscale IN OUT``."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from rfdn_stream.cli.batch import upscale_into
from rfdn_stream.cli.bench import frame_size
from rfdn_stream.errors import UsageError

WHAT, SIZE, HOW, ENCODER = "What", "Size", "How", "Encoder"


def seconds(text: str) -> float:
    """A time as ffmpeg writes it: ``90``, ``90.5``, ``1:30.5``, ``1:02:03``; in seconds."""
    parts = text.split(":")
    try:
        if len(parts) > 3:
            raise ValueError
        value = sum(float(part) * 60.0**power for power, part in enumerate(reversed(parts)))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a time; write seconds (90.5) or [HH:]MM:SS (1:30.5)") from None
    if not 0 <= value < float("inf"):
        raise typer.BadParameter(f"{text!r} is not a time from 0 on")
    return value


def upscale_command(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IN",
            help="A video or animation, an address, an image (PNG, JPEG, WebP, TIFF), an image sequence "
            "(shot_%05d.png, a folder, 'shots/*.png'); - = a video from standard input. Several, folders and patterns "
            "of videos go into a folder.",
            show_default=False,
        ),
    ] = None,
    *,
    target: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="The result; its extension chooses the container. shot_%05d.png = an image a frame; "
            "- = y4m on standard output. A folder, or a name with a slash at its end: results go in there under the "
            "names they had.",
        ),
    ],
    scale: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            help="Times as large each way: any number up to 16, such as 1.5; 8 runs networks in sequence. "
            "[dim]Default: 2, or the model's.[/]",
            rich_help_panel=SIZE,
        ),
    ] = None,
    width: Annotated[
        int | None, typer.Option(metavar="PX", help="Width of the result, instead of a scale.", rich_help_panel=SIZE)
    ] = None,
    height: Annotated[
        int | None,
        typer.Option(
            metavar="PX",
            help="Height of the result. With one of the two, the other follows; with both, the picture is stretched.",
            rich_help_panel=SIZE,
        ),
    ] = None,
    fit: Annotated[
        Any,
        typer.Option(
            metavar="WxH",
            parser=frame_size,
            help="As large as it can be within this, such as 1920x1080.",
            rich_help_panel=SIZE,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="A model of [bold]rfdn-stream models[/], or a weights file.", rich_help_panel=WHAT
        ),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(
            metavar="0..1",
            help="How much of the network's result to take; the rest is the source enlarged by Lanczos.",
            rich_help_panel=WHAT,
        ),
    ] = 1.0,
    denoise: Annotated[
        float | None,
        typer.Option(
            metavar="0..1",
            help="Instead of a model: 0 = keep all detail (such as erfdn-x2-clean), 1 = clean what encoders leave "
            "(erfdn-x2-video), or between. [dim]Default: the model for what IN is.[/]",
            rich_help_panel=WHAT,
        ),
    ] = None,
    start: Annotated[
        float | None,
        typer.Option(metavar="TIME", parser=seconds, help="Begin here: seconds or [HH:]MM:SS.", rich_help_panel=WHAT),
    ] = None,
    duration: Annotated[
        float | None, typer.Option(metavar="TIME", parser=seconds, help="Stop after this long.", rich_help_panel=WHAT)
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="auto|L:T:W:H",
            help="Cut off black bars: auto = those that are found; or left, top, width and height of what is kept.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    streams: Annotated[
        str | None,
        typer.Option(
            metavar="a:eng,s,...",
            help="What is copied beside the video: v, a, s, d (data), t (attachments), all of a kind or by number or "
            "language. [dim]Default: everything.[/]",
            rich_help_panel=WHAT,
        ),
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="Frames a second of an image sequence. [dim]Default: 25.[/]", rich_help_panel=WHAT
        ),
    ] = None,
    raw: Annotated[
        str | None,
        typer.Option(
            metavar="WxH,FORMAT,FPS",
            help="IN is bare samples, such as 1920x1080,yuv420p,25.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    matrix: Annotated[
        str | None,
        typer.Option(
            metavar="bt601|bt709|bt2020",
            help="What IN's colours mean, where it does not say so (y4m) or says it wrong.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", "-y", help="Replace OUT if it exists.", rich_help_panel=WHAT)
    ] = False,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="Throw away what an earlier run has left, instead of going on with it.",
            rich_help_panel=WHAT,
        ),
    ] = False,
    keep_job: Annotated[
        bool,
        typer.Option("--keep-job", help="Leave the segments' folder beside OUT (docs/jobs.md).", rich_help_panel=WHAT),
    ] = False,
    segment: Annotated[float, typer.Option(metavar="SECONDS", hidden=True)] = 10.0,
    suffix: Annotated[
        str,
        typer.Option(metavar="TEXT", help="In a folder: added to names, before the extension.", rich_help_panel=WHAT),
    ] = "",
    extension: Annotated[
        str | None,
        typer.Option(
            "--ext",
            metavar="EXT",
            help="In a folder: the extension of the videos, such as mkv; or of the images, such as png.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only say what would be done and lost, and about how long it takes; write nothing.",
            rich_help_panel=WHAT,
        ),
    ] = False,
    verify: Annotated[
        str,
        typer.Option(
            metavar="fast|full|off",
            help="Compare OUT with IN before it gets its name: fast = frames, times, copied streams, tags, without "
            "decoding; full = every frame of both is decoded once more.",
            rich_help_panel=HOW,
        ),
    ] = "fast",
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object a line on standard output: plan, progress, warnings, report (docs/events.md).",
            rich_help_panel=HOW,
        ),
    ] = False,
    device: Annotated[
        str,
        typer.Option(
            metavar="auto|cpu|cuda:N",
            help="Where the network runs; several cards as cuda:0,cuda:1.",
            rich_help_panel=HOW,
        ),
    ] = "auto",
    engine: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What runs the network: auto = the device's best; winograd, openvino (CPU); fused, graph, compile, "
            "tensorrt (cards); torch (both).",
            rich_help_panel=HOW,
        ),
    ] = "auto",
    decode: Annotated[
        str,
        typer.Option(
            metavar="auto|cpu|cuda",
            help="Where the video is decoded: cuda = by NVDEC, auto = where the network runs, if it can be.",
            rich_help_panel=HOW,
        ),
    ] = "auto",
    deinterlace: Annotated[
        str,
        typer.Option(
            metavar="auto|off|bob|tff|bff",
            help="Make frames of fields: auto = where the video says it is interlaced; bob = one of each field; "
            "tff, bff = all, top or bottom field first.",
            rich_help_panel=HOW,
        ),
    ] = "auto",
    precision: Annotated[
        str, typer.Option(metavar="auto|fp32|bf16|fp16", help="What the network computes in.", rich_help_panel=HOW)
    ] = "auto",
    tile: Annotated[
        int | None,
        typer.Option(
            metavar="PX",
            help="Work in tiles of this size; 0 = always whole frames. [dim]Default: whole frames while they fit.[/]",
            rich_help_panel=HOW,
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Frames that go through the network at once. [dim]Default: several small ones on a card.[/]",
            rich_help_panel=HOW,
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Processes that do parts of the video at the same time, on one device each where --device names "
            "several. [dim]Default: 1.[/]",
            show_default=False,
            rich_help_panel=HOW,
        ),
    ] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="auto|ADDRESS",
            help="A Ray cluster that does them instead: auto = this machine's, or HOST:PORT (docs/jobs.md).",
            rich_help_panel=HOW,
        ),
    ] = None,
    reuse: Annotated[
        str,
        typer.Option(
            metavar="off|frames|regions",
            help="What need not be computed again: frames that are the same as the one before, which is exact; or also "
            "the still parts of frames, which is nearly so (docs/reuse.md).",
            rich_help_panel=HOW,
        ),
    ] = "frames",
    dither: Annotated[
        bool, typer.Option("--dither", help="Ordered dither instead of rounding.", rich_help_panel=HOW)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only warnings and errors.", rich_help_panel=HOW)
    ] = False,
    codec: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="FFmpeg's name of the encoder, such as ffv1 or hevc_nvenc. "
            "[dim]Default: the first of libx264, libvpx-vp9, libsvtav1 (above 8 bits: libx265, libsvtav1, libvpx-vp9) "
            "that OUT holds.[/]",
            rich_help_panel=ENCODER,
        ),
    ] = None,
    crf: Annotated[
        float | None,
        typer.Option(
            help="Quality, lower is better. [dim]Default: 16 (libx264), 18 (libx265), 24 (VP9, AV1), 19 (NVENC).[/]",
            rich_help_panel=ENCODER,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Speed of the encoder. [dim]Default: medium (libx264, libx265), p5 (NVENC), 6 (libsvtav1), "
            "2 (libvpx-vp9).[/]",
            rich_help_panel=ENCODER,
        ),
    ] = None,
    pix_fmt: Annotated[
        str | None, typer.Option(help="Pixel format of OUT. [dim]Default: that of IN.[/]", rich_help_panel=ENCODER)
    ] = None,
) -> None:
    """Enlarge a video or an image; audio, subtitles, chapters, tags and timestamps are kept.

    [dim]Examples:[/]

      rfdn-stream upscale holiday.mp4 holiday-2x.mkv

      rfdn-stream upscale film.mkv part.mkv --start 1:30 --duration 10 --crf 14

      rfdn-stream upscale dvd.mkv dvd-1080p.mkv --height 1080

      rfdn-stream upscale photo.jpg photo-2x.png

      rfdn-stream upscale shot_%05d.png big_%05d.png

      rfdn-stream upscale season1 season2 big/ --ext mkv

      ffmpeg -i in.mkv -f yuv4mpegpipe - | rfdn-stream upscale - - | ffmpeg -i - out.mkv
    """
    from rfdn_stream.cli.events import EventReporter, write_line
    from rfdn_stream.cli.progress import ConsoleReporter
    from rfdn_stream.jobs import means_folder, upscale
    from rfdn_stream.media.y4m import STDOUT

    if not sources:
        raise UsageError("Missing argument 'OUT' (see --help)")
    if json and target == STDOUT and not dry_run:
        raise UsageError(
            "--json and the y4m of OUT - would both go to standard output; name a file, or leave out --json"
        )
    reporter = EventReporter(quiet=quiet) if json else ConsoleReporter(quiet=quiet)
    job = partial(
        upscale,
        scale=scale,
        width=width,
        height=height,
        fit=fit,
        model=model,
        device=device,
        engine=engine,
        decode=decode,
        deinterlace=deinterlace,
        precision=precision,
        tile=tile,
        batch=batch,
        workers=workers,
        cluster=cluster,
        reuse=reuse,
        dither=dither,
        strength=strength,
        denoise=denoise,
        codec=codec,
        crf=crf,
        preset=preset,
        pix_fmt=pix_fmt,
        start=start,
        duration=duration,
        crop=crop,
        streams=streams,
        fps=fps,
        raw=raw,
        matrix=matrix,
        overwrite=overwrite,
        restart=restart,
        keep_job=keep_job,
        segment=segment,
        verify=verify,
        dry_run=dry_run,
        reporter=reporter,
    )
    if means_folder(target):
        upscale_into(target, sources, suffix, extension, quiet, job.keywords, plans=dry_run and not json)
        return
    if len(sources) > 1 or suffix or extension:
        what = "several inputs go" if len(sources) > 1 else "--suffix and --ext are for results that go"
        raise UsageError(f"{what} into a folder; write {target}/, with a slash at its end, if that is to be one")
    result = job(sources[0], target)
    if not dry_run:
        reporter.note(str(result))
    elif not json:
        write_line(str(result.plan))
