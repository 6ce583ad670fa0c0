"""Latencies by stage: the last few hundred values, cheap enough to keep for months."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

__all__ = ["Latencies", "percentiles"]


def percentiles(values_ms: list[float]) -> dict[str, float]:
    """Return `p50`, `p95`, `p99` in milliseconds, rounded to microseconds; empty without values."""
    if not values_ms:
        return {}
    p50, p95, p99 = np.percentile(np.asarray(values_ms), (50, 95, 99))
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3), "p99": round(float(p99), 3)}


class Latencies:
    """The last latencies of each stage, in milliseconds.

    Args:
        keep: values per stage.
    """

    def __init__(self, keep: int = 512) -> None:
        self._keep = keep
        self._stages: dict[str, deque[float]] = {}
        # One thread adds while another reads.
        self._lock = threading.Lock()

    def add(self, latency_ms: dict[str, float]) -> None:
        """Add the latencies of one decision, by stage."""
        with self._lock:
            for stage, value in latency_ms.items():
                self._stages.setdefault(stage, deque(maxlen=self._keep)).append(value)

    def summary(self) -> dict[str, dict[str, float]]:
        """Return `p50`, `p95`, `p99` of each stage."""
        with self._lock:
            stages = {stage: list(values) for stage, values in self._stages.items()}
        return {stage: percentiles(values) for stage, values in stages.items()}

    def recent(self, stage: str, last: int) -> list[float]:
        """Return the newest `last` values of a stage, oldest first."""
        with self._lock:
            return list(self._stages.get(stage, ()))[-last:]
