"""One row of `gasmcast bench live`: what to measure, as it is sent to the measuring process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["TURN_S", "Task", "Turn", "rss_mb"]

TURN_S = 0.5
"""Seconds for which quick work is repeated within one turn."""

Turn = Callable[[], dict[str, Any]]
"""Measures once and returns JSON-compatible figures."""


@dataclass(frozen=True)
class Task:
    """Measurement of one process."""

    kind: Literal["naive", "complete", "cached", "cameras", "peak", "profile"]
    bundle: str
    precision: str
    engine: str = "auto"
    threads: int | None = None
    batches: tuple[int, ...] = (1,)
    """Only `cached`: numbers of cameras whose segments are ready at once, batched as in the
    pipeline."""
    cameras: int = 1
    """Only `cameras`: number of synthetic cameras."""
    seconds: float = 8.0
    """Only `cameras`: measured seconds of camera time, after all windows are full."""
    slowdown: float = 1.0
    """Only `cameras`: factor by which cameras play slower than real time, for machines that
    cannot keep up."""


def rss_mb() -> float:
    """Return the resident memory of this process in MiB; 0 where the system does not report it."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return round(int(line.split()[1]) / 1024, 1)
