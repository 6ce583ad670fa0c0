"""Options of every verb that reads a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DATA_HELP", "AllowLeak", "ContextSeconds", "DataFormat", "DataSet", "data_options"]

DATA_HELP = "Data set: a folder per class, an annotation file, or a folder as SSv2's."
PANEL = "Data"

DataSet = Annotated[Path, typer.Option("--data", "-d", help=DATA_HELP)]
DataFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Format of --data, where it is not detected: folders, table, jsonl, lines,"
        " activitynet, labelstudio, cvat, createml, via or ssv2.",
        rich_help_panel=PANEL,
    ),
]
AllowLeak = Annotated[
    bool,
    typer.Option(
        "--allow-leak",
        help="Accept sources in train and in another split; every report says so.",
        rich_help_panel=PANEL,
    ),
]
ContextSeconds = Annotated[
    float,
    typer.Option(
        "--context",
        min=0.0,
        help="Seconds before and after an annotated span that its windows may show.",
        rich_help_panel=PANEL,
    ),
]


def data_options(
    data_format: str | None, *, allow_leak: bool = False, context_s: float = 0.0
) -> dict[str, object]:
    """Return the options that read the same data again, for `repeat_options`."""
    return {
        "--format": data_format,
        "--allow-leak": allow_leak or None,
        "--context": context_s or None,
    }
