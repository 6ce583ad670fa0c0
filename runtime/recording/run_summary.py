"""Sum up a recording for a report, line by line, so that a day of cameras needs little memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from gasmcast.errors import UsageError
from gasmcast.runtime.recording.lines import SourceTime, Text
from gasmcast.runtime.recording.replay_decisions import read_recording
from gasmcast.runtime.service.secrets import redact

__all__ = ["CameraSummary", "DecisionLine", "EventLine", "NoticeLine", "RunSummary", "sum_up"]

MOST_NOTICES = 2000
"""Notices that are kept; the rest is counted."""


class _Line(BaseModel):
    """Fields that a report reads of a record; others are ignored."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class DecisionLine(_Line):
    """Decision of a recording."""

    time_s: SourceTime
    label: Text
    p: float
    latency_ms: dict[str, float]


class EventLine(_Line):
    """End of an action in a recording."""

    camera: Text
    ts: Text
    phase: Literal["start", "update", "end"]
    label: Text
    p: float
    onset_s: SourceTime
    duration_s: float
    time_s: SourceTime


class NoticeLine(_Line):
    """Notice of a recording."""

    camera: Text
    ts: Text
    time_s: SourceTime
    what: Text
    text: Text


@dataclass
class CameraSummary:
    """Camera of a recording."""

    name: str
    source: str
    live: bool
    decisions: list[tuple[float, str, float]] = field(default_factory=list)
    """Time in seconds, label and probability."""
    events: list[EventLine] = field(default_factory=list)
    """Ends of actions."""
    drops: Counter[str] = field(default_factory=Counter)
    """Segments by cause."""
    state: str = ""
    """What the last notice of its state says."""


@dataclass
class RunSummary:
    """Content of a recording."""

    head: dict[str, Any]
    """Its first line."""
    cameras: dict[str, CameraSummary] = field(default_factory=dict)
    latency_ms: dict[str, list[float]] = field(default_factory=dict)
    """Milliseconds of each decision by stage."""
    notices: list[NoticeLine] = field(default_factory=list)
    more_notices: int = 0
    lost: int = 0
    """Lines that are missing, because the disk was too slow."""


_Model = TypeVar("_Model", bound=_Line)


def sum_up(path: Path) -> RunSummary:
    """Return the summary of a recording.

    Raises:
        UsageError: not a recording, one of another version, or one that was damaged by an edit.
    """
    lines = read_recording(path)
    summary = RunSummary(next(lines))
    for line in lines:
        kind = line["is"]
        if kind == "lost":
            summary.lost += line["lines"]
        elif kind == "camera":
            name = line["camera"]
            summary.cameras[name] = CameraSummary(name, redact(line["source"]), line["live"])
        elif kind == "drop":
            camera = _camera(summary, line, path)
            camera.drops[line["cause"]] += _segments(line)
        elif kind == "record" and line["kind"] in ("decision", "event", "notice"):
            _add_record(summary, line, path)
    return summary


def _add_record(summary: RunSummary, line: dict[str, Any], path: Path) -> None:
    if line["kind"] == "decision":
        decision = _parse(DecisionLine, line, path)
        place = (decision.time_s, decision.label, decision.p)
        _camera(summary, line, path).decisions.append(place)
        for stage, milliseconds in decision.latency_ms.items():
            summary.latency_ms.setdefault(stage, []).append(milliseconds)
        return

    if line["kind"] == "event":
        event = _parse(EventLine, line, path)
        # The end has the whole action.
        if event.phase == "end":
            _camera(summary, line, path).events.append(event)
        return

    notice = _parse(NoticeLine, line, path)
    if notice.what == "state" and notice.camera in summary.cameras:
        summary.cameras[notice.camera].state = notice.text
    if len(summary.notices) < MOST_NOTICES:
        summary.notices.append(notice)
    else:
        summary.more_notices += 1


def _camera(summary: RunSummary, line: dict[str, Any], path: Path) -> CameraSummary:
    camera = summary.cameras.get(line["camera"])
    if camera is None:
        raise UsageError(
            f"{path}: no line introduces the camera {line['camera']!r}.",
            "Give what --record wrote.",
        )
    return camera


def _segments(line: dict[str, Any]) -> int:
    count = line.get("segments", 1)
    return count if isinstance(count, int) and 0 < count < 10**9 else 1


def _parse(model: type[_Model], line: dict[str, Any], path: Path) -> _Model:
    try:
        return model.model_validate(line)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise UsageError(
            f"{path}: the {line['kind']} at {line['time_s']:g} s of {line['camera']!r} is damaged "
            f"({where}: {problem['msg']}).",
            "Give what --record wrote.",
        ) from None
