"""One camera's way through the runtime: its clock, its waiting segments, its ring of features, its decisions and counters."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gasmcast.errors import GasmcastError
from gasmcast.runtime.clip import fit_frame
from gasmcast.runtime.clock import Segment, SegmentClock
from gasmcast.runtime.config import LiveConfig
from gasmcast.runtime.decisions import Decider
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.gate import MotionGate
from gasmcast.runtime.pictures import Pictures
from gasmcast.runtime.records import CameraStats, Notice, Record, View
from gasmcast.runtime.ring import FeatureRing
from gasmcast.runtime.stats import Latencies
from gasmcast.spec import ClipSpec

__all__ = ["House", "Lane", "Mark", "Trace", "Waiting"]

_EMPTY_RUNS = 5  # gaps without a segment between them, after which it is said that nothing will come of this
_SILENT = ("stalled", "reconnecting", "failed")  # states in which a camera gives nothing


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
        self.paused = False  # it is another camera's turn: frames are not even sampled
        self.whole = False  # whole windows are let in, and what comes while they are computed is skipped
        self.segments = self.decisions = self.frames = 0
        self._house = house
        spec = house.spec
        self._clock = SegmentClock(spec, lambda image: fit_frame(image, spec.pixels, spec.fit), config.gap_s if live else 60.0, live)
        self._run = 0
        self._deliveries: deque[int] = deque(maxlen=spec.segments)
        self._arrivals: deque[float] = deque(maxlen=128)
        self._told_delivery = self._cut = False
        self._last_taken: tuple[int, float] | None = None
        self._away_since: float | None = None  # arrival of the first frame that its pause cost
        self._stretch = 0  # segments let in one after another (`whole`)
        self._skips = False  # nothing is let in until nothing waits (`whole`)
        self._over = False  # the end mark is in: what a reader that was given up still brings is thrown away
        self.pictures = Pictures(name, live, house.views, spec.segment_s)

    # What the source's thread calls

    def on_frame(self, frame: Frame) -> None:
        """A frame has come; a file waits here while the runtime is busy."""
        self.frames += 1
        self._arrivals.append(frame.arrival)
        if self.paused:
            self._away_since = frame.arrival if self._away_since is None else self._away_since
            return
        if self._away_since is not None:
            self._count("turn", max(1, round((frame.arrival - self._away_since) / self._house.spec.segment_s)))
            self._away_since = None
            self._break("it was another camera's turn")
        for segment in self._clock.push(frame):
            self._check_delivery(segment)
            self._offer(segment)
        self.pictures.take(self._clock.time_s, frame.image)

    def on_gap(self, reason: str) -> None:
        """No window may span this."""
        if self._break(reason):
            self._count("gap")
            empty = self._clock.run - (self._last_taken[0] if self._last_taken else 0)
            if empty >= _EMPTY_RUNS and not self._told_delivery:
                self._told_delivery = True
                why = f"its pictures are more than {self.config.gap_s:g} s apart, or it is lost again and again"
                self.tell("under_delivery", f"{self.name} filled no segment between its last {empty} gaps: {why}. Nothing is decided.")

    def on_state(self, state: str, detail: str = "") -> None:
        """The source's state, for statistics and sinks."""
        self._cut = state == "ended" and detail == "stopped"
        if state not in (self.state, "ended"):  # the end is told when all that came before it has been decided
            self.state = state
            if state == "live":
                self._arrivals.clear()  # rates begin anew after an outage
            self.tell("state", f"{self.name} {'has' if state == 'failed' else 'is'} {state}{f' ({detail})' if detail else ''}.")

    def on_end(self, error: GasmcastError | None) -> None:
        """No more frames: the rest of a file is filled up and decided, unless it was stopped before its end."""
        if not self.live and not self._cut:
            for segment in self._clock.finish():
                self._offer(segment)
        self._over = True
        self._offer(Mark("end", error=error))
        self._clock = self._clock.emptied()

    # What the stages call

    def finish(self, mark: Mark) -> None:
        """Its end has been reached, and what it held is given back; a process may go through any number of files."""
        if self._house.stopping:  # cut short: a view that hangs must not hold up the end
            self.pictures.drop()
        else:
            self.pictures.shown(float("inf"))
        self.ring.release()
        self.gate.forget()
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
        """Count a segment that is not computed (or its window, for `hop` and `hole`)."""
        self._count(cause)
        if self._house.trace:
            self._house.trace("drop", {"camera": self.name, "cause": cause, "run": segment.run, "index": segment.index})

    def stats(self) -> CameraStats:
        """Counters since the start, rates over the last window; a camera that gives nothing has none."""
        with self._house.changed:
            drops = {"disorder": self._clock.disordered, **self.drops}
        arrivals, deliveries = tuple(self._arrivals), tuple(self._deliveries)
        span = arrivals[-1] - arrivals[0] if arrivals else 0.0
        slots = len(deliveries) * self._house.spec.motion_frames
        silent = self.live and self.state in _SILENT
        return CameraStats(
            camera=self.name,
            state=self.state,
            frames=self.frames,
            segments=self.segments,
            decisions=self.decisions,
            drops={cause: count for cause, count in sorted(drops.items()) if count},
            fps=round((len(arrivals) - 1) / span, 2) if span > 0 and not silent else 0.0,
            delivery=round(sum(deliveries) / slots, 3) if slots and not silent else 0.0,
            latency_ms={} if silent else self.latencies.summary().get("total", {}),
        )

    def _count(self, cause: str, by: int = 1) -> None:
        with self._house.changed:  # several threads count, and one reads
            self.drops[cause] += by

    def _break(self, reason: str) -> bool:
        """No window may span this; False where nothing has come that one could hold."""
        if self._clock.empty:
            return False
        self._clock.gap()
        self._run = self._clock.run
        self._offer(Mark("gap", reason))
        return True

    def _offer(self, item: Segment | Mark) -> None:
        house = self._house
        with house.changed:
            if isinstance(item, Segment):
                while not self.live and self._waiting() >= self.config.pending and not (house.stopping or self._over):
                    house.changed.wait(0.5)
                if house.stopping or self._over:
                    return
                if item.run != self._run:
                    self._run = item.run
                    self._append(Mark("gap", "its time stamps jump"))
                if self.live and not self._let_in(item):
                    return
            self._append(item)

    def _append(self, item: Segment | Mark) -> None:
        if isinstance(item, Mark):
            self._stretch = 0
        self.pending.append(Waiting(item, self._house.clock()))
        self._house.changed.notify_all()

    def _waiting(self) -> int:
        return sum(isinstance(w.item, Segment) for w in self.pending)

    def _let_in(self, segment: Segment) -> bool:
        """Newest wins: the oldest waiting segment goes, and is counted.

        With `whole` it is the other way round, for a machine that never keeps up: a window's segments wait until they are computed, and
        what comes meanwhile is skipped, until nothing waits. So a window is always decided, and no older than its segments take.
        """
        room, window = self.config.pending, self._house.spec.segments
        if not self.whole:
            self._stretch, self._skips = 0, False
            while self._waiting() >= room:
                oldest = next(w for w in self.pending if isinstance(w.item, Segment))
                self.pending.remove(oldest)
                assert isinstance(oldest.item, Segment)
                self.drop("late", oldest.item)
            return True
        waiting = self._waiting()
        if self._skips and not waiting:
            self._skips, self._stretch = False, 0
        self._skips = self._skips or waiting >= (room if self._stretch >= window else max(room, window))
        if self._skips:
            self.drop("skip", segment)
            return False
        self._stretch += 1
        return True

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
