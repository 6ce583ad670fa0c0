"""`gasmcast runs`: list training runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["runs"]


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

    from rich.console import Console
    from rich.table import Table

    # Names may wrap, and figures are compared by column.
    header, *lines = render_runs(rows)
    table = Table()
    for name in header:
        is_text = name in ("run", "git")
        table.add_column(name, justify="left" if is_text else "right", overflow="fold")
    for line in lines:
        table.add_row(*line)
    Console().print(table)

    for row in rows:
        if "damaged" in row:
            typer.echo(f"{row['run']}: {row['damaged']}")
    best = folder / rows[0]["run"]
    typer.echo(f"{len(rows)} runs, accuracies in percent. Next: gasmcast eval {best} --data DIR")
