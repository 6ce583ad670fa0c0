"""`gasmcast data split`: split a data set by source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gasmcast.commands.data_options import DATA_HELP, DataFormat

__all__ = ["data_split"]


def data_split(
    data: Annotated[Path, typer.Argument(help=DATA_HELP)],
    out: Annotated[Path, typer.Argument(help="CSV file to write.")],
    share: Annotated[
        float,
        typer.Option("--validation", min=0.01, max=0.99, help="Share of clips for validation."),
    ] = 0.2,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the split.")] = 0,
    data_format: DataFormat = None,
) -> None:
    """Split a data set into train and validation by source, stratified by class.

    All clips of a source stay on one side, and every class keeps clips for training. A split that
    the set has already is replaced.

    Examples:
        gasmcast data split clips split.csv --validation 0.25 --seed 1
    """
    from gasmcast.data.formats.write_formats import count_splits, write_index
    from gasmcast.data.reading import open_any_index, read_as
    from gasmcast.data.splits import with_split

    read_as(data_format, allow_leak=True)
    index = with_split(open_any_index(data), share, seed)
    write_index(index, out, "csv")
    counts = ", ".join(f"{count} {split}" for split, count in count_splits(index.clips).items())
    typer.echo(f"{index}. Wrote {out} ({counts}). Next: gasmcast data check {out}")
