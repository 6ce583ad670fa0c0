"""Waits between retries: doubled after each failure, drawn at random below that bound.

The randomness keeps many cameras from reconnecting at the same moment. The figures and "full
jitter" are those of AWS's "Exponential Backoff And Jitter" (2015).
"""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["Backoff"]

# A camera that dies as it connects must not be hammered.
_MIN_SHARE = 0.1


class Backoff:
    """Waits of 0.5 s doubling to 30 s, each drawn between a tenth and the whole of it.

    Args:
        first_s: bound of the first wait, in seconds.
        max_s: bound of all waits, in seconds.
        steady_s: seconds of success that clear the count of failures.
        tries: failures in a row after which it is `hopeless`.
        draw: returns a random number in [0, 1).
    """

    def __init__(
        self,
        first_s: float = 0.5,
        max_s: float = 30.0,
        *,
        steady_s: float = 5.0,
        tries: int = 5,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.failures = 0
        self._first_s = first_s
        self._max_s = max_s
        self._steady_s = steady_s
        self._tries = tries
        self._draw = draw
        self._good_since: float | None = None

    @property
    def hopeless(self) -> bool:
        """True after `tries` failed attempts in a row."""
        return self.failures >= self._tries

    def good(self, now: float) -> None:
        """Note a success at `now` (monotonic seconds)."""
        if self._good_since is None:
            self._good_since = now
        elif now - self._good_since >= self._steady_s:
            self.failures = 0

    def bad(self, now: float) -> float:
        """Note a failure at `now` (monotonic seconds) and return the seconds to wait."""
        if self._good_since is not None and now - self._good_since >= self._steady_s:
            self.failures = 0
        self._good_since = None

        # The exponent is limited, or a year of failures would overflow the float.
        bound_s = min(self._max_s, self._first_s * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return bound_s * max(_MIN_SHARE, self._draw())
