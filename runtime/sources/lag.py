"""Delay of network pictures by the time they are decoded, and whether this machine causes it.

If decoding is slower than the stream, pictures queue in the network's buffers: each then comes at
once and late, and nothing about its arrival shows that it is old. Its stamp does, compared with the
picture that was least delayed.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

__all__ = ["DecodeLag", "busy_s"]

_CHECK_S = 1.0
_MIN_WAIT = 0.25  # share of a check; threads that contend for the GIL seem to wait up to a tenth
_DRIFT_S = 0.001  # by which a camera's clock and ours may drift apart within a check
_MAX_LAG_S = 2.0  # a source further behind is no longer live: a silence that long is a gap

_SCHEDSTAT = Path("/proc/thread-self/schedstat")


class DecodeLag:
    """Measure the delay of each picture beyond the least delay so far.

    The least delay is kept for as long as pictures are there when they are requested, and otherwise
    for two checks: where each picture has to be waited for, nothing queues, so a delay that still
    grows is a camera clock that runs slow.
    """

    def __init__(self) -> None:
        self.keeps_up = True
        """Whether this machine waited for pictures in the last check."""
        self.falls_behind = False
        """Whether the source is too far behind, without a wait, and not catching up."""
        # Least delay before the last check that found waits, and since.
        self._least_before, self._least = math.inf, math.inf
        self._since: float | None = None
        self._waited_s = 0.0
        # Results of the check before.
        self._kept_up, self._delay_s = True, 0.0

    def measure(self, stamp_s: float, arrival: float, waited_s: float) -> float:
        """Return by how many seconds a picture is late.

        Args:
            stamp_s: time of the picture on the axis of `arrival`, with any constant offset.
            arrival: monotonic seconds when it was there.
            waited_s: how long there was nothing to decode since the picture before.
        """
        delay_s = arrival - stamp_s
        self._least = min(self._least, delay_s)
        late_s = delay_s - min(self._least_before, self._least)

        self._waited_s += waited_s
        if self._since is None:
            self._since, self._waited_s = arrival, 0.0
        elif arrival - self._since >= _CHECK_S:
            self._check(arrival - self._since, delay_s, late_s)
            self._since, self._waited_s = arrival, 0.0
        return late_s

    def _check(self, took_s: float, delay_s: float, late_s: float) -> None:
        self.keeps_up = self._waited_s >= _MIN_WAIT * took_s

        # Two checks in a row: a process that was suspended finds many pictures waiting, and has
        # caught up by the next check.
        self.falls_behind = (
            not self.keeps_up
            and not self._kept_up
            and late_s > _MAX_LAG_S
            and delay_s >= self._delay_s
        )

        # Let the least delay follow the drift of the two clocks.
        least = min(self._least_before, self._least) + _DRIFT_S
        if self.keeps_up:
            self._least_before, self._least = self._least, delay_s
        else:
            self._least_before, self._least = least, least
        self._kept_up, self._delay_s = self.keeps_up, delay_s


def busy_s() -> float:
    """Return the seconds that this thread has computed or queued for a core since its start.

    The rest of a call's duration is waiting. Only Linux reports queueing; elsewhere it counts as
    waiting.
    """
    try:
        queued_s = int(_SCHEDSTAT.read_bytes().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        queued_s = 0.0
    return time.thread_time() + queued_s
