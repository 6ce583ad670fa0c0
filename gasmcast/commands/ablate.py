"""`gasmcast ablate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["ablate"]


def ablate(
    study: Annotated[
        str,
        typer.Argument(help="semantic, motion, fusion, heads, graph, taps, guard, or a YAML file."),
    ],
    data: Annotated[
        Path,
        typer.Option("--data", "-d", help="Folder of a set in Something-Something-V2's format."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Folder of all runs and the table; what is finished in it is not run again.",
        ),
    ],
    base: Annotated[
        str | None, typer.Option(help="Another base than the study's: a preset or a YAML file.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of every row, as section.name=value; repeatable."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many seeds, instead of the study's.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the table as JSON at the end.")
    ] = False,
) -> None:
    """Train the rows of a study with several seeds and write a table: size, multiply-adds, accuracy with interval.

    Stopped and started again it goes on where it was. A row that diverges, or whose weights are not to be had,
    is named and passed over.

    Examples:
        gasmcast ablate fusion --data demo-data --out studies/fusion

        gasmcast ablate heads --base ssv2 --data ssv2 --out studies/heads --seeds 1
    """
    from dataclasses import asdict

    from gasmcast.commands.settings import parse_settings
    from gasmcast.studies.ablation import run_study
    from gasmcast.studies.study import read_study
    from gasmcast.studies.table import to_markdown

    plan = read_study(study)
    if seeds is not None:
        plan = plan.model_copy(update={"seeds": tuple(range(seeds))})
    lines, stopped = run_study(plan, data, out, base=base, settings=parse_settings(settings))
    if as_json:
        typer.echo(json.dumps([asdict(line) for line in lines]))
    else:
        typer.echo(to_markdown(plan.about, lines))
    if stopped:
        typer.echo("Stopped. The same command goes on from here.", err=as_json)
        raise typer.Exit(130 if stopped == "SIGINT" else 0)
    if as_json:
        return
    typer.echo(f"Wrote {out / 'table.md'}, .csv, .json and .png. Next: gasmcast runs {out}")
