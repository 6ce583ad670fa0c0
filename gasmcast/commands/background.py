"""`gasmcast background`: record the logits of idle hours of the user's own cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gasmcast.commands.engine_options import BundlePath, EngineChoice, Precision
from gasmcast.errors import GateError

__all__ = ["background"]


def background(
    sources: Annotated[
        list[str], typer.Argument(help="Sources as for `gasmcast live`, in which nothing happens.")
    ],
    bundle: BundlePath,
    hours: Annotated[
        float, typer.Option("--hours", min=0.0001, help="Hours of each camera in the file.")
    ] = 72.0,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, or to continue.")] = Path(
        "idle.npz"
    ),
    engine: EngineChoice = "auto",
    precision: Precision = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; all cores if not given.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML of `live`'s settings, for its hop.")
    ] = None,
) -> None:
    """Record logits and times of idle cameras, without pictures, for `gasmcast threshold`.

    Ctrl-C ends it, and the same command continues it. 72 hours of all cameras together without a
    false event prove at most one a day.

    Examples:
        gasmcast background @cameras.yaml --bundle model.gasm --hours 72 --out idle.npz

        gasmcast background demo: --bundle model.gasm --hours 0.01 --out idle.npz
    """
    from gasmcast.api.idle_hours import record_background
    from gasmcast.report.progress_bars import progress_bars
    from gasmcast.runtime.service.secrets import protect_logging

    protect_logging()
    with progress_bars() as progress:
        result = record_background(
            sources,
            bundle,
            hours,
            out,
            precision=precision,
            engine=engine,
            threads=threads,
            config=config,
            progress=progress,
        )
    typer.echo(str(result))
    if not result:
        raise GateError(
            f"{out} does not hold {hours:g} hours of every camera yet.",
            "Run the same command again to continue.",
        )
    typer.echo(f"Next: gasmcast threshold {bundle} --background {out} --at-most 1/day")
