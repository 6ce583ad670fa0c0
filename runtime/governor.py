"""Service levels: reduce service in a declared order instead of letting latency grow.

Levels, each on top of the one before:

0. full service;
1. half as many decisions (hop x2), which spares the head;
2. the still-scene filter, so still scenes are not encoded again;
3. round-robin: cameras take turns of whole windows, because a camera that loses single segments
   would never fill a window;
4. whole windows: a camera that is slower than real time even alone fills a window, has it decided,
   and continues with the present.

A single camera has no level 3. Files are never degraded: they wait. Every change is reported. The
level rises at once, and falls after a calm period that doubles on a relapse.

Only what the machine adds counts: the time from the frame that completes a segment to its decision,
and segments that were lost while the engines were busy. A camera that delivers one frame a second
waits for its own next frame, and a network that delivers a burst overruns the backlog of an idle
machine; reduced service would help neither of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gasmcast.runtime.camera.lane import Lane
from gasmcast.runtime.camera.latency import percentiles
from gasmcast.runtime.capacity import Capacity
from gasmcast.runtime.engine_load import EngineLoad
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.spec import ClipSpec

__all__ = ["Governor"]

_LEVELS = (
    "full service",
    "a decision every second hop",
    "still scenes are not encoded again",
    "cameras take turns",
    "whole windows are decided and what comes meanwhile is skipped",
)
# Threshold of the still-scene filter at level 2, if the settings have none.
_STILL_GRAY_LEVELS = 6.0
_CALM_S, _MAX_CALM_S = 10.0, 600.0
# Share of the time in which an engine computes, below which no level is raised: engines that are
# idle for a fifth of the time are not what makes decisions late, and every level spares them alone.
_IDLE_LOAD = 0.8


class _LaneCounts(NamedTuple):
    """Counters of a lane at one check."""

    late: int
    """Segments lost as `late` or `skip`, without those that a burst of the network overran."""
    decisions: int


class _Turns(NamedTuple):
    """Numbers of cameras that take turns; zeros while all are served."""

    served: int
    cameras: int


class Governor:
    """Set the service level from latency and losses.

    Args:
        spec: the clip spec.
        config: its `budget_s`, `max_cameras`, `degrade`, `hop` and `still_filter` are used.
        notify: takes what happened (`degrade`, `recover` or `turns`) and a sentence.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        spec: ClipSpec,
        config: LiveConfig,
        notify: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.level = 0
        self.capacity: Capacity | None = None
        self.load = EngineLoad(clock)
        """How busy the engines are; the stages report to it."""
        self._spec = spec
        self._config = config
        self._notify = notify
        self._budget_s = config.budget_s or spec.segment_s

        # Time of the next check of the level, and the calm period that a recovery needs.
        self._every_s = max(2.0, 4 * spec.segment_s)
        self._next: float | None = None
        self._last_tick = -math.inf
        self._calm_since = 0.0
        self._calm_s = _CALM_S
        self._recovered_at = -math.inf
        self._counts: dict[Lane, _LaneCounts] = {}
        self._resumed = False

        # Round-robin: the first camera that is served, and until when.
        self._turn_from = 0
        self._turn_until = -math.inf
        self._reported_turns = _Turns(0, 0)

    def hop(self, config: LiveConfig) -> int:
        """Return the current number of segments between decisions of a live camera."""
        return config.hop * (2 if self.level >= 1 else 1)

    def still_threshold(self, config: LiveConfig) -> float:
        """Return the current threshold of a live camera's still-scene filter, in gray levels."""
        return config.still_filter or (_STILL_GRAY_LEVELS if self.level >= 2 else 0.0)

    def tick(self, now: float, lanes: Sequence[Lane]) -> None:
        """Check losses and latency, change the level by at most one step, and pass on the turn.

        Args:
            now: monotonic seconds.
            lanes: all lanes; those that are not live are ignored.
        """
        live = [lane for lane in lanes if lane.live and not lane.ended]
        # A camera without frames would waste its turn. When it returns it is served until the next
        # check.
        active = [lane for lane in live if lane.state in ("live", "stalled")]
        self._take_turns(now, active)
        for lane in live:
            lane.whole_windows = self.level >= 4
            if lane not in active:
                lane.paused = False

        # A process that was stopped (Ctrl-Z, a frozen container) finds old segments in its
        # backlogs. They say nothing about its speed, so the interval that decides them is ignored.
        paused = now - self._last_tick > 2 * self._every_s
        self._last_tick = now

        # Turns are passed on at every call, the level is checked every few segments only.
        if self._next is None:
            self._next, self._calm_since = now + self._every_s, now
        elif paused:
            self._next, self._resumed = now + self._every_s, True
        if now < self._next or not self._config.degrade:
            return
        self._next = now + self._every_s
        if self._resumed:
            self._resumed = False
            self._changes(live)
            self.load.share()
            return
        self._update_level(now, live, len(active))

    def _update_level(self, now: float, live: Sequence[Lane], cameras: int) -> None:
        late, latency_s = self._changes(live)
        idle = self.load.share() < _IDLE_LOAD

        # Losses count before latency: newest wins, so a late camera may have a good latency.
        if (late or latency_s > self._budget_s) and not idle:
            self._calm_since = now
            latency = f"latency {1000 * latency_s:.0f} of {1000 * self._budget_s:.0f} ms"
            self._degrade(now, f"{late} segments came too late" if late else latency, cameras)
        elif self.level and now - self._calm_since >= self._calm_s:
            self.level = max(level for level in _levels(cameras) if level < self.level)
            self._calm_since = self._recovered_at = now
            self._notify(
                "recover",
                f"Calm for {self._calm_s:.0f} s: {_LEVELS[self.level]} again (level {self.level}).",
            )

    def _changes(self, live: Sequence[Lane]) -> tuple[int, float]:
        """Return what changed since the last check.

        Returns:
            The segments lost, and the p95 of the latency that the machine added, in seconds.
        """
        late = 0
        values_ms: list[float] = []
        # A new dict, so that lanes that were removed are forgotten.
        before, self._counts = self._counts, {}
        for lane in live:
            last = before.get(lane, _LaneCounts(0, 0))
            lost = lane.drops["late"] - lane.bursts + lane.drops["skip"]
            counts = _LaneCounts(lost, lane.decisions)
            self._counts[lane] = counts

            late += counts.late - last.late
            decided = counts.decisions - last.decisions
            if decided > 0:
                values_ms += lane.latencies.recent("machine", decided)

        return late, percentiles(values_ms)["p95"] / 1000.0 if values_ms else 0.0

    def _degrade(self, now: float, why: str, cameras: int) -> None:
        """Go to the next level, if there is one."""
        further = [level for level in _levels(cameras) if level > self.level]
        if not further:
            return

        # A relapse soon after a recovery: wait longer before the next one.
        if now - self._recovered_at < 2 * self._calm_s:
            self._calm_s = min(2 * self._calm_s, _MAX_CALM_S)

        self.level = further[0]
        self._notify("degrade", f"Too slow ({why}): {_LEVELS[self.level]} (level {self.level}).")

    def _served(self, cameras: int) -> int:
        """Return how many cameras are served at once."""
        limit = cameras
        hop = self.hop(self._config)
        if self._config.max_cameras == "auto" and self.capacity:
            limit = self.capacity.cameras(self._spec, hop)
        elif isinstance(self._config.max_cameras, int):
            limit = self._config.max_cameras

        # Round-robin means that at least one camera waits.
        if self.level >= 3:
            half = max(1, cameras // 2)
            able = self.capacity.cameras(self._spec, hop) if self.capacity else half
            limit = min(limit, able, max(1, cameras - 1))
        return limit

    def _take_turns(self, now: float, cameras: Sequence[Lane]) -> None:
        """Pause the cameras whose turn it is not."""
        count = len(cameras)
        served = self._served(count)
        self._report_turns(served, count)

        if served >= count:
            for lane in cameras:
                lane.paused = False
            self._turn_until = -math.inf
            return

        # A camera needs one window to fill its ring before its first decision, so it gets two.
        if now >= self._turn_until:
            first = not math.isfinite(self._turn_until)
            self._turn_from = 0 if first else (self._turn_from + served) % count
            self._turn_until = now + 2 * self._window_s()

        chosen = {(self._turn_from + i) % count for i in range(served)}
        for index, lane in enumerate(cameras):
            lane.paused = index not in chosen

    def _report_turns(self, served: int, cameras: int) -> None:
        """Report once when turns start, when their numbers change, and when they end."""
        turns = _Turns(served, cameras) if served < cameras else _Turns(0, 0)
        if turns == self._reported_turns:
            return

        self._reported_turns = turns
        if served < cameras:
            text = f"{served} of {cameras} cameras are served at once, in turns."
        else:
            text = "All cameras are served."
        self._notify("turns", text)

    def _window_s(self) -> float:
        """Return the seconds that a window takes on this machine, at least its own duration."""
        encode_s = self.capacity.encode_s if self.capacity else 0.0
        return self._spec.segments * max(self._spec.segment_s, encode_s)


def _levels(cameras: int) -> tuple[int, ...]:
    """Return the levels that make sense for a number of cameras; a single one takes no turns."""
    return (0, 1, 2, 3, 4) if cameras > 1 else (0, 1, 2, 4)
