"""State that all cameras of a runtime share: settings, clocks, output, and the common lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.camera.clock import Segment
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import Record, View
from gasmcast.spec import ClipSpec

__all__ = ["OnWindow", "RuntimeContext", "Trace"]

Trace = Callable[[str, dict[str, Any]], None]
"""Callback for a recording: a kind (`segment`, `window`, `mark`, `drop`) and plain fields."""

OnWindow = Callable[[str, Segment, Mapping[str, NDArray[np.float32]]], None]
"""Callback after a decision: the camera, the window's last segment and its features. It runs in the
head's thread. The features are views that are overwritten later, or in device memory, where each
value that is read is copied."""


@dataclass
class RuntimeContext:
    """State that all lanes and stages of one pipeline share."""

    spec: ClipSpec
    config: LiveConfig
    clock: Callable[[], float]
    """Returns monotonic seconds."""
    wall: Callable[[], float]
    """Returns seconds since 1970."""
    emit: Callable[[Record], None]
    views: Sequence[View] = ()
    trace: Trace | None = None
    on_window: OnWindow | None = None
    wait_for_room: Callable[[str], bool] = lambda _: True
    """Waits briefly until the sinks have room for this file; called by the file's reader."""
    changed: threading.Condition = field(default_factory=threading.Condition)
    """Guards the lanes and their backlogs; notified whenever one of them changes."""
    stopping: bool = False
