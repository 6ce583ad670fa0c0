"""Scores of events against annotated actions in long videos.

Segments are matched as in ActivityNet's evaluation (F. C. Heilbron et al., CVPR 2015;
`eval_detection.py` of its repository): the detections of a class in order of their score, each
takes the free action of the same video and class with which it has the largest temporal IoU, if
that reaches the threshold. The average precision is interpolated there, and not in THUMOS14's
evaluation (`TH14eventdetpr.m`). Starts are matched by their distance in seconds (point-level AP:
Z. Shou et al., "Online Detection of Action Start", ECCV 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.alarms.hits import Action
from gasmcast.runtime.records import Event

__all__ = [
    "ACTIVITYNET_IOUS",
    "THUMOS_IOUS",
    "Detection",
    "EventFigures",
    "average_precision",
    "detections_of",
    "event_figures",
    "mean_ap",
    "overlap",
    "point_map",
]

THUMOS_IOUS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
ACTIVITYNET_IOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))

_Similarity = Callable[["Detection", Action], float]


@dataclass(frozen=True)
class Detection:
    """Event of a video as a segment with a score."""

    camera: str
    start_s: float
    end_s: float
    label: str
    score: float
    reported_s: float
    """End of the window at which the start was reported."""


@dataclass(frozen=True)
class EventFigures:
    """Counts and shares of events at one temporal IoU."""

    iou: float
    events: int
    actions: int
    matched: int

    @property
    def precision(self) -> float:
        """Share of events that match an action; 0 without events."""
        return self.matched / self.events if self.events else 0.0

    @property
    def recall(self) -> float:
        """Share of actions that an event matches; 0 without actions."""
        return self.matched / self.actions if self.actions else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.events + self.actions
        return 2 * self.matched / total if total else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        shares = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {**asdict(self), **shares}


def detections_of(events: Sequence[Event], hop_s: float) -> list[Detection]:
    """Return one detection per event, from its estimated onset for as long as it lasted.

    Args:
        events: records of a replay or a run.
        hop_s: seconds between decisions; the least length of an event.
    """
    reported = {}
    detections = []
    for event in events:
        key = (event.camera, event.number)
        if event.phase == "start":
            reported[key] = event.time_s
        elif event.phase == "end":
            # A replay of several videos numbers each camera's events; the last end wins.
            detections.append(
                Detection(
                    camera=event.camera,
                    start_s=event.onset_s,
                    end_s=event.onset_s + max(event.duration_s, hop_s),
                    label=event.label,
                    score=event.p,
                    reported_s=reported.pop(key),
                )
            )
    return detections


def overlap(detection: Detection, action: Action) -> float:
    """Return the temporal intersection over union of an event and an action."""
    shared = min(detection.end_s, action.end_s) - max(detection.start_s, action.start_s)
    union = max(detection.end_s, action.end_s) - min(detection.start_s, action.start_s)
    return max(shared, 0.0) / union if union > 0 else 0.0


def matches(
    detections: Sequence[Detection],
    actions: Sequence[Action],
    least: float,
    similarity: _Similarity = overlap,
) -> list[tuple[Detection, Action | None]]:
    """Return each detection, best score first, with the action that it takes.

    Args:
        detections: events.
        actions: annotated actions; each is taken once.
        least: similarity that a match needs.
        similarity: temporal IoU, or another measure that grows with agreement.
    """
    free = list(actions)
    pairs: list[tuple[Detection, Action | None]] = []
    # Stable: equal scores keep their order of time, so figures do not depend on chance.
    for detection in sorted(detections, key=lambda d: -d.score):
        best: Action | None = None
        for action in free:
            if (action.camera, action.label) != (detection.camera, detection.label):
                continue
            value = similarity(detection, action)
            if value >= least and (best is None or value > similarity(detection, best)):
                best = action
        if best is not None:
            free.remove(best)
        pairs.append((detection, best))
    return pairs


def event_figures(
    detections: Sequence[Detection], actions: Sequence[Action], iou: float
) -> EventFigures:
    """Return the counts of matched events at a temporal IoU."""
    matched = sum(action is not None for _, action in matches(detections, actions, iou))
    return EventFigures(iou, len(detections), len(actions), matched)


def average_precision(
    hits: Sequence[bool] | NDArray[np.bool_], positives: int, *, interpolated: bool
) -> float:
    """Return the average precision of ranked detections.

    Args:
        hits: whether each detection is right, best score first.
        positives: number of annotated actions.
        interpolated: replace each precision by the largest at that recall or beyond, as
            ActivityNet and PASCAL VOC do; THUMOS14 takes the precision as it is.
    """
    right = np.asarray(hits, bool)
    if not positives or not right.any():
        return 0.0
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    if interpolated:
        precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(precision[right].sum() / positives)


def mean_ap(
    detections: Sequence[Detection],
    actions: Sequence[Action],
    least: float,
    *,
    interpolated: bool,
    similarity: _Similarity = overlap,
) -> float:
    """Return the mean of the average precisions of all annotated classes."""
    scores = []
    for label in sorted({action.label for action in actions}):
        wanted = [action for action in actions if action.label == label]
        given = [detection for detection in detections if detection.label == label]
        hits = [action is not None for _, action in matches(given, wanted, least, similarity)]
        scores.append(average_precision(hits, len(wanted), interpolated=interpolated))
    return float(np.mean(scores)) if scores else 0.0


def point_map(detections: Sequence[Detection], actions: Sequence[Action], offset_s: float) -> float:
    """Return the mean AP of starts: an estimated onset within `offset_s` of the true start."""
    return mean_ap(detections, actions, -offset_s, interpolated=False, similarity=_nearness)


def _nearness(detection: Detection, action: Action) -> float:
    return -abs(detection.start_s - action.start_s)
