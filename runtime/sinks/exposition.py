"""Prometheus' text exposition format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["CONTENT_TYPE", "ExpositionPage", "Sample"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Sample(NamedTuple):
    """One value of a metric family."""

    value: float
    labels: dict[str, str]


class ExpositionPage:
    """Metric families as text."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def gauge(self, name: str, meaning: str, samples: Iterable[Sample]) -> None:
        """Add a gauge, unless it has no sample."""
        self._add(name, "gauge", meaning, list(samples))

    def counter(self, name: str, meaning: str, samples: Iterable[Sample]) -> None:
        """Add a counter, unless it has no sample."""
        self._add(name, "counter", meaning, list(samples))

    def text(self) -> str:
        """Return the page."""
        return "\n".join(self._lines) + "\n"

    def _add(self, name: str, kind: str, meaning: str, samples: list[Sample]) -> None:
        if not samples:
            return
        self._lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]

        for value, labels in samples:
            pairs = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
            # Counters stay whole numbers; `:g` would print a million as 1e+06.
            number = f"{value:g}" if pairs and isinstance(value, float) else str(value)
            self._lines.append(f"{name}{{{pairs}}} {number}" if pairs else f"{name} {number}")


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
