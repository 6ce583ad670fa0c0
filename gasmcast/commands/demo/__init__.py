"""Run `gasmcast demo`: every verb of the main path once, on synthetic data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    folder: Annotated[
        Path, typer.Argument(help="Folder for all results; finished steps are skipped.")
    ] = Path("demo"),
    clips: Annotated[int, typer.Option(min=150, help="Number of synthetic clips.")] = 900,
    seed: Annotated[int, typer.Option(help="Seed of the data, the training and the video.")] = 0,
) -> None:
    """Make data, train, evaluate, export in FP32 and INT8, and run live on a synthetic video.

    Needs neither a GPU nor a download, and takes about eight minutes on two cores. Each step is a
    command that is printed before it runs, so that you can run it alone.

    Examples:
        gasmcast demo demo
    """
    # Missing packages are reported now, not after minutes of making data.
    import onnx  # noqa: F401 - see above
    import torch  # noqa: F401 - see above

    from gasmcast.commands.demo.walkthrough import run_demo

    report = run_demo(folder, clips, seed, lambda line: typer.secho(line, bold=True))

    typer.echo(report.line)
    typer.echo(f"Open {report.page} and {folder / 'live.mp4'}.")
    typer.echo(f"Next: gasmcast live 0 --bundle {folder / 'demo.gasm'} --show")
