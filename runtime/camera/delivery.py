"""Frame rate and completeness of a source; warns once if it delivers less than the model needs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from gasmcast.runtime.camera.clock import Segment
from gasmcast.spec import ClipSpec

__all__ = ["Delivery", "DeliveryRates"]

# Gaps in a row without a complete segment after which the source is reported as useless.
_MAX_EMPTY_RUNS = 5
# Share of the grid's frames below which the source is reported as too slow.
_MIN_SHARE = 0.8


class DeliveryRates(NamedTuple):
    """Rates of a source."""

    fps: float
    """Incoming frames per second, over the last 128."""
    share: float
    """Distinct frames per slot of the time grid, over the last window."""


class Delivery:
    """Statistics over the last frames and segments of one source.

    Args:
        name: name of the source.
        spec: sampling that the model was trained on.
        gap_s: seconds without a frame that count as a gap.
        warn: takes the sentence about a source that delivers too little; called once at most.
    """

    def __init__(
        self, name: str, spec: ClipSpec, gap_s: float, warn: Callable[[str], None]
    ) -> None:
        self._name = name
        self._spec = spec
        self._gap_s = gap_s
        self._warn = warn
        self._arrivals: deque[float] = deque(maxlen=128)
        # Distinct frames of each of the last segments.
        self._distinct: deque[int] = deque(maxlen=spec.segments)
        # Run and last time stamp of the newest segment.
        self._last: tuple[int, float] | None = None
        self._warned = False

    def add_frame(self, arrival: float) -> None:
        """Count a frame that arrived at `arrival` monotonic seconds."""
        self._arrivals.append(arrival)

    def restart(self) -> None:
        """Restart the frame rate after an outage, which must not be averaged in."""
        self._arrivals.clear()

    def add_segment(self, segment: Segment) -> None:
        """Count the distinct frames of a complete segment; warn if there are too few."""
        # A frame that also filled the end of the previous segment was counted there.
        shared = self._last == (segment.run, segment.stamps[0])
        self._distinct.append(segment.distinct - shared)
        self._last = (segment.run, segment.stamps[-1])

        # One segment alone is too little evidence.
        if self._warned or len(self._distinct) < min(2, self._spec.segments):
            return

        share = self._share()
        if share < _MIN_SHARE:
            self._warned = True
            self._warn(
                f"{self._name} gives {share * self._spec.fps:.1f} of the {self._spec.fps:g} frames "
                "a second that the model was trained on: frames are repeated, fast actions may be "
                "missed."
            )

    def add_gap(self, run: int) -> None:
        """Count a gap; warn if no segment was complete between several of them.

        Args:
            run: the run that starts after the gap.
        """
        empty = run - (self._last[0] if self._last else 0)
        if empty >= _MAX_EMPTY_RUNS and not self._warned:
            self._warned = True
            why = f"its frames are more than {self._gap_s:g} s apart, or it is lost repeatedly"
            self._warn(
                f"{self._name} filled no segment between its last {empty} gaps: {why}. "
                "Nothing is decided."
            )

    def rates(self) -> DeliveryRates:
        """Return the rates of the last frames and segments."""
        # A copy, because the source's thread adds to the deque meanwhile.
        arrivals = tuple(self._arrivals)
        span_s = arrivals[-1] - arrivals[0] if arrivals else 0.0
        fps = (len(arrivals) - 1) / span_s if span_s > 0 else 0.0
        return DeliveryRates(round(fps, 2), round(self._share(), 3))

    def _share(self) -> float:
        distinct = tuple(self._distinct)
        if not distinct:
            return 0.0
        return sum(distinct) / (len(distinct) * self._spec.motion_frames)
