"""``rfdn-stream export MODEL OUT.onnx``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export_command(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A model of [bold]rfdn-stream models[/], or a weights file."),
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The result, an .onnx file.")],
    fp16: Annotated[bool, typer.Option("--fp16", help="Half precision inside; input and output stay float32.")] = False,
    opset: Annotated[int | None, typer.Option(help="Version of ONNX's operators. [dim]Default: 17.[/]")] = None,
    check: Annotated[bool, typer.Option(help="Run the result with ONNX Runtime and compare it with torch.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", "-y", help="Replace OUT if it exists.")] = False,
) -> None:
    """Write a model as an ONNX file, for vs-mlrt, OpenVINO, ONNX Runtime and others.

    It takes and gives RGB from 0 to 1 as batch x 3 x height x width, of any size. Its metadata tells the rest.

    [dim]Examples:[/]

      rfdn-stream export erfdn-x2-video erfdn-x2-video.onnx

      rfdn-stream export my-weights.pth my-weights-fp16.onnx --fp16
    """
    from rfdn_stream.jobs.export import export

    typer.echo(export(model, target, fp16=fp16, opset=opset, check=check, overwrite=overwrite), err=True)
