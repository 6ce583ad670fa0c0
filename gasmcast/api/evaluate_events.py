"""Evaluate the events of a bundle on annotated long videos, for `gasmcast eval --events`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gasmcast.errors import UsageError
from gasmcast.files import write_atomic
from gasmcast.progress import Progress, silent
from gasmcast.report.percent import percent

if TYPE_CHECKING:
    from gasmcast.evaluation.event_scores import EventFigures
    from gasmcast.runtime.alarms.hits import Action
    from gasmcast.runtime.records import Event

__all__ = ["EventEvaluation", "annotated_actions", "evaluate_events"]


@dataclass(frozen=True)
class CurvePoint:
    """Precision and recall at temporal IoU 0.5, and false events, with one `on`."""

    on: float
    precision: float
    recall: float
    false_per_hour: float


@dataclass(frozen=True)
class EventEvaluation:
    """Scores of the events that `live` reports; truthy when there are events to score."""

    bundle: str
    precision: str
    videos: int
    hours: float
    figures: tuple[EventFigures, ...]
    """At temporal IoU 0.1 to 0.7, with the thresholds that `live` uses."""
    false_per_hour: float
    """Events that overlap no action of their label, per hour of video."""
    onset_error_s: float | None
    """Mean distance of the estimated onset from the annotated start, at temporal IoU 0.1."""
    onset_delay_s: float | None
    """Mean time from the annotated start to the report, at temporal IoU 0.1."""
    map_thumos: dict[str, float]
    """Mean AP by temporal IoU, of all events that reach a probability of 0.3."""
    map_activitynet: float
    """Mean over temporal IoU 0.5 to 0.95 of the interpolated mean AP, of the same events."""
    map_points: dict[str, float]
    """Mean AP of starts by distance in seconds, of the same events."""
    curve: tuple[CurvePoint, ...]
    events: tuple[Event, ...]
    """Events as `live` reports them: starts, updates and ends."""
    leak: str = ""
    """Warning about sources in two splits, if that was allowed."""

    def __bool__(self) -> bool:
        return bool(self.events)

    def __str__(self) -> str:
        first = self.figures[0]
        counts = f"{first.events} events, {first.actions} actions, {self.videos} videos"
        lines = [
            f"{self.bundle} in {self.precision}: {counts}, {self.hours:.2f} h",
            "temporal IoU  precision  recall     F1  mAP (THUMOS)",
        ]

        # One line for each overlap that an event must have with its action.
        for row in self.figures:
            ap = self.map_thumos[f"{row.iou:g}"]
            cells = (percent(row.precision), percent(row.recall), percent(row.f1), percent(ap))
            lines.append(
                f"{row.iou:12g}  {cells[0]:>9}  {cells[1]:>6}  {cells[2]:>5}  {cells[3]:>12}"
            )

        lines.append(f"mAP (ActivityNet, 0.5 to 0.95): {percent(self.map_activitynet)}")
        points = ", ".join(f"{key} s {percent(value)}" for key, value in self.map_points.items())
        lines.append(f"mAP of starts within: {points}")
        if self.onset_delay_s is not None and self.onset_error_s is not None:
            lines.append(
                f"reported {self.onset_delay_s:.2f} s after the start on average; the onset is "
                f"estimated to {self.onset_error_s:.2f} s"
            )
        lines.append(f"false events: {self.false_per_hour:.2f} an hour")
        if self.leak:
            lines.append(self.leak)
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        tree = asdict(self)
        tree["figures"] = [row.to_json() for row in self.figures]
        tree["events"] = [event.to_json() for event in self.events]
        # Keys of what did not happen are absent.
        if not self.leak:
            del tree["leak"]
        return tree


def annotated_actions(
    data: Path, split: Literal["validation", "train"], labels: Sequence[str]
) -> tuple[list[Path], list[Action], float]:
    """Return the videos of a set, their actions, and their seconds together.

    Raises:
        UsageError: as `read_timeline`, or an action has a label that the model lacks.
    """
    from gasmcast.data.timeline import read_timeline  # noqa: PLC0415 - heavy
    from gasmcast.runtime.alarms.hits import Action  # noqa: PLC0415 - heavy

    videos = read_timeline(data, split)
    actions = []
    for video in videos:
        for action in video.actions:
            if action.label not in labels:
                raise UsageError(
                    f"{data}: the model has no label {action.label!r}.",
                    "`gasmcast inspect BUNDLE --json` lists its labels.",
                )
            actions.append(Action(str(video.path), action.start_s, action.end_s, action.label))
    seconds = sum(video.duration_s for video in videos)
    return [video.path for video in videos], actions, seconds


def evaluate_events(
    bundle: Path | str,
    data: Path | str,
    *,
    split: Literal["validation", "train"] = "validation",
    precision: str = "auto",
    engine: str = "auto",
    config: Path | None = None,
    out: Path | str | None = None,
    threads: int | None = None,
    data_format: str | None = None,
    allow_leak: bool = False,
    progress: Progress = silent,
) -> EventEvaluation:
    """Return precision, recall, mean AP, delay and false events of a bundle on long videos.

    The events are those that `gasmcast live` reports on the same files with the same settings.

    Args:
        bundle: folder that `gasmcast export` wrote.
        data: data set in any format; see `gasmcast.data.timeline`. A clip that is a whole video
            is an action over all of it.
        split: the split to evaluate.
        precision: auto, or a precision of the bundle.
        engine: backend.
        config: YAML of `live`'s settings.
        out: folder for `events.json` and the picture of the curve; None writes nothing.
        threads: CPU threads; None: all cores.
        data_format: format of the annotations, as `--format` takes it; None: detected.
        allow_leak: accept sources in two splits; the result says so.
        progress: called as videos end.

    Raises:
        UsageError: the bundle, the set or the settings are wrong.
        SourceError: a video cannot be read.
    """
    from gasmcast.data.reading import read_as  # noqa: PLC0415 - heavy
    from gasmcast.data.set_check import check_data  # noqa: PLC0415 - heavy
    from gasmcast.evaluation import event_scores as scores  # noqa: PLC0415 - heavy
    from gasmcast.runtime.alarms.idle_replay import decide, events_of  # noqa: PLC0415 - heavy
    from gasmcast.runtime.alarms.run_files import run_files  # noqa: PLC0415 - heavy
    from gasmcast.runtime.alarms.threshold_choice import (  # noqa: PLC0415 - heavy
        FLOOR,
        OFF_SHARE,
        ON_GRID,
    )
    from gasmcast.runtime.live_settings import (  # noqa: PLC0415 - heavy
        load_live_config,
        with_defaults,
    )
    from gasmcast.runtime.streaming_model import open_model  # noqa: PLC0415 - heavy

    read_as(data_format, allow_leak=allow_leak)
    leak = check_data(Path(data))

    # Thresholds that the bundle states count where the user's settings name none.
    settings = load_live_config(config)
    model, _ = open_model(Path(bundle), engine, precision, threads, tempo=settings.tempo)
    settings = with_defaults(settings, model.event_defaults)
    videos, actions, seconds = annotated_actions(Path(data), split, model.labels.names)

    # The model runs once; all thresholds are replayed from its logits.
    logits = run_files(model, settings, videos, progress=progress)
    lowest = min(FLOOR, settings.off, settings.on, *settings.label_on.values())
    decided = decide(
        logits,
        settings,
        temperature=model.temperature,
        no_action=model.no_action,
        floor=lowest,
        progress=progress,
    )

    # The events that `live` reports with these settings.
    hop_s, hours = logits.head.hop_s, seconds / 3600
    events = events_of(decided, settings)
    detections = scores.detections_of(events, hop_s)

    # The curve shows what another threshold would give.
    curve = []
    candidates: list[scores.Detection] = []
    for on in ON_GRID:
        update = {"on": on, "off": OFF_SHARE * on, "label_on": {}, "min_s": 0.0}
        tried = scores.detections_of(events_of(decided, settings.model_copy(update=update)), hop_s)
        # Rankings need weak events, too: those with the lowest threshold.
        candidates = candidates or tried

        row = scores.event_figures(tried, actions, 0.5)
        false = _false_events(tried, actions)
        curve.append(CurvePoint(on, row.precision, row.recall, false / hours))

    # Delays are those of events that found an action, however little of it.
    taken = [(d, a) for d, a in scores.matches(detections, actions, 0.1) if a is not None]
    count = max(len(taken), 1)
    onset = sum(abs(d.start_s - a.start_s) for d, a in taken) / count
    delay = sum(d.reported_s - a.start_s for d, a in taken) / count

    # Benchmarks rank all candidates, not only the events above the threshold.
    activitynet = [
        scores.mean_ap(candidates, actions, iou, interpolated=True)
        for iou in scores.ACTIVITYNET_IOUS
    ]

    result = EventEvaluation(
        bundle=str(bundle),
        precision=model.precision,
        videos=len(videos),
        hours=hours,
        figures=tuple(scores.event_figures(detections, actions, iou) for iou in scores.THUMOS_IOUS),
        false_per_hour=_false_events(detections, actions) / hours,
        onset_error_s=onset if taken else None,
        onset_delay_s=delay if taken else None,
        map_thumos={
            f"{iou:g}": scores.mean_ap(candidates, actions, iou, interpolated=False)
            for iou in scores.THUMOS_IOUS
        },
        map_activitynet=sum(activitynet) / len(activitynet),
        map_points={f"{s}": scores.point_map(candidates, actions, s) for s in (1, 2, 5, 10)},
        curve=tuple(curve),
        events=tuple(events),
        leak=leak,
    )
    if out is not None:
        _write(result, Path(out))
    return result


def _false_events(detections: Sequence[Any], actions: Sequence[Action]) -> int:
    """Return the number of events that overlap no action of their label."""
    from gasmcast.evaluation.event_scores import overlap  # noqa: PLC0415 - heavy

    count = 0
    for detection in detections:
        same = [a for a in actions if (a.camera, a.label) == (detection.camera, detection.label)]
        count += not any(overlap(detection, action) > 0 for action in same)
    return count


def _write(result: EventEvaluation, folder: Path) -> None:
    from gasmcast.report.event_curve import draw_event_curve  # noqa: PLC0415 - imports matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "events.json", json.dumps(result.to_json(), indent=1))
    draw_event_curve(
        folder / "events.png",
        [point.on for point in result.curve],
        recall=[point.recall for point in result.curve],
        precision=[point.precision for point in result.curve],
        false_per_hour=[point.false_per_hour for point in result.curve],
    )
