"""Exact bounds of a Poisson rate and the test whether a count exceeds an expected one.

The bounds are those of F. Garwood, "Fiducial limits for the Poisson distribution", Biometrika
1936. They need no library: tails are summed, and the bound is found by bisection.
"""

from __future__ import annotations

import math

__all__ = ["exceedance", "hours_to_prove", "upper_bound"]

CONFIDENCE = 0.95
"""Least probability that an upper bound is above the true mean."""


def exceedance(count: int, mean: float) -> float:
    """Return the probability of `count` or more events when `mean` are expected.

    Args:
        count: number of events, 0 or more.
        mean: expected number, 0 or more.
    """
    if count <= 0:
        return 1.0
    if mean <= 0:
        return 0.0

    # Above the mean the upper tail is summed: one minus the lower one would lose all digits.
    if count > mean:
        return min(_tail(count, mean), 1.0)
    return max(0.0, 1.0 - _lower(count - 1, mean))


def upper_bound(count: int) -> float:
    """Return the one-sided upper bound of the expected number after `count` events were seen.

    It is the largest mean under which `count` or fewer events have the probability
    `1 - CONFIDENCE`; 0 events give `-log(1 - CONFIDENCE)`, which is 2.996.
    """
    low, high = float(count), count + 10.0 * math.sqrt(count + 1.0) + 10.0
    for _ in range(100):
        middle = (low + high) / 2
        if _lower(count, middle) > 1.0 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def hours_to_prove(per_day: float) -> float:
    """Return the hours without any event that prove a rate of at most `per_day`."""
    return 24.0 * upper_bound(0) / per_day


def _log_term(count: int, mean: float) -> float:
    return count * math.log(mean) - mean - math.lgamma(count + 1)


def _lower(count: int, mean: float) -> float:
    """Return the probability of `count` or fewer events."""
    if mean <= 0:
        return 1.0
    return math.fsum(math.exp(_log_term(k, mean)) for k in range(count + 1))


def _tail(count: int, mean: float) -> float:
    """Return the probability of `count` or more events, for `count` above `mean`."""
    term = math.exp(_log_term(count, mean))
    total = 0.0
    # The terms fall at least as a geometric series, so the loop ends.
    while term > total * 1e-17:
        total += term
        count += 1
        term *= mean / count
    return total
