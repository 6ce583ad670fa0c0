"""Format shares as percentages, the same way on pages and on the console."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["percent", "percent_interval"]


def percent(share: float) -> str:
    """Return a share 0..1 as text, such as `91.3 %`."""
    return f"{100 * share:.1f} %"


def percent_interval(interval: Sequence[float]) -> str:
    """Return the bounds of an interval of shares in percent, such as `[90.0, 92.5]`."""
    low, high = interval
    return f"[{100 * low:.1f}, {100 * high:.1f}]"
