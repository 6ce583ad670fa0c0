"""Show progress of long work as bars on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gasmcast.progress import Progress, silent

__all__ = ["progress_bars"]


@contextmanager
def progress_bars(*, quiet: bool = False) -> Iterator[Progress]:
    """Yield a progress callback that draws one bar for each stage; the bars vanish at the end.

    Args:
        quiet: draw nothing.
    """
    if quiet:
        yield silent
        return

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    bars = Bars(*columns, console=Console(stderr=True), transient=True)
    tasks: dict[str, TaskID] = {}

    def show(stage: str, done: int = 0, total: int = 0) -> None:
        # Bars that start before the first report would leave an empty line under an early error.
        bars.start()
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total or None)
        bars.update(tasks[stage], completed=done, total=total or None)

    try:
        yield show
    finally:
        if tasks:
            bars.stop()
