"""Events that go on, with their confidence and small pictures, until they end and are stored."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.records import Decision, Event, Record, Stats
from gasmcast.runtime.web.small_pictures import shrink

__all__ = ["PICTURE_PX", "FinishedEvent", "OpenEvents"]

PICTURE_PX = 320
"""Longer side of a picture."""
_PICTURE_EVERY_S = 0.5
_BEFORE = 6  # pictures before the first detection
_PICTURES = 24  # of one event
_CURVE = 1200  # points of one event
_Small = tuple[float, NDArray[np.uint8]]


@dataclass
class _Camera:
    """State of one camera in the store."""

    before: deque[_Small] = field(default_factory=lambda: deque(maxlen=_BEFORE))
    """Last small pictures."""
    during: list[_Small] = field(default_factory=list)
    """Pictures of the event that is open."""
    curve: list[tuple[float, float]] = field(default_factory=list)
    """Time and probability of the open event's label, of every `every`-th decision."""
    every: int = 1
    decisions: int = 0
    """Decisions since the start of the event."""
    label: str = ""
    """Label of the open event; empty between events."""

    def add(self, time_s: float, p: float) -> None:
        """Add a point to the curve; one of an event that lasts for days is thinned evenly."""
        self.decisions += 1
        if self.decisions % self.every:
            return
        self.curve.append((time_s, p))
        if len(self.curve) >= _CURVE:
            del self.curve[1::2]
            self.every *= 2


@dataclass(frozen=True)
class FinishedEvent:
    """An event that is to be written."""

    event: Event
    key: str
    curve: list[tuple[float, float]]
    pictures: list[_Small]


class OpenEvents:
    """Open events of all cameras, at most one of each.

    Args:
        finished: takes the events that end; must not block.
    """

    def __init__(self, finished: Callable[[FinishedEvent], None]) -> None:
        self._finished = finished
        self._cameras: dict[str, _Camera] = {}
        self._lock = threading.Lock()

    def write(self, record: Record, key: str = "") -> None:
        """Follow the events of a record's camera.

        Args:
            record: any record.
            key: of an event: unique across cameras and runs.
        """
        with self._lock:
            if isinstance(record, Stats):
                present = {camera.camera for camera in record.cameras}
                for name in [name for name in self._cameras if name not in present]:
                    del self._cameras[name]
                return

            camera = self._cameras.setdefault(record.camera, _Camera())
            if isinstance(record, Decision) and camera.label:
                camera.add(record.time_s, dict(record.top).get(camera.label, 0.0))
            elif isinstance(record, Event) and record.phase == "start":
                camera.label = record.label
                camera.curve = [(record.detected_s, record.p)]
                camera.every, camera.decisions = 1, 0
                camera.during = list(camera.before)
            elif isinstance(record, Event) and record.phase == "end":
                finished = FinishedEvent(record, key, camera.curve, camera.during)
                camera.label, camera.curve, camera.during = "", [], []
                self._finished(finished)

    def frame(self, camera: str, time_s: float, image: NDArray[np.uint8]) -> None:
        """Keep a small copy of a picture `(H, W, 3)`, twice a second at most."""
        with self._lock:
            known = self._cameras.setdefault(camera, _Camera())
            last_s = known.before[-1][0] if known.before else -1e9
            if 0 <= time_s - last_s < _PICTURE_EVERY_S:
                return
            small = (time_s, shrink(image, PICTURE_PX))
            known.before.append(small)
            if known.label and len(known.during) < _PICTURES:
                known.during.append(small)
