"""Time stamps of live streams, kept on the axis of this machine's monotonic clock.

A stream's own stamps are steadier than arrival times, but they jump when a camera sets its clock, begin anywhere, and for formats
that have none the demuxer makes them up from a guessed frame rate. Here they are trusted only as long as they behave.
"""

from __future__ import annotations

import math

__all__ = ["Backlog", "LiveStamps"]

_LEAD_S = 1.0  # ahead of real time by more than this: the stream's clock jumped
_LAG_S = 10.0  # behind by more: a network stall is shorter, for reading times out first
_CHECK_S = 5.0
_RATE = 1.25  # a clock that runs faster or slower than this is made up, not drifting
_STRIKES = 3
_SLEW_S = 0.002  # a check's: two clocks that part by 400 ppm stay together, or after a day or two there would be a jump


class LiveStamps:
    """Maps a stream's stamps to arrival time: `stamp + offset`, the offset set anew after a jump; arrival itself once distrusted."""

    def __init__(self, *, trusted: bool = True) -> None:
        self._trusted = trusted
        self._offset: float | None = None
        self._last = float("-inf")
        self._check: tuple[float, float] | None = (
            None  # (stamp, arrival) where the present check began
        )
        self._least = math.inf  # delay of the frame that was least delayed in the present check
        self._strikes = 0

    def place(self, stamp_s: float | None, arrival: float, *, waits: bool = True) -> float:
        """When this frame was, in seconds of the monotonic clock; never before the frame before it.

        Args:
            stamp_s: the stream's own.
            arrival: monotonic seconds.
            waits: frames are waited for. Where they are not, it is we who are slow, and not the stream's clock.
        """
        placed = (
            arrival
            if stamp_s is None or not self._trusted
            else self._by_stamp(stamp_s, arrival, waits)
        )
        # Equal times are no use to the grid: the smallest step keeps the order of two frames that arrive in one tick.
        self._last = max(placed, self._last + 1e-6)
        return self._last

    def _by_stamp(self, stamp: float, arrival: float, waits: bool) -> float:
        if (
            self._offset is None
            or not -_LAG_S <= stamp + self._offset - arrival <= _LEAD_S
            or stamp + self._offset < self._last
        ):
            self._offset = arrival - stamp
        # A jump does not begin a new check: stamps that run too fast jump all the time.
        stamp0, arrival0 = self._check = self._check or (stamp, arrival)
        self._least = min(self._least, arrival - stamp - self._offset)
        if arrival - arrival0 >= _CHECK_S:
            rate = (stamp - stamp0) / (arrival - arrival0)
            if waits or rate >= 1 / _RATE:
                self._strikes = 0 if 1 / _RATE <= rate <= _RATE else self._strikes + 1
            self._trusted = self._strikes < _STRIKES
            if waits:
                self._offset += max(-_SLEW_S, min(self._least, _SLEW_S))
            self._check, self._least = (stamp, arrival), math.inf
        return stamp + self._offset if self._trusted else arrival


class Backlog:
    """Tells the pictures that piled up while a stream was being opened, which come in one go, from those that come as they are filmed.

    They are old, and stamps must be anchored on pictures that are not.
    """

    def __init__(self, most_s: float = 5.0) -> None:
        self._most_s = most_s
        self._first: float | None = None
        self._last = (0.0, 0.0)
        self._calm = 0
        self._over = False

    def holds(self, stamp_s: float, arrival: float) -> bool:
        """Whether this picture is part of it; never again after the first that is not."""
        if self._over:
            return False
        if self._first is None:
            self._first, self._last = stamp_s, (stamp_s, arrival)
            return True
        step, waited = stamp_s - self._last[0], arrival - self._last[1]
        self._last = (stamp_s, arrival)
        # Decoding takes time too, so "in one go" is: in less than half of the time that it shows.
        self._calm = self._calm + 1 if step <= 0.0 or waited > step / 2 else 0
        # Twice: a hiccup of the machine in the middle of it is not its end.
        self._over = self._calm >= 2 or stamp_s - self._first > self._most_s
        return not self._over
