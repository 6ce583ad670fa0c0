"""`gasmcast threshold`: choose event thresholds for a stated number of false alarms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from gasmcast.commands.data_options import AllowLeak, DataFormat

__all__ = ["threshold"]


def threshold(
    bundle: Annotated[Path, typer.Argument(help="What `gasmcast export` wrote.")],
    background: Annotated[
        Path, typer.Option("--background", help="What `gasmcast background` wrote.")
    ],
    at_most: Annotated[
        str,
        typer.Option("--at-most", help="False events per camera: 1/hour, 1/day, 2/week, 3/month."),
    ] = "1/day",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", "-d", help="Labeled videos for the hit rate: a data set in any format."
        ),
    ] = None,
    split: Annotated[
        Literal["validation", "train"], typer.Option(help="Split of --data.")
    ] = "validation",
    config: Annotated[
        Path | None,
        typer.Option(help="YAML of `live`'s settings; hop and event thresholds are replaced."),
    ] = None,
    engine: Annotated[str, typer.Option(help="Backend that runs --data.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; all cores if not given.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the trade-off and leave the bundle as it is.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    data_format: DataFormat = None,
    allow_leak: AllowLeak = False,
) -> None:
    """Choose thresholds that hold a number of false events a day, and write them to the bundle.

    The number is the 95 % upper bound (Garwood) of what the idle hours show. Exit code 4: the hours
    cannot prove it, or no thresholds hold it; the bundle is unchanged then.

    Examples:
        gasmcast threshold model.gasm --background idle.npz --at-most 1/day

        gasmcast threshold model.gasm --background idle.npz --at-most 1/week --data own-clips
    """
    from gasmcast.api.alarm_thresholds import choose_threshold
    from gasmcast.commands.clean_exit import clean_end
    from gasmcast.report.progress_bars import progress_bars

    with clean_end("The choice"), progress_bars(quiet=as_json) as progress:
        result = choose_threshold(
            bundle,
            background,
            at_most,
            data=data,
            split=split,
            config=config,
            engine=engine,
            threads=threads,
            data_format=data_format,
            allow_leak=allow_leak,
            write=not dry_run,
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(result.to_json()))
        return
    typer.echo(str(result))
    typer.echo(f"Next: gasmcast live 0 --bundle {bundle}")
