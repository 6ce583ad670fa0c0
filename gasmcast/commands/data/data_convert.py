"""`gasmcast data convert`: write a data set in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gasmcast.commands.data_options import DATA_HELP, DataFormat

__all__ = ["data_convert"]


def data_convert(
    data: Annotated[Path, typer.Argument(help=DATA_HELP)],
    out: Annotated[Path, typer.Argument(help="File to write; a folder for ssv2.")],
    to: Annotated[
        Literal["csv", "ssv2", "activitynet", "labelstudio"],
        typer.Option("--to", help="Format to write."),
    ] = "csv",
    data_format: DataFormat = None,
) -> None:
    """Write a data set in another format. Videos are named or linked, not copied.

    A set without splits gets one, made by source.

    Examples:
        gasmcast data convert clips clips.csv

        gasmcast data convert labelstudio.json thumos.json --to activitynet
    """
    from gasmcast.data.formats.write_formats import count_splits, write_index
    from gasmcast.data.reading import open_any_index, read_as

    read_as(data_format, allow_leak=True)
    index = open_any_index(data)
    typer.echo(str(index))
    files = write_index(index, out, to)
    counts = ", ".join(f"{count} {split}" for split, count in count_splits(index.clips).items())
    typer.echo(f"Wrote {', '.join(map(str, files))} ({counts}). Next: gasmcast data check {out}")
