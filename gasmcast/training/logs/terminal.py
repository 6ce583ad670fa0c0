"""What a run shows while it goes: one live table on a terminal, plain lines anywhere else."""

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

__all__ = ["Display", "Pulse"]

T = TypeVar("T")

LINE_EVERY_S = 15.0


@dataclass(frozen=True)
class Pulse:
    """How the run stands after a weight update; means are over the epoch so far."""

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
        """Name -> text of every figure."""
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
        minutes, seconds = divmod(int(self.remaining_s), 60)
        hours, minutes = divmod(minutes, 60)
        return cells | {"ETA": f"{hours}:{minutes:02}:{seconds:02}"}


class Display:
    """A context manager; `active` is false in all processes but the first."""

    def __init__(
        self,
        active: bool = True,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._active = active
        self._console = console or Console()
        self._clock = clock
        self._live = (
            Live(console=self._console, refresh_per_second=4)
            if active and self._console.is_terminal
            else None
        )
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

    def say(self, text: str) -> None:
        """One sentence, above the table."""
        if self._active:
            self._console.print(text, highlight=False, soft_wrap=True)

    def track(self, text: str, items: Iterable[T], total: int) -> Iterable[T]:
        """`items`, with a bar as they are taken; for what is done before the table is shown."""
        return track(items, text, total, console=self._console, disable=not self._active)

    def pulse(self, pulse: Pulse) -> None:
        """Show where the run stands: at once in the table, at most every 15 s as a line."""
        if self._live is not None:
            self._live.update(self._table(pulse.cells()))
        elif self._active and self._clock() - self._last_line >= LINE_EVERY_S:
            self._last_line = self._clock()
            self.say("  ".join(f"{name} {text}" for name, text in pulse.cells().items()))

    def epoch(self, number: int, row: dict[str, float]) -> None:
        """The figures of a finished epoch."""
        if self._active:
            shown: dict[str, str] = {
                name: f"{100 * row[name]:.1f} %"
                for name in ("top1", "top5", "mean_class")
                if name in row
            }
            cells = {
                "epoch": str(number + 1),
                "train loss": f"{row['train_loss']:.4f}",
                "train top-1": f"{100 * row['train_top1']:.1f} %",
                **shown,
            }
            self._epochs.append(cells)
            if self._live is None:
                self.say("  ".join(f"{name} {text}" for name, text in cells.items()))

    def _table(self, cells: dict[str, str]) -> Table:
        table = Table(title="gasmcast train", expand=False)
        for name in cells:
            table.add_column(name, justify="right")
        table.add_row(*cells.values())
        if not self._epochs:
            return table
        outer = Table.grid()
        past = Table(title="epochs: validation", expand=False)
        for name in self._epochs[-1]:
            past.add_column(name, justify="right")
        for row in self._epochs[-8:]:
            past.add_row(*row.values())
        outer.add_row(past)
        outer.add_row(table)
        return outer
