"""Define the result of one check of the doctor."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Finding", "ok", "warning"]


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    topic: str
    """Part of the machine that was checked."""
    state: Literal["ok", "warn"]
    text: str
    """What was found."""
    remedy: str = ""
    """What to do about a warning."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def ok(topic: str, text: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(topic, "ok", text)


def warning(topic: str, text: str, remedy: str) -> Finding:
    """Return a finding that limits what this machine can do, with its remedy."""
    return Finding(topic, "warn", text, remedy)
