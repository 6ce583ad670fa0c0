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
        """Add a gauge; skip it if `samples` is empty."""
        self._add(name, "gauge", meaning, list(samples))

    def counter(self, name: str, meaning: str, samples: Iterable[Sample]) -> None:
        """Add a counter; skip it if `samples` is empty."""
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
            # 15 digits: with the six of `:g` an uptime of weeks would jump by tens of seconds, and
            # a million events would read 1e+06.
            number = f"{value:.15g}"
            self._lines.append(f"{name}{{{pairs}}} {number}" if pairs else f"{name} {number}")


def _escape(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    # The page is UTF-8, which has no lone surrogates.
    return escaped.encode(errors="backslashreplace").decode()
