"""What gives way, and when: service in a declared order instead of latency that grows in silence.

Levels: 0 full service; 1 decisions half as often (hop x2: the head is spared); 2 the motion gate as well (still scenes are not encoded);
3 round-robin as well (cameras take turns of whole windows: a camera that loses single segments would never fill a window);
4 whole windows as well (a camera that is slower than real time even alone fills a window, has it decided, and goes on with now).
One camera has no level 3.
Files are never degraded: they wait. Each step is told, upwards at once, downwards after a time of calm that doubles on a relapse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gasmcast.runtime.camera.lane import Lane
from gasmcast.runtime.camera.latency import percentiles
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.spec import ClipSpec

__all__ = ["LEVELS", "Capacity", "Governor"]

LEVELS = (
    "full service",
    "a decision every second hop",
    "still scenes are not encoded again",
    "cameras take turns",
    "whole windows are decided and what comes meanwhile is skipped",
)
_GATE_GRAY = 6.0  # the gate's threshold at level 2, where the settings give none
_CALM_S, _LONGEST_CALM_S = 10.0, 600.0
_LOAD = 0.85  # share of the time that may be planned for


@dataclass(frozen=True)
class Capacity:
    """What one segment costs on this machine, measured."""

    encode_s: float
    fuse_s: float

    def cameras(self, spec: ClipSpec, hop: int = 1) -> int:
        """How many cameras can have a decision every `hop` segments; at least 1."""
        return max(1, math.floor(_LOAD * spec.segment_s / (self.encode_s + self.fuse_s / hop)))

    def patience_s(self, batch: int) -> float:
        """How long a stage may compute before it counts as hanging: five times what so many segments took one by one and alone."""
        return 5 * batch * max(self.encode_s, self.fuse_s)

    def sentence(self, spec: ClipSpec, hop: int = 1) -> str:
        """What the machine can serve."""
        every = spec.segment_s * hop
        count = self.cameras(spec, hop)
        real = self.encode_s + self.fuse_s / hop <= spec.segment_s
        cost = f"encoder {1000 * self.encode_s:.0f} ms a segment, head {1000 * self.fuse_s:.0f} ms a window"
        if not real:
            return f"This machine is too slow for one camera with a decision every {every:g} s ({cost})."
        return f"This machine serves {count} camera{'s' if count > 1 else ''} with a decision every {every:g} s ({cost})."


class Governor:
    """Watches latency and losses, and sets the level.

    Args:
        spec: the clip spec.
        config: `budget_s`, `max_cameras`, `degrade`, `hop`, `motion_gate`.
        tell: takes what happened (`degrade`, `recover` or `turns`) and a sentence.
    """

    def __init__(
        self, spec: ClipSpec, config: LiveConfig, tell: Callable[[str, str], None]
    ) -> None:
        self.level = 0
        self.capacity: Capacity | None = None
        self._spec = spec
        self._config = config
        self._tell = tell
        self._budget_s = config.budget_s or spec.segment_s
        self._every_s = max(2.0, 4 * spec.segment_s)
        self._next: float | None = None
        self._calm_since = 0.0
        self._calm_s = _CALM_S
        self._recovered_at = -math.inf
        self._seen: dict[
            Lane, tuple[int, int]
        ] = {}  # per lane: segments lost and decisions at the last look
        self._turn_from = 0
        self._turn_until = -math.inf
        self._told_turns = (0, 0)  # served at once, of how many; nothing while all are

    def hop(self, config: LiveConfig) -> int:
        """Segments between decisions of a live camera with these settings, now."""
        return config.hop * (2 if self.level >= 1 else 1)

    def gate(self, config: LiveConfig) -> float:
        """The motion gate's threshold for a live camera with these settings, now."""
        return config.motion_gate or (_GATE_GRAY if self.level >= 2 else 0.0)

    def tick(self, now: float, lanes: Sequence[Lane]) -> None:
        """Look at what happened since the last look, change the level by at most one, and pass on the turn.

        Args:
            now: monotonic seconds.
            lanes: all lanes; those that are not live are left alone.
        """
        live = [lane for lane in lanes if lane.live and not lane.ended]
        # One that gives nothing would let its turn pass; when it comes back it is served until the next look.
        there = [lane for lane in live if lane.state in ("live", "stalled")]
        self._take_turns(now, there)
        for lane in live:
            lane.whole = self.level >= 4
            if lane not in there:
                lane.paused = False
        if self._next is None:
            self._next, self._calm_since = now + self._every_s, now
        if now < self._next or not self._config.degrade:
            return
        self._next = now + self._every_s
        late, latency_s = self._look(live)
        if late or latency_s > self._budget_s:
            self._calm_since = now
            why = (
                f"{late} segments came too late"
                if late
                else f"latency {1000 * latency_s:.0f} of {1000 * self._budget_s:.0f} ms"
            )
            self._down(now, why, len(there))
        elif self.level and now - self._calm_since >= self._calm_s:
            self.level = max(level for level in _levels(len(there)) if level < self.level)
            self._calm_since = self._recovered_at = now
            self._tell(
                "recover",
                f"Calm for {self._calm_s:.0f} s: {LEVELS[self.level]} again (level {self.level}).",
            )

    def _look(self, live: Sequence[Lane]) -> tuple[int, float]:
        """Segments that were lost as late or skipped, and p95 latency in seconds, since the last look."""
        late, values = 0, []
        before, self._seen = self._seen, {}  # lanes that are gone are forgotten
        for lane in live:
            seen_late, seen_decisions = before.get(lane, (0, 0))
            now_late, now_decisions = lane.drops["late"] + lane.drops["skip"], lane.decisions
            self._seen[lane] = (now_late, now_decisions)
            late += now_late - seen_late
            values += (
                lane.latencies.recent("total", now_decisions - seen_decisions)
                if now_decisions > seen_decisions
                else []
            )
        return late, percentiles(values)["p95"] / 1000.0 if values else 0.0

    def _down(self, now: float, why: str, cameras: int) -> None:
        below = [level for level in _levels(cameras) if level > self.level]
        if not below:
            return
        if now - self._recovered_at < 2 * self._calm_s:
            self._calm_s = min(2 * self._calm_s, _LONGEST_CALM_S)
        self.level = below[0]
        self._tell("degrade", f"Too slow ({why}): {LEVELS[self.level]} (level {self.level}).")

    def _served(self, cameras: int) -> int:
        """How many cameras are served at once."""
        limit = cameras
        if self._config.max_cameras == "auto" and self.capacity:
            limit = self.capacity.cameras(self._spec, self.hop(self._config))
        elif isinstance(self._config.max_cameras, int):
            limit = self._config.max_cameras
        if self.level >= 3:
            limit = min(
                limit,
                self.capacity.cameras(self._spec, self.hop(self._config))
                if self.capacity
                else max(1, cameras // 2),
            )
            limit = min(limit, max(1, cameras - 1))
        return limit

    def _take_turns(self, now: float, live: Sequence[Lane]) -> None:
        served = self._served(len(live))
        self._tell_turns(served, len(live))
        if served >= len(live):
            for lane in live:
                lane.paused = False
            self._turn_until = -math.inf
            return
        if now >= self._turn_until:
            self._turn_from = (
                (self._turn_from + served) % len(live) if math.isfinite(self._turn_until) else 0
            )
            self._turn_until = now + 2 * self._window_s()
        chosen = {(self._turn_from + i) % len(live) for i in range(served)}
        for place, lane in enumerate(live):
            lane.paused = place not in chosen

    def _tell_turns(self, served: int, cameras: int) -> None:
        """Say it once when cameras begin to take turns, when their numbers change, and when they no longer do."""
        now = (served, cameras) if served < cameras else (0, 0)
        if now == self._told_turns:
            return
        self._told_turns = now
        self._tell(
            "turns",
            f"{served} of {cameras} cameras are served at once, in turns."
            if served < cameras
            else "All cameras are served.",
        )

    def _window_s(self) -> float:
        """Seconds that a window takes: its own, or what this machine needs for it where that is more."""
        encode_s = self.capacity.encode_s if self.capacity else 0.0
        return self._spec.segments * max(self._spec.segment_s, encode_s)


def _levels(cameras: int) -> tuple[int, ...]:
    """The levels that mean something for so many cameras: one has nobody to take turns with."""
    return (0, 1, 2, 3, 4) if cameras > 1 else (0, 1, 2, 4)
