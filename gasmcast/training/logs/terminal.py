"""Terminal output of a run: one live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.live import Live
from rich.progress import track
from rich.table import Table

__all__ = ["Display", "RunStatus"]

T = TypeVar("T")

LINE_EVERY_S = 15.0
SHOWN_EPOCHS = 8


@dataclass(frozen=True)
class RunStatus:
    """Position and figures of a run after a weight update; means are over the epoch so far."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    top1: float
    top5: float
    lr: float
    clips_per_s: float
    wait_share: float
    """Share of the time spent waiting for data."""
    memory_gib: float | None
    """Peak GPU memory; None without a GPU."""
    remaining_s: float

    def cells(self) -> dict[str, str]:
        """Return the text of every figure by its name."""
        cells = {
            "epoch": f"{self.epoch + 1}/{self.epochs}",
            "step": f"{self.step}/{self.steps}",
            "loss": f"{self.loss:.4f}",
            "top-1": f"{100 * self.top1:.1f} %",
            "top-5": f"{100 * self.top5:.1f} %",
            "lr": f"{self.lr:.2e}",
            "clips/s": f"{self.clips_per_s:.1f}",
            "data wait": f"{100 * self.wait_share:.0f} %",
        }
        if self.memory_gib is not None:
            cells["GPU"] = f"{self.memory_gib:.1f} GiB"

        # Long runs take more than a day, which is still given in hours.
        minutes, seconds = divmod(int(self.remaining_s), 60)
        hours, minutes = divmod(minutes, 60)
        cells["ETA"] = f"{hours}:{minutes:02}:{seconds:02}"
        return cells


class Display:
    """Context manager that shows the live table of a run.

    Args:
        active: False shows nothing, as in all processes but the main one.
        console: where to print.
        clock: time in seconds.
    """

    def __init__(
        self,
        active: bool = True,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._active = active
        self._console = console or Console()
        self._clock = clock

        # A file or a pipe gets lines instead of a table.
        self._live: Live | None = None
        if active and self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4)
        self._last_line = -LINE_EVERY_S
        self._epochs: list[dict[str, str]] = []

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def note(self, text: str) -> None:
        """Print a sentence above the table."""
        if self._active:
            self._console.print(text, highlight=False, soft_wrap=True)

    def track(self, text: str, items: Iterable[T], total: int) -> Iterable[T]:
        """Return `items` with a progress bar, for work before the table is shown."""
        return track(items, text, total, console=self._console, disable=not self._active)

    def update(self, status: RunStatus) -> None:
        """Show the status: at once in the table, at most every 15 s as a line."""
        if self._live is not None:
            self._live.update(self._table(status.cells()))
        elif self._active and self._clock() - self._last_line >= LINE_EVERY_S:
            self._last_line = self._clock()
            self._print_cells(status.cells())

    def epoch(self, number: int, figures: dict[str, float]) -> None:
        """Show the figures of a finished epoch, counted from 0."""
        if not self._active:
            return
        cells = {
            "epoch": str(number + 1),
            "train loss": f"{figures['train_loss']:.4f}",
            "train top-1": f"{100 * figures['train_top1']:.1f} %",
        }

        # Figures of the validation, if there was one.
        for name in ("top1", "top5", "mean_class"):
            if name in figures:
                cells[name] = f"{100 * figures[name]:.1f} %"

        self._epochs.append(cells)
        if self._live is None:
            self._print_cells(cells)

    def _print_cells(self, cells: dict[str, str]) -> None:
        """Print names and figures as one line."""
        self.note("  ".join(f"{name} {text}" for name, text in cells.items()))

    def _table(self, cells: dict[str, str]) -> Table:
        """Return the table of the present epoch, below that of the last finished epochs."""
        present = Table(title="gasmcast train", expand=False)
        for name in cells:
            present.add_column(name, justify="right")
        present.add_row(*cells.values())
        if not self._epochs:
            return present

        past = Table(title="epochs: validation", expand=False)
        for name in self._epochs[-1]:
            past.add_column(name, justify="right")
        for row in self._epochs[-SHOWN_EPOCHS:]:
            past.add_row(*row.values())

        outer = Table.grid()
        outer.add_row(past)
        outer.add_row(present)
        return outer
