"""`gasmcast runs`: list training runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gasmcast.terminal_text import printable

__all__ = ["runs"]

_NAME_WIDTH = 24
"""Characters of a run's name that never wrap."""


def runs(
    folder: Annotated[
        Path, typer.Argument(help="Folder that contains run folders, at any depth.")
    ] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """List runs side by side, best first: accuracy, epochs, size, speed, git state.

    Examples:
        gasmcast runs runs
    """
    from gasmcast.errors import UsageError
    from gasmcast.training.logs.listing import list_runs, render_runs

    if not folder.is_dir():
        raise UsageError(
            f"There is no folder {folder}.",
            "Give the folder that `gasmcast train --out` wrote into.",
        )

    # JSON is written for no runs, too.
    rows = list_runs(folder)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        raise UsageError(
            f"{folder} holds no run.", "Make one with `gasmcast train demo --data DIR --out RUN`."
        )

    _print(render_runs(rows))
    for row in rows:
        if "damaged" in row:
            typer.echo(printable(f"{row['run']}: {row['damaged']}"))
    best = folder / rows[0]["run"]
    typer.echo(f"{len(rows)} runs, accuracies in percent. Next: gasmcast eval {best} --data DIR")


def _print(lines: list[list[str]]) -> None:
    """Print the columns that fit the terminal; figures are compared by column."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from gasmcast.report.columns import fitting_columns
    from gasmcast.training.logs.listing import IMPORTANCE

    console = Console(markup=False)
    header, *body = [[printable(cell) for cell in line] for line in lines]
    rows = [dict(zip(header, line, strict=True)) for line in body]

    # Only a long name may wrap, where it alone would take the place of the figures.
    clipped = [row | {"run": row["run"][:_NAME_WIDTH]} for row in rows]
    shown = fitting_columns(clipped, IMPORTANCE, console.width)
    width = max(len(row["run"]) for row in clipped)
    table = Table()
    for name in shown:
        if name == "run":
            table.add_column(name, overflow="fold", min_width=width)
        else:
            table.add_column(name, justify="left" if name == "git" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(row[name]) for name in shown))
    console.print(table)
    if len(shown) < len(header):
        left_out = [name for name in header if name not in shown]
        typer.echo(f"A wider terminal also shows {', '.join(left_out)}; --json has all.")
