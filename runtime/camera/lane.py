"""One camera's way through the runtime: its clock, its waiting segments, its ring of features, its decisions and counters."""

from __future__ import annotations

from collections import Counter

from gasmcast.errors import GasmcastError
from gasmcast.runtime.camera.backlog import Backlog, Mark
from gasmcast.runtime.camera.clock import Segment, SegmentClock
from gasmcast.runtime.camera.decisions import Decider
from gasmcast.runtime.camera.delivery import Delivery
from gasmcast.runtime.camera.latency import Latencies
from gasmcast.runtime.camera.preview import Pictures
from gasmcast.runtime.camera.ring import FeatureRing
from gasmcast.runtime.camera.still_filter import MotionGate
from gasmcast.runtime.context import House
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import CameraStats, Notice
from gasmcast.video.clip import fit_frame

__all__ = ["Lane"]

_SILENT = ("stalled", "reconnecting", "failed")  # states in which a camera gives nothing


class Lane:
    """A camera inside the runtime; the `FrameListener` that its source feeds."""

    def __init__(
        self,
        name: str,
        live: bool,
        house: House,
        decider: Decider,
        config: LiveConfig,
        gap_s: float,
    ) -> None:
        self.name = name
        self.live = live
        self.config = config
        self.decider = decider
        self.state = "connecting"
        self.ended = False  # the end has been decided: nothing more will come out
        self.error: GasmcastError | None = None
        self.pending = Backlog(config.pending, house.spec.segments, self.drop)
        self.ring = FeatureRing(house.spec.segments)
        self.gate = MotionGate()
        self.drops: Counter[str] = Counter()
        self.latencies = Latencies()
        self.paused = False  # it is another camera's turn: frames are not even sampled
        self.whole = (
            False  # whole windows are let in, and what comes while they are computed is skipped
        )
        self.segments = self.decisions = self.frames = 0
        self._house = house
        spec = house.spec
        self._clock = SegmentClock(
            spec,
            lambda image: fit_frame(image, spec.pixels, spec.fit),
            gap_s,
            live,
        )
        self._run = 0
        self._delivery = Delivery(
            name, spec, config.gap_s, lambda text: self.tell("under_delivery", text)
        )
        self._cut = False  # a file was stopped before its end
        self._away_since: float | None = None  # arrival of the first frame that its pause cost
        self._over = (
            False  # the end mark is in: what a reader that was given up still brings is thrown away
        )
        self.pictures = Pictures(name, live, house.views, spec.segment_s)

    # What the source's thread calls

    def on_frame(self, frame: Frame) -> None:
        """A frame has come; a file waits here while the runtime or a sink is busy."""
        while not (
            self.live or self._house.stopping or self._over or self._house.wait_for_room(self.name)
        ):
            pass
        self.frames += 1
        self._delivery.frame(frame.arrival)
        if self.paused:
            self._away_since = frame.arrival if self._away_since is None else self._away_since
            return
        if self._away_since is not None:
            self._count(
                "turn",
                by=max(1, round((frame.arrival - self._away_since) / self._house.spec.segment_s)),
            )
            self._away_since = None
            self._break("it was another camera's turn")
        disordered = self._clock.disordered
        for segment in self._clock.push(frame):
            self._delivery.segment(segment)
            self._offer(segment)
        if self._clock.disordered > disordered:
            self._count("disorder")
        self.pictures.take(self._clock.time_s, frame.image)

    def on_gap(self, reason: str) -> None:
        """No window may span this."""
        if self._break(reason):
            self._count("gap")
            self._delivery.gap(self._clock.run)

    def on_state(self, state: str, detail: str = "") -> None:
        """The source's state, for statistics and sinks."""
        self._cut = state == "ended" and detail == "stopped"
        if state not in (
            self.state,
            "ended",
        ):  # the end is told when all that came before it has been decided
            self.state = state
            if state == "live":
                self._delivery.again()
            self.tell(
                "state",
                f"{self.name} {'has' if state == 'failed' else 'is'} {state}{f' ({detail})' if detail else ''}.",
            )

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
        self._house.emit(
            Notice(self.name, round(self._clock.time_s, 6), self._house.wall(), what, text)
        )

    def drop(self, cause: str, segment: Segment) -> None:
        """Count a segment that is not computed (or its window, for `hop` and `hole`)."""
        self._count(cause, run=segment.run, index=segment.index)

    def stats(self) -> CameraStats:
        """Counters since the start, rates over the last window; a camera that gives nothing has none."""
        with self._house.changed:
            drops = dict(self.drops)
        silent = self.live and self.state in _SILENT
        fps, delivery = (0.0, 0.0) if silent else self._delivery.rates()
        return CameraStats(
            camera=self.name,
            state=self.state,
            frames=self.frames,
            segments=self.segments,
            decisions=self.decisions,
            drops={cause: count for cause, count in sorted(drops.items()) if count},
            fps=fps,
            delivery=delivery,
            latency_ms={} if silent else self.latencies.summary().get("total", {}),
        )

    def _count(self, cause: str, by: int = 1, **which: int) -> None:
        """What was lost, and `which` segment where it is a known one; into the recording too."""
        with self._house.changed:  # several threads count, and one reads
            self.drops[cause] += by
        if self._house.trace:
            self._house.trace(
                "drop", {"camera": self.name, "cause": cause, "segments": by, **which}
            )

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
                while not self.live and self.pending.full and not (house.stopping or self._over):
                    house.changed.wait(0.5)
                if house.stopping or self._over:
                    return
                if item.run != self._run:
                    self._run = item.run
                    self._append(Mark("gap", "its time stamps jump"))
                if self.live and not self.pending.let_in(item, self.whole):
                    return
            self._append(item)

    def _append(self, item: Segment | Mark) -> None:
        self.pending.add(item, self._house.clock())
        self._house.changed.notify_all()
