"""What a source gives of what the model needs: its rate, and the frames that are missing. Too little is told, once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gasmcast.runtime.camera.clock import Segment
from gasmcast.spec import ClipSpec

__all__ = ["Delivery"]

_EMPTY_RUNS = (
    5  # gaps without a segment between them, after which it is said that nothing will come of this
)
_LEAST = 0.8  # share of the grid's frames


class Delivery:
    """The last frames and segments of one source.

    Args:
        name: of the source.
        spec: what the model was trained on.
        gap_s: seconds without a picture that are a gap.
        tell: takes the sentence about a source that gives too little.
    """

    def __init__(
        self, name: str, spec: ClipSpec, gap_s: float, tell: Callable[[str], None]
    ) -> None:
        self._name, self._spec, self._gap_s, self._tell = name, spec, gap_s, tell
        self._arrivals: deque[float] = deque(maxlen=128)
        self._distinct: deque[int] = deque(maxlen=spec.segments)  # per segment
        self._last: tuple[int, float] | None = None  # run and last time stamp of the newest segment
        self._told = False

    def frame(self, arrival: float) -> None:
        """A frame has come, monotonic seconds."""
        self._arrivals.append(arrival)

    def again(self) -> None:
        """The source gives once more: its rate begins anew, or the outage would be averaged in."""
        self._arrivals.clear()

    def segment(self, segment: Segment) -> None:
        """A segment is full; how many of its frames are frames of its own?"""
        again = self._last == (
            segment.run,
            segment.stamps[0],
        )  # the frame that filled the segment before
        self._distinct.append(segment.distinct - again)
        self._last = (segment.run, segment.stamps[-1])
        if self._told or len(self._distinct) < min(2, self._spec.segments):
            return
        share = self._share()
        if share < _LEAST:
            self._told = True
            self._tell(
                f"{self._name} gives {share * self._spec.fps:.1f} of the {self._spec.fps:g} frames a second that the model was trained on: "
                "frames are repeated, fast actions may be missed."
            )

    def gap(self, run: int) -> None:
        """A gap; `run` is the one that begins."""
        empty = run - (self._last[0] if self._last else 0)
        if empty >= _EMPTY_RUNS and not self._told:
            self._told = True
            why = (
                f"its pictures are more than {self._gap_s:g} s apart, or it is lost again and again"
            )
            self._tell(
                f"{self._name} filled no segment between its last {empty} gaps: {why}. Nothing is decided."
            )

    def rates(self) -> tuple[float, float]:
        """Frames a second over the last 128, and distinct frames per slot of the time grid over the last window."""
        arrivals = tuple(self._arrivals)
        span = arrivals[-1] - arrivals[0] if arrivals else 0.0
        return round((len(arrivals) - 1) / span, 2) if span > 0 else 0.0, round(self._share(), 3)

    def _share(self) -> float:
        distinct = tuple(self._distinct)  # the source's thread goes on adding
        return sum(distinct) / (len(distinct) * self._spec.motion_frames) if distinct else 0.0
