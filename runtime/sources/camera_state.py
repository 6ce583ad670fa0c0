"""States and counters of a camera."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["CameraCounts", "State"]


class State(str, Enum):
    """State of a camera.

    `failed` is reported after five failed attempts in a row; a source that reconnects is still
    retried.
    """

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    FAILED = "failed"
    ENDED = "ended"


@dataclass
class CameraCounts:
    """Counters of a camera since the start."""

    frames: int = 0
    reconnects: int = 0
    stalls: int = 0
    hangs: int = 0
    """Threads that were abandoned because native code did not return."""
