"""What all cameras of a runtime share: settings, clocks, the way out, and the lock under which they change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import Record, View
from gasmcast.spec import ClipSpec

__all__ = ["House", "Trace"]

Trace = Callable[[str, dict[str, Any]], None]
"""Takes what a recording needs: a kind (`segment`, `window`, `mark`, `drop`) and plain fields."""


@dataclass
class House:
    """What all lanes share."""

    spec: ClipSpec
    config: LiveConfig
    clock: Callable[[], float]
    wall: Callable[[], float]
    emit: Callable[[Record], None]
    views: Sequence[View] = ()
    trace: Trace | None = None
    wait_for_room: Callable[[str], bool] = lambda _: True
    """Whether the sinks can take more of this file, asked by its reader; waits a moment for it."""
    changed: threading.Condition = field(default_factory=threading.Condition)
    stopping: bool = False
