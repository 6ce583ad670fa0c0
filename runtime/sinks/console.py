"""Output on the terminal: a live table with one row per camera, or plain lines."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gasmcast.runtime.records import NO_ACTION, CameraStats, Decision, Event, Notice, Record
from gasmcast.runtime.service.secrets import redact
from gasmcast.terminal_text import printable

__all__ = ["ConsoleSink"]

_COLORS = {
    "live": "green",
    "ended": "dim",
    "stalled": "yellow",
    "reconnecting": "yellow",
    "failed": "red",
}
_EVENTS_SHOWN = 5
# Widths of the two columns that must stay readable, in characters.
_CAMERA_WIDTH, _ACTION_WIDTH = 12, 32
# What a column costs beside its content: a border and two spaces.
_FRAME_WIDTH = 3


class _Column(NamedTuple):
    """Column whose width never changes, so that the table does not jump with every update."""

    name: str
    width: int


# From the most to the least important; a narrow terminal shows those that fit.
_OPTIONAL = (
    _Column("p", 4),
    _Column("state", 12),
    _Column("time", 9),
    _Column("events", 6),
    _Column("ms", 6),
    _Column("fps", 4),
    _Column("drops", 6),
)
# Order from left to right.
_ORDER = ("camera", "state", "time", "action", "p", "events", "fps", "drops", "ms")


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
    """Show a live table on a terminal, or a line per event, notice and decision elsewhere."""

    console: Console = field(default_factory=lambda: Console(stderr=True))

    def __post_init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._events: deque[Event] = deque(maxlen=_EVENTS_SHOWN)
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
            console.print(escape(printable(line)), soft_wrap=True, highlight=False)

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
            if record.phase == "start":
                row.events += 1
            self._store_event(record)
        else:
            row.note = record.text

    def _store_event(self, event: Event) -> None:
        """Keep the newest state of the last events, in the order of their starts."""
        for index, known in enumerate(self._events):
            if (known.camera, known.number) == (event.camera, event.number):
                self._events[index] = event
                return
        self._events.append(event)

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
        self._live.update(Group(self.table(), *self._event_lines()), refresh=True)
        self._drawn = time.monotonic()

    def table(self) -> Table:
        """Return the state of all cameras as a table that fits the terminal."""
        table = Table(expand=True, header_style="bold")
        shown = self._shown_columns()
        for name in shown:
            if name == "camera":
                table.add_column(name, style="bold", width=self._camera_width(), no_wrap=True)
            elif name == "action":
                table.add_column(name, ratio=1, no_wrap=True)
            else:
                width = next(column.width for column in _OPTIONAL if column.name == name)
                table.add_column(name, width=width, justify=_justify(name))

        # Notices of the process itself have no camera.
        for camera, row in self._rows.items():
            if camera:
                cells = _cells(camera, row)
                table.add_row(*(cells[name] for name in shown))
        return table

    def _camera_width(self) -> int:
        """Return the width that all names need, within a third of the terminal."""
        longest = max((len(_clean(camera)) for camera in self._rows), default=0)
        return max(_CAMERA_WIDTH, min(longest, self.console.width // 3))

    def _shown_columns(self) -> list[str]:
        """Return the columns that leave room for a readable action."""
        room = self.console.width - 1 - self._camera_width() - _ACTION_WIDTH - 2 * _FRAME_WIDTH
        shown = {"camera", "action"}
        for column in _OPTIONAL:
            room -= column.width + _FRAME_WIDTH
            if room < 0:
                break
            shown.add(column.name)
        return [name for name in _ORDER if name in shown]

    def _event_lines(self) -> list[Text]:
        """Return the last events, the newest first, for the place below the table."""
        lines = []
        for event in reversed(self._events):
            # Two lines for each event would hide the table of many cameras.
            going_on = event.phase != "end"
            duration = "now" if going_on else f"{event.duration_s:.1f} s"
            text = f"{event.onset_s:9.1f} s  {duration:>7}  {event.camera}  {event.label}"
            style = "green" if going_on else "dim"
            lines.append(Text(_clean(text), style=style, no_wrap=True, overflow="ellipsis"))
        return lines


def _cells(camera: str, row: _Row) -> dict[str, str]:
    """Return the markup of every column of a camera."""
    decision, stats = row.decision, row.stats
    label = decision.label if decision else redact(row.note)
    style = "dim" if label == NO_ACTION else "default"
    if row.event:
        style = "bold green"

    latency = decision.latency_ms.get("total") if decision else None
    return {
        "camera": escape(_clean(camera)),
        "state": f"[{_COLORS.get(row.state, 'white')}]{escape(_clean(row.state))}[/]",
        "time": f"{decision.time_s:.1f} s" if decision else "",
        "action": f"[{style}]{escape(_clean(label))}[/]",
        "p": f"{decision.p:.2f}" if decision else "",
        "events": str(row.events),
        "fps": f"{stats.fps:.0f}" if stats else "",
        "drops": str(sum(stats.drops.values())) if stats else "",
        "ms": f"{latency:.0f}" if latency is not None else "",
    }


def _justify(name: str) -> Literal["left", "right"]:
    return "left" if name == "state" else "right"


def _clean(text: str) -> str:
    """Return a text without control characters."""
    return printable(text)
