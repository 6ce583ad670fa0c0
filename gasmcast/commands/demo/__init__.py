"""`gasmcast demo`: every verb of the main path once, on made-up data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    folder: Annotated[Path, typer.Argument(help="Where everything goes; steps that are done there already are not done again.")] = Path(
        "demo"
    ),
    clips: Annotated[int, typer.Option(min=150, help="Made-up clips in all.")] = 900,
    seed: Annotated[int, typer.Option(help="Of the data, the training and the video.")] = 0,
) -> None:
    """Make data, train, evaluate, export in FP32 and INT8, and run live on a video of several actions: no GPU, no download.

    About eight minutes on two cores. Each step is a command that is printed before it runs, so it can be typed alone.

    Example: `gasmcast demo demo`
    """
    import onnx  # noqa: F401 - what is missing is said before minutes of making data
    import torch  # noqa: F401

    from gasmcast.commands.demo.walkthrough import run_demo

    report = run_demo(folder, clips, seed, lambda line: typer.secho(line, bold=True))
    typer.echo(report.line)
    typer.echo(f"Open {report.page} and {folder / 'live.mp4'}. Next: gasmcast live 0 --bundle {folder / 'demo.gasm'} --show")
