"""Output on the terminal: a live table with one row per camera, or plain lines."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from gasmcast.runtime.records import NO_ACTION, CameraStats, Decision, Event, Notice, Record
from gasmcast.runtime.service.secrets import redact

__all__ = ["ConsoleSink"]

_COLORS = {
    "live": "green",
    "ended": "dim",
    "stalled": "yellow",
    "reconnecting": "yellow",
    "failed": "red",
}


@dataclass
class _Row:
    state: str = "connecting"
    decision: Decision | None = None
    event: Event | None = None
    events: int = 0
    stats: CameraStats | None = None
    note: str = ""


@dataclass
class ConsoleSink:
    """Shows a live table on a terminal, or a line per event, notice and decision elsewhere."""

    console: Console = field(default_factory=lambda: Console(stderr=True))

    def __post_init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._drawn = 0.0
        self._live: Live | None = None
        if self.console.is_terminal:
            # It starts with the first record, so that messages before it are not overwritten.
            self._live = Live(console=self.console, auto_refresh=False, transient=False)

    def write(self, record: Record) -> None:
        """Show a record; the table is drawn at most ten times per second."""
        self._store(record)
        if self._live is None:
            self._print(record, self.console)
            return

        # Above the table, where it stays; states and gaps have a column of their own.
        if isinstance(record, Notice) and record.what not in ("state", "gap"):
            self._print(record, self._live.console)
        if isinstance(record, Event | Notice) or time.monotonic() - self._drawn > 0.1:
            self._draw()

    def close(self) -> None:
        """Draw the last state and release the terminal."""
        if self._live is not None and self._live.is_started:
            self._draw()
            self._live.stop()

    def _print(self, record: Record, console: Console) -> None:
        line = self._line(record)
        if line:
            console.print(escape(line), soft_wrap=True, highlight=False)

    def _store(self, record: Record) -> None:
        if not isinstance(record, Decision | Event | Notice):
            # Statistics of the process list all cameras at once.
            for stats in record.cameras:
                row = self._rows.setdefault(stats.camera, _Row())
                row.stats, row.state = stats, stats.state
            return

        row = self._rows.setdefault(record.camera, _Row())
        if isinstance(record, Decision):
            row.decision = record
            # Statistics, which have the state, come only every few seconds.
            if row.state == "connecting":
                row.state = "live"
        elif isinstance(record, Event):
            row.event = None if record.phase == "end" else record
            row.events += record.phase == "start"
        else:
            row.note = record.text

    def _line(self, record: Record) -> str:
        """Return a record as one line; empty for statistics and updates of events."""
        start = f"{record.time_s:9.2f} s  {record.camera}  "
        if isinstance(record, Event):
            if record.phase == "update":
                return ""
            sign = ">>>" if record.phase == "start" else "<<<"
            duration = f", {record.duration_s:.1f} s" if record.phase == "end" else ""
            return f"{start}{sign} {record.label}  {record.p:.2f}{duration}"
        if isinstance(record, Notice):
            # Notices of the process itself have no camera.
            text = redact(record.text)
            return f"{start}{text}" if record.camera else text

        if isinstance(record, Decision):
            return f"{start}{record.label}  {record.p:.2f}"
        return ""

    def _draw(self) -> None:
        assert self._live is not None
        self._live.start()  # does nothing if it runs
        self._live.update(self.table(), refresh=True)
        self._drawn = time.monotonic()

    def table(self) -> Table:
        """Return the state of all cameras as a table."""
        table = Table(expand=True, header_style="bold")

        # Fixed widths, so that the table does not jump with every update.
        table.add_column("camera", style="bold", ratio=1, no_wrap=True)
        table.add_column("state", width=12)
        table.add_column("time", width=9, justify="right")
        table.add_column("action", ratio=3, no_wrap=True)
        for name, width in (("p", 4), ("events", 6), ("fps", 4), ("drops", 6), ("ms", 6)):
            table.add_column(name, justify="right", width=width)

        # Notices of the process itself have no camera.
        for camera, row in self._rows.items():
            if not camera:
                continue

            color = _COLORS.get(row.state, "white")
            decision, stats = row.decision, row.stats
            label = decision.label if decision else redact(row.note)
            style = "dim" if label == NO_ACTION else "default"
            if row.event:
                style = "bold green"
            has_latency = decision is not None and "total" in decision.latency_ms

            table.add_row(
                escape(camera),
                f"[{color}]{row.state}[/]",
                f"{decision.time_s:.1f} s" if decision else "",
                f"[{style}]{escape(label)}[/]",
                f"{decision.p:.2f}" if decision else "",
                str(row.events),
                f"{stats.fps:.0f}" if stats else "",
                str(sum(stats.drops.values())) if stats else "",
                f"{decision.latency_ms['total']:.0f}" if decision and has_latency else "",
            )

        return table
