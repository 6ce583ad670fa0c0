"""Render the report of a recorded run: time lines, latency, drops and states of the cameras."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from gasmcast.report.figures import inline_svg
from gasmcast.report.html import Table, bar_table, render
from gasmcast.report.time_line import Dot, Span, draw_latency, draw_time_line
from gasmcast.runtime.recording.run_summary import CameraSummary, EventLine, RunSummary, sum_up
from gasmcast.runtime.records import NO_ACTION

__all__ = ["render_recording"]

MOST_CLASSES = 20
"""Classes of a time line, the most frequent ones."""
MOST_ROWS = 200
"""Notices and events that are shown."""
_STAGES = ("sample", "wait", "encode", "queue", "fuse", "total")


def render_recording(path: Path) -> str:
    """Return the report of a recording as HTML text.

    Args:
        path: file that `gasmcast live --record` wrote.

    Raises:
        UsageError: not a recording, one of another version, or one that was damaged by an edit.
    """
    run = sum_up(path)
    events = [event for camera in run.cameras.values() for event in camera.events]
    events.sort(key=lambda event: event.ts)

    # Only stages that were measured; a foreign name is a damaged recording's and is left out.
    stages = {
        name: np.array(run.latency_ms[name]).clip(0) for name in _STAGES if name in run.latency_ms
    }

    drops = sum((camera.drops for camera in run.cameras.values()), Counter[str]())
    label = "histogram of latency by stage, in milliseconds"
    return render(
        "recording.html.j2",
        title=f"Live run {path.name}",
        summary=_summary(run),
        lost=run.lost,
        cameras=_cameras(run),
        lines=[_line(camera) for camera in run.cameras.values()],
        latency=inline_svg(draw_latency(stages), label) if stages else "",
        stages=_percentiles(stages),
        drops=bar_table(("cause", "segments"), [(k, float(n)) for k, n in drops.most_common()]),
        notices=Table(
            ("time, UTC", "camera", "notice", "text"),
            [(_clock(one.ts), one.camera, one.what, one.text) for one in run.notices[:MOST_ROWS]],
        ),
        more_notices=max(len(run.notices) - MOST_ROWS, 0) + run.more_notices,
        events=_events(events[:MOST_ROWS]),
        more_events=max(len(events) - MOST_ROWS, 0),
    )


def _summary(run: RunSummary) -> Table:
    decisions = [one for camera in run.cameras.values() for one in camera.decisions]
    idle = sum(label == NO_ACTION for _, label, _ in decisions)
    rows: list[tuple[str, object]] = [
        ("engine", run.head.get("engine", "")),
        ("gasmcast", run.head.get("gasmcast", "")),
        ("classes", len(run.head["labels"])),
        ("cameras", len(run.cameras)),
        ("decisions", len(decisions)),
        ("of these no action", idle),
        ("events", sum(len(camera.events) for camera in run.cameras.values())),
    ]
    return Table(("run", "value"), rows)


def _cameras(run: RunSummary) -> Table:
    rows = [
        (
            camera.name,
            camera.source,
            len(camera.decisions),
            len(camera.events),
            camera.drops.total(),
            camera.state,
        )
        for camera in run.cameras.values()
    ]
    head = ("camera", "source", "decisions", "events", "dropped segments", "last state")
    return Table(head, rows, numbers=(2, 3, 4))


def _line(camera: CameraSummary) -> dict[str, Any]:
    """Return the time line of a camera: its most frequent classes, `no action` last."""
    counts = Counter(label for _, label, _ in camera.decisions)
    counts.update(event.label for event in camera.events)
    idle = counts.pop(NO_ACTION, 0)
    names = [name for name, _ in counts.most_common(MOST_CLASSES)]
    hidden = len(counts) - len(names)
    names.sort()
    if idle:
        names.append(NO_ACTION)
    if not names:
        return {"name": camera.name, "svg": "", "hidden": 0}

    spans = [Span(one.label, one.onset_s, one.onset_s + one.duration_s) for one in camera.events]
    dots = [Dot(label, time_s, p) for time_s, label, p in camera.decisions]
    figure = draw_time_line(names, spans, dots, axis="seconds after the first frame")
    label = f"time line of {camera.name}: events and decisions by class"
    return {"name": camera.name, "svg": inline_svg(figure, label, wide=True), "hidden": hidden}


def _percentiles(stages: dict[str, np.ndarray[Any, np.dtype[np.float64]]]) -> Table:
    rows = []
    for name, values in stages.items():
        figures = np.percentile(values, (50, 95, 99))
        rows.append((name, *(f"{figure:.1f}" for figure in figures)))
    return Table(("stage", "p50, ms", "p95, ms", "p99, ms"), rows, numbers=(1, 2, 3))


def _events(events: list[EventLine]) -> Table:
    rows = [
        (one.label, one.camera, _clock(one.ts), f"{one.p:.2f}", f"{one.duration_s:.1f}")
        for one in events
    ]
    head = ("action", "camera", "end, UTC", "peak probability", "seconds")
    return Table(head, rows, numbers=(3, 4))


def _clock(ts: str) -> str:
    """Return an RFC 3339 time in whole seconds, in a form that may wrap between date and time."""
    return ts[:19].replace("T", " ")
