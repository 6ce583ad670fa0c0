"""`gasmcast ablate`: train the rows of a study and compare them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gasmcast.commands.data_options import AllowLeak, ContextSeconds, DataFormat, DataSet

__all__ = ["ablate"]


def ablate(
    study: Annotated[
        str,
        typer.Argument(
            help="Study (semantic, motion, fusion, heads, graph, taps, guard) or YAML file."
        ),
    ],
    data: DataSet,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Folder of all runs and the table; finished runs in it are not repeated.",
        ),
    ],
    base: Annotated[
        str | None,
        typer.Option("--base", help="Preset or YAML file that replaces the base of the study."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Change a setting in every row, as section.name=value; repeatable."
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=1, help="Number of seeds; the default is the study's."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the table as JSON at the end.")
    ] = False,
    data_format: DataFormat = None,
    allow_leak: AllowLeak = False,
    context: ContextSeconds = 0.0,
) -> None:
    """Train the rows of a study with several seeds and write a table of sizes and accuracies.

    A study that was stopped continues with the same command. A row that diverges, or whose weights
    are not available, is named and skipped.

    Examples:
        gasmcast ablate fusion --data demo-data --out studies/fusion

        gasmcast ablate heads --base ssv2 --data ssv2 --out studies/heads --seeds 1
    """
    import sys
    from contextlib import nullcontext, redirect_stdout
    from dataclasses import asdict

    from gasmcast.commands.settings import parse_settings
    from gasmcast.data.reading import read_as
    from gasmcast.studies.ablation import run_study
    from gasmcast.studies.study import read_study
    from gasmcast.studies.table import to_markdown

    read_as(data_format, allow_leak=allow_leak, context_s=context)

    # The seeds count from 0, as those of the packaged studies.
    plan = read_study(study)
    if seeds is not None:
        plan = plan.model_copy(update={"seeds": tuple(range(seeds))})
    with redirect_stdout(sys.stderr) if as_json else nullcontext():  # tables of the trainings
        rows, stopped = run_study(plan, data, out, base=base, settings=parse_settings(settings))

    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows]))
    else:
        typer.echo(to_markdown(plan.about, rows))

    if stopped:
        typer.echo("Stopped. The same command continues from here.", err=as_json)
        raise typer.Exit(130 if stopped == "SIGINT" else 0)
    if not as_json:
        typer.echo(f"Wrote {out / 'table.md'}, .csv, .json and .png. Next: gasmcast runs {out}")
