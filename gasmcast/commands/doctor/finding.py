"""What the doctor says about one thing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it stands, and the remedy where it could be better."""

    topic: str
    state: Literal["ok", "warn"]
    text: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)
