"""Show progress of long work on standard error: bars on a terminal, lines in a log file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from gasmcast.progress import Progress, silent

__all__ = ["progress_bars"]

_LINE_S = 60.0
"""Seconds between two lines of a stage in a log file."""


@contextmanager
def progress_bars(*, quiet: bool = False) -> Iterator[Progress]:
    """Yield a progress callback that draws one bar for each stage; the bars vanish at the end.

    In a log file, where a bar cannot be redrawn, it prints a line at the start of each stage, and
    one a minute with the time that is left.

    Args:
        quiet: draw and print nothing.
    """
    if quiet:
        yield silent
        return

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    bars = Bars(*columns, console=console, transient=True)
    tasks: dict[str, TaskID] = {}
    started = time.monotonic()
    # Of the current stage, in a log file: start, completed steps then, and the last line.
    began_at, began_done, printed_at = started, 0, started

    def show(stage: str, done: int = 0, total: int = 0) -> None:
        nonlocal began_at, began_done, printed_at
        # Bars that start before the first report would leave an empty line under an early error.
        if console.is_terminal:
            bars.start()
        elif stage not in tasks:
            began_at = printed_at = time.monotonic()
            began_done = done
            typer.echo(f"{began_at - started:6.0f} s  {stage}", err=True)
        elif total and time.monotonic() - printed_at >= _LINE_S:
            printed_at = time.monotonic()
            steps = max(done - began_done, 1)
            left_s = (printed_at - began_at) / steps * (total - done)
            line = f"{stage}: {done} of {total}, {left_s / 60:.0f} min left"
            typer.echo(f"{printed_at - started:6.0f} s  {line}", err=True)

        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total or None)
        bars.update(tasks[stage], completed=done, total=total or None)

    try:
        yield show
    finally:
        if tasks and console.is_terminal:
            bars.stop()
