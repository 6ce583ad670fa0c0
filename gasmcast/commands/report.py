"""`gasmcast report`: show a training run, a bundle or a live recording on one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gasmcast.terminal_text import printable

__all__ = ["report"]


def report(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|BUNDLE|RECORDING",
            help="Run folder of `train`, bundle of `export`, or file of `live --record`.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="HTML page to write.")],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            "-d",
            help="Data set of a run's evaluation, if it is no longer where `eval` read it.",
        ),
    ] = None,
) -> None:
    """Write the report of a training run, a bundle or a recording as one HTML page.

    The page needs no other file and no network, prints well, and reads on a phone. The report of a
    run has confusions, calibration and the worst clips once `gasmcast eval` has evaluated it.

    Examples:
        gasmcast report runs/demo --out run.html

        gasmcast report model.gasm --out export.html

        gasmcast report run.jsonl --out live.html
    """
    from gasmcast.api.report import write_report

    page = write_report(target, out, data=data)
    size_kb = page.stat().st_size / 1000
    typer.echo(printable(f"Wrote {page}, {size_kb:.0f} kB. Next: open it in a browser."))
