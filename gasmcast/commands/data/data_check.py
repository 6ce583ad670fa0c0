"""`gasmcast data check`: say what was understood of a data set, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gasmcast.commands.data_options import DATA_HELP, DataFormat

if TYPE_CHECKING:
    from gasmcast.data.check.check_result import DataCheck

__all__ = ["data_check"]

COLORS = {
    "error": typer.colors.RED,
    "warning": typer.colors.YELLOW,
    "note": typer.colors.BLUE,
}


def data_check(
    data: Annotated[Path, typer.Argument(help=DATA_HELP)],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the page and the JSON file."),
    ] = None,
    config: Annotated[
        str, typer.Option("--config", help="Preset or YAML file whose window clips should fill.")
    ] = "ssv2",
    data_format: DataFormat = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Check a data set before a training, and write a page with a film strip of each class.

    Looks for unreadable files, leaks and near-duplicates across the split, suspicious labels,
    imbalance, clips that do not fit the window, and shortcuts: properties of the files that alone
    predict the class. The exit code is 2 if something is an error.

    Examples:
        gasmcast data check clips

        gasmcast data check annotations.json --format labelstudio --out check
    """
    from gasmcast.config import load_config
    from gasmcast.data.check.check_set import check_set
    from gasmcast.data.reading import read_as
    from gasmcast.files import write_atomic
    from gasmcast.report.progress_bars import progress_bars

    read_as(data_format, allow_leak=True)
    window_s = load_config(config).spec.window_s
    with progress_bars(quiet=as_json) as progress:
        result = check_set(data, window_s, progress)

    if as_json:
        typer.echo(json.dumps(result.to_json(), ensure_ascii=False))
    else:
        _print(result)
    if out is not None:
        write_atomic(out / "data.html", result.to_html())
        write_atomic(out / "data.json", json.dumps(result.to_json(), ensure_ascii=False, indent=1))
        typer.echo(f"Wrote {out / 'data.html'} and {out / 'data.json'}.", err=as_json)
    if not result:
        raise typer.Exit(2)
    if not as_json:
        typer.echo(f"Next: gasmcast train small-data --data {data} --out RUN")


def _print(result: DataCheck) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from gasmcast.terminal_text import printable

    typer.echo(printable(str(result)))
    table = Table()
    for name in ("class", "clips", "train", "validation", "sources", "median s"):
        table.add_column(name, justify="left" if name == "class" else "right", overflow="fold")
    for row in result.classes:
        counts = (row.clips, row.training_clips, row.validation_clips, row.sources)
        cells = [row.name, *map(str, counts), f"{row.median_s:.1f}"]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    Console().print(table)

    for name, values in result.files.items():
        typer.echo(printable(f"{name}: {', '.join(f'{v} ({n})' for v, n in values.items())}"))
    for finding in result.findings:
        typer.secho(printable(str(finding)), fg=COLORS[finding.level])
