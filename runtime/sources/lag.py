"""How far behind a stream its pictures are by the time they are decoded, and whether that is our doing.

What is decoded slower than it comes queues in the network's buffers: each picture then comes at once and late, and nothing about its
arrival tells that it is old. Its stamp does, beside that of the picture that was least delayed.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

__all__ = ["Lag", "busy_s"]

_LOOK_S = 1.0
_WAITS = 0.25  # share of a look: threads that contend for the interpreter make up to a tenth of it seem waiting
_DRIFT_S = 0.001  # by which a camera's clock and ours may part in a look
_MOST_S = 2.0  # what is further behind is no longer live, as a silence that long is a gap

_SCHEDULE = Path("/proc/thread-self/schedstat")


class Lag:
    """The delay of each picture beyond the least delay there was.

    The least is kept for as long as pictures are there when they are asked for, and for two looks else: where each has to be waited for
    nothing queues, so a delay that grows even so is a clock that runs slow.
    """

    def __init__(self) -> None:
        self.waits = True
        """Pictures are waited for, by the last look."""
        self.outrun = False
        """Too far behind, without a wait, and not catching up."""
        self._least = (
            math.inf,
            math.inf,
        )  # delay: before the last look that found waits, and since
        self._since: float | None = None
        self._waited = 0.0
        self._last = (True, 0.0)  # by the look before: waits, delay

    def of(self, stamp_s: float, arrival: float, waited_s: float) -> float:
        """Seconds that a picture is late.

        Args:
            stamp_s: when it was, on the axis of `arrival`, however shifted.
            arrival: when it was there, monotonic seconds.
            waited_s: how long nothing was there to decode, since the picture before.
        """
        delay = arrival - stamp_s
        self._least = (self._least[0], min(self._least[1], delay))
        late = delay - min(self._least)
        self._waited += waited_s
        if self._since is None:
            self._since, self._waited = arrival, 0.0
        elif arrival - self._since >= _LOOK_S:
            self._look(arrival - self._since, delay, late)
            self._since, self._waited = arrival, 0.0
        return late

    def _look(self, took_s: float, delay: float, late: float) -> None:
        self.waits = self._waited >= _WAITS * took_s
        # Twice: a process that was stopped for a while finds much waiting, and is through it by the next look.
        self.outrun = (
            not self.waits and not self._last[0] and late > _MOST_S and delay >= self._last[1]
        )
        least = min(self._least) + _DRIFT_S
        self._least = (self._least[1], delay) if self.waits else (least, least)
        self._last = (self.waits, delay)


def busy_s() -> float:
    """Seconds that the calling thread has computed or stood in line for a core since it began; what a call takes beyond is waiting.

    Standing in line is told by Linux only; elsewhere it passes for waiting.
    """
    try:
        in_line = int(_SCHEDULE.read_bytes().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        in_line = 0.0
    return time.thread_time() + in_line
