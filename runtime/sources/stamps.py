"""Time stamps of network cameras, placed on the axis of this machine's monotonic clock.

A camera's own stamps are steadier than arrival times, but they jump when it sets its clock, start
anywhere, and for formats without stamps the demuxer derives them from a guessed frame rate. They
are therefore used only for as long as they are plausible.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["ConnectBacklog", "LiveStamps"]

_MAX_LEAD_S = 1.0  # further ahead of real time: the camera's clock jumped
_MAX_LAG_S = 10.0  # further behind: a network stall is shorter, because reading times out first
_CHECK_S = 5.0
_MAX_RATE = 1.25  # a clock faster or slower than this is invented, not drifting
_MAX_STRIKES = 3
# Correction per check: two clocks that differ by 400 ppm stay together; without it there would be a
# jump after a day or two.
_SLEW_S = 0.002


class _Stamped(NamedTuple):
    """Stamp and arrival of a picture, in seconds."""

    stamp_s: float
    arrival: float


class LiveStamps:
    """Map a camera's stamps to arrival time.

    The result is `stamp + offset`, with a new offset after a jump, and the arrival itself once the
    stamps are no longer trusted.

    Args:
        trusted: the format has stamps.
    """

    def __init__(self, *, trusted: bool = True) -> None:
        self._trusted = trusted
        self._offset_s: float | None = None
        self._last = float("-inf")
        self._check_start: _Stamped | None = None
        self._least_delay_s = math.inf  # in the present check
        self._strikes = 0

    def place(self, stamp_s: float | None, arrival: float, *, keeps_up: bool = True) -> float:
        """Return the time of a frame in monotonic seconds, always after the frame before it.

        Args:
            stamp_s: the camera's own stamp.
            arrival: monotonic seconds.
            keeps_up: this machine waits for frames. Otherwise it is this machine that is slow, and
                not the camera's clock.
        """
        placed = arrival
        if stamp_s is not None and self._trusted:
            placed = self._by_stamp(stamp_s, arrival, keeps_up)
        # The time grid needs distinct times; the smallest step keeps the order of two frames that
        # arrive in one tick.
        self._last = max(placed, self._last + 1e-6)
        return self._last

    def _by_stamp(self, stamp_s: float, arrival: float, keeps_up: bool) -> float:
        if (
            self._offset_s is None
            or not -_MAX_LAG_S <= stamp_s + self._offset_s - arrival <= _MAX_LEAD_S
            or stamp_s + self._offset_s < self._last
        ):
            self._offset_s = arrival - stamp_s

        # A jump does not start a new check: stamps that run too fast jump all the time.
        self._check_start = start = self._check_start or _Stamped(stamp_s, arrival)
        self._least_delay_s = min(self._least_delay_s, arrival - stamp_s - self._offset_s)
        if arrival - start.arrival >= _CHECK_S:
            rate = (stamp_s - start.stamp_s) / (arrival - start.arrival)
            plausible = 1 / _MAX_RATE <= rate <= _MAX_RATE
            # A low rate is no evidence against the camera if this machine is the slow one.
            if keeps_up or rate >= 1 / _MAX_RATE:
                self._strikes = 0 if plausible else self._strikes + 1
            self._trusted = self._strikes < _MAX_STRIKES
            if keeps_up:
                self._offset_s += max(-_SLEW_S, min(self._least_delay_s, _SLEW_S))
            self._check_start, self._least_delay_s = _Stamped(stamp_s, arrival), math.inf
        return stamp_s + self._offset_s if self._trusted else arrival


class ConnectBacklog:
    """Recognize pictures that piled up while a stream was opened and then come all at once.

    They are old, and stamps must be anchored to pictures that are not.

    Args:
        max_s: longest backlog in seconds of the stream.
    """

    def __init__(self, max_s: float = 5.0) -> None:
        self._max_s = max_s
        self._first_s: float | None = None
        self._last = _Stamped(0.0, 0.0)
        self._on_time = 0  # pictures in a row that came at the pace at which they were filmed
        self._over = False

    def includes(self, stamp_s: float, arrival: float) -> bool:
        """Return whether a picture is part of the backlog; always False once it has ended."""
        if self._over:
            return False
        if self._first_s is None:
            self._first_s, self._last = stamp_s, _Stamped(stamp_s, arrival)
            return True

        step_s, waited_s = stamp_s - self._last.stamp_s, arrival - self._last.arrival
        self._last = _Stamped(stamp_s, arrival)
        # Decoding takes time too, so "at once" means in less than half of the time it shows.
        on_time = step_s <= 0.0 or waited_s > step_s / 2
        self._on_time = self._on_time + 1 if on_time else 0
        # Two in a row: a hiccup of the machine in the middle of the backlog is not its end.
        self._over = self._on_time >= 2 or stamp_s - self._first_s > self._max_s
        return not self._over
