"""Latencies by stage: the last few hundred values, cheap enough to keep for months."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

__all__ = ["Latencies", "percentiles"]


def percentiles(values_ms: list[float]) -> dict[str, float]:
    """`p50`, `p95`, `p99` in milliseconds to the microsecond; empty where there are no values."""
    if not values_ms:
        return {}
    p50, p95, p99 = np.percentile(np.asarray(values_ms), (50, 95, 99))
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3), "p99": round(float(p99), 3)}


class Latencies:
    """The last `keep` latencies of each stage, milliseconds."""

    def __init__(self, keep: int = 512) -> None:
        self._keep = keep
        self._stages: dict[str, deque[float]] = {}
        self._lock = threading.Lock()  # one thread adds, another reads

    def add(self, latency_ms: dict[str, float]) -> None:
        """One decision's latencies by stage."""
        with self._lock:
            for stage, value in latency_ms.items():
                self._stages.setdefault(stage, deque(maxlen=self._keep)).append(value)

    def summary(self) -> dict[str, dict[str, float]]:
        """Per stage `p50`, `p95`, `p99`."""
        with self._lock:
            stages = {stage: list(values) for stage, values in self._stages.items()}
        return {stage: percentiles(values) for stage, values in stages.items()}

    def recent(self, stage: str, last: int) -> list[float]:
        """The newest `last` values of a stage, oldest first."""
        with self._lock:
            return list(self._stages.get(stage, ()))[-last:]
