"""One camera's way through the runtime: its clock, its waiting segments, its ring of features, its decisions and counters."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import GasmcastError
from gasmcast.runtime.clock import Segment, SegmentClock
from gasmcast.runtime.config import LiveConfig
from gasmcast.runtime.decisions import Decider
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.gate import MotionGate
from gasmcast.runtime.records import CameraStats, Notice, Record, View
from gasmcast.runtime.ring import FeatureRing
from gasmcast.runtime.stats import Latencies
from gasmcast.runtime.video import fit_frame
from gasmcast.spec import ClipSpec

__all__ = ["House", "Lane", "Mark", "Trace", "Waiting"]

_VIEW_PIXELS = 1280  # the longer side of what views get of a file: frames wait for their decision in memory


@dataclass(frozen=True)
class Mark:
    """A break in a lane that travels with its segments, so that it takes effect after all that came before."""

    what: Literal["gap", "end"]
    text: str = ""
    error: GasmcastError | None = None


Trace = Callable[[str, dict[str, Any]], None]
"""Takes what a recording needs: a kind (`segment`, `window`, `mark`, `drop`) and plain fields."""


@dataclass(frozen=True)
class Waiting:
    """A segment or mark and when it was offered, monotonic seconds."""

    item: Segment | Mark
    offered: float


@dataclass
class House:
    """What all lanes share."""

    spec: ClipSpec
    config: LiveConfig
    clock: Callable[[], float]
    wall: Callable[[], float]
    emit: Callable[[Record], None]
    views: Sequence[View] = ()
    trace: Trace | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)
    stopping: bool = False


class Lane:
    """A camera inside the runtime; the `FrameListener` that its source feeds."""

    def __init__(self, name: str, live: bool, house: House, decider: Decider, config: LiveConfig) -> None:
        self.name = name
        self.live = live
        self.config = config
        self.decider = decider
        self.state = "connecting"
        self.ended = False  # the end has been decided: nothing more will come out
        self.error: GasmcastError | None = None
        self.pending: deque[Waiting] = deque()
        self.ring = FeatureRing(house.spec.segments)
        self.gate = MotionGate()
        self.drops: Counter[str] = Counter()
        self.latencies = Latencies()
        self.paused_at: float | None = None  # when its turn ended (round-robin)
        self.segments = self.decisions = self.frames = 0
        self._house = house
        spec = house.spec
        self._clock = SegmentClock(spec, lambda image: fit_frame(image, spec.pixels, spec.fit), config.gap_s if live else 60.0, live)
        self._run = 0
        self._deliveries: deque[int] = deque(maxlen=spec.segments)
        self._arrivals: deque[float] = deque(maxlen=128)
        self._told_delivery = self._cut = False
        self._last_taken: tuple[int, float] | None = None
        self._held: deque[tuple[float, NDArray[np.uint8]]] = deque()
        self._shown_until = spec.segment_s
        self._view_lock = threading.Lock()

    # What the source's thread calls

    def on_frame(self, frame: Frame) -> None:
        """A frame has come; a file waits here while the runtime is busy."""
        self.frames += 1
        self._arrivals.append(frame.arrival)
        if self.paused_at is not None:
            return
        for segment in self._clock.push(frame):
            self._check_delivery(segment)
            self._offer(segment)
        if self._house.views:
            self._view(frame.image)

    def on_gap(self, reason: str) -> None:
        """No window may span this."""
        if not self._clock.empty:
            self.drops["gap"] += 1
            self._clock.gap()
            self._run = self._clock.run
            self._offer(Mark("gap", reason))

    def on_state(self, state: str, detail: str = "") -> None:
        """The source's state, for statistics and sinks."""
        self._cut = state == "ended" and detail == "stopped"
        if state not in (self.state, "ended"):  # the end is told when all that came before it has been decided
            self.state = state
            self.tell("state", f"{self.name} {'has' if state == 'failed' else 'is'} {state}{f' ({detail})' if detail else ''}.")

    def on_end(self, error: GasmcastError | None) -> None:
        """No more frames: the rest of a file is filled up and decided, unless it was stopped before its end."""
        if not self.live and not self._cut:
            for segment in self._clock.finish():
                self._offer(segment)
        self._offer(Mark("end", error=error))

    # What the stages call

    def finish(self, mark: Mark) -> None:
        """Its end has been reached in order."""
        self.shown(float("inf"))
        self.error = mark.error
        self.state = "failed" if mark.error else "ended"
        if mark.error is None:
            self.tell("state", f"{self.name} has ended.")
        with self._house.changed:
            self.ended = True
            self._house.changed.notify_all()

    def tell(self, what: str, text: str) -> None:
        """Send a notice to the sinks."""
        self._house.emit(Notice(self.name, round(self._clock.time_s, 6), self._house.wall(), what, text))

    def drop(self, cause: str, segment: Segment) -> None:
        """Count a segment that is not computed (or a window, for `hop`)."""
        self.drops[cause] += 1
        if self._house.trace:
            self._house.trace("drop", {"camera": self.name, "cause": cause, "run": segment.run, "index": segment.index})

    def pause(self, now: float) -> None:
        """Its turn is over: frames are not even sampled until `resume`."""
        if self.paused_at is None:
            self.paused_at = now

    def resume(self, now: float) -> None:
        """Its turn begins, with a new run; the segments that it missed are counted."""
        if self.paused_at is not None:
            self.drops["turn"] += max(1, round((now - self.paused_at) / self._house.spec.segment_s))
            self.paused_at = None
            if not self._clock.empty:
                self._clock.gap()
                self._run = self._clock.run
                self._offer(Mark("gap", "it was another camera's turn"))

    def shown(self, until_s: float) -> None:
        """All decisions up to `until_s` are told: views get the frames that waited for them."""
        with self._view_lock:
            self._shown_until = until_s
            self._release()

    def stats(self) -> CameraStats:
        """Counters since the start, rates over the last window."""
        drops = self.drops + Counter({"disorder": self._clock.disordered})
        slots = len(self._deliveries) * self._house.spec.motion_frames
        span = self._arrivals[-1] - self._arrivals[0] if len(self._arrivals) > 1 else 0.0
        return CameraStats(
            camera=self.name,
            state=self.state,
            frames=self.frames,
            segments=self.segments,
            decisions=self.decisions,
            drops={cause: count for cause, count in sorted(drops.items()) if count},
            fps=round((len(self._arrivals) - 1) / span, 2) if span > 0 else 0.0,
            delivery=round(sum(self._deliveries) / slots, 3) if slots else 0.0,
            latency_ms=self.latencies.summary().get("total", {}),
        )

    def _offer(self, item: Segment | Mark) -> None:
        house = self._house
        with house.changed:
            if isinstance(item, Segment):
                if self.live:
                    self._make_room()
                else:
                    while self._waiting() >= self.config.pending and not house.stopping:
                        house.changed.wait(0.5)
                if house.stopping:
                    return
                if item.run != self._run:
                    self._run = item.run
                    self.pending.append(Waiting(Mark("gap", "its time stamps jump"), house.clock()))
            self.pending.append(Waiting(item, house.clock()))
            house.changed.notify_all()

    def _waiting(self) -> int:
        return sum(isinstance(w.item, Segment) for w in self.pending)

    def _make_room(self) -> None:
        """Newest wins: the oldest waiting segment goes, and is counted."""
        while self._waiting() >= self.config.pending:
            oldest = next(w for w in self.pending if isinstance(w.item, Segment))
            self.pending.remove(oldest)
            assert isinstance(oldest.item, Segment)
            self.drop("late", oldest.item)

    def _check_delivery(self, segment: Segment) -> None:
        spec = self._house.spec
        again = self._last_taken == (segment.run, segment.stamps[0])  # the frame that filled the segment before
        self._deliveries.append(segment.distinct - again)
        self._last_taken = (segment.run, segment.stamps[-1])
        if self._told_delivery or len(self._deliveries) < min(2, spec.segments):
            return
        share = sum(self._deliveries) / (len(self._deliveries) * spec.motion_frames)
        if share < 0.8:
            self._told_delivery = True
            gives = share * spec.fps
            self.tell(
                "under_delivery",
                f"{self.name} gives {gives:.1f} of the {spec.fps:g} frames a second that the model was trained on: frames are repeated, "
                "fast actions may be missed.",
            )

    def _view(self, image: NDArray[np.uint8]) -> None:
        time_s = self._clock.time_s
        if self.live:
            for view in self._house.views:
                view.frame(self.name, time_s, image)
            return
        longer = max(image.shape[:2])
        if longer > _VIEW_PIXELS:
            share = _VIEW_PIXELS / longer
            image = np.asarray(cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), np.uint8)
        with self._view_lock:
            self._held.append((time_s, image))
            self._release()

    def _release(self) -> None:
        while self._held and self._held[0][0] < self._shown_until:
            time_s, image = self._held.popleft()
            for view in self._house.views:
                view.frame(self.name, time_s, image)
