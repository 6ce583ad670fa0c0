"""Segments of one camera that wait for the encoder, and the policy that drops late ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gasmcast.errors import GasmcastError
from gasmcast.runtime.camera.clock import Segment

__all__ = ["Mark", "PendingItem", "SegmentBacklog"]


@dataclass(frozen=True)
class Mark:
    """Break in a lane. It travels with the segments, so it takes effect after all before it."""

    what: Literal["gap", "end"]
    text: str = ""
    error: GasmcastError | None = None


@dataclass(frozen=True)
class PendingItem:
    """Segment or mark that waits for the encoder."""

    item: Segment | Mark
    offered: float
    """Monotonic seconds at which it entered the backlog."""


class SegmentBacklog(deque[PendingItem]):
    """Waiting segments and marks in order, oldest first. The caller holds the context's lock.

    Args:
        room: segments that may wait.
        window: segments of a window.
        drop: takes the cause (`late`, `skip`) and a segment that will not be encoded.
    """

    def __init__(self, room: int, window: int, drop: Callable[[str, Segment], None]) -> None:
        super().__init__()
        self._room = room
        self._window = window
        self._drop = drop
        # State of the whole-window policy: segments admitted in a row, and whether all further ones
        # are skipped until the backlog is empty.
        self._admitted = 0
        self._skipping = False

    @property
    def segments(self) -> int:
        """Number of waiting segments."""
        return sum(isinstance(pending.item, Segment) for pending in self)

    @property
    def full(self) -> bool:
        """True if the reader of a file has to wait."""
        return self.segments >= self._room

    def add(self, item: Segment | Mark, offered: float) -> None:
        """Append an item, offered at `offered` monotonic seconds."""
        if isinstance(item, Mark):
            self._admitted = 0
        self.append(PendingItem(item, offered))

    def admit(self, segment: Segment, whole_windows: bool) -> bool:
        """Return whether a live camera's segment may wait; drop what has to make room.

        Newest wins: the oldest waiting segment is dropped. Segments that one frame of a slow camera
        completed together wait for each other, up to a window. With `whole_windows` the oldest
        win, for a machine that never keeps up: the segments of a window wait until they are
        encoded, and what arrives meanwhile is skipped until nothing waits. So a window is always
        decided, and it is no older than the time its segments take.
        """
        if not whole_windows:
            self._admitted, self._skipping = 0, False
            while self.segments >= self._room_beside(segment):
                self._drop_oldest()
            return True

        # The window was encoded: admit the next one from its first segment on.
        waiting = self.segments
        if self._skipping and not waiting:
            self._skipping, self._admitted = False, 0

        # Until a window is complete, its segments may exceed the usual room.
        complete = self._admitted >= self._window
        room = self._room if complete else max(self._room, self._window)
        self._skipping = self._skipping or waiting >= room
        if self._skipping:
            self._drop("skip", segment)
            return False

        self._admitted += 1
        return True

    def _room_beside(self, segment: Segment) -> int:
        """Return the number of waiting segments at which one has to make room for `segment`."""
        for pending in self:
            if isinstance(pending.item, Segment):
                together = pending.item.completed == segment.completed
                return max(self._room, self._window) if together else self._room
        return self._room

    def _drop_oldest(self) -> None:
        for index, pending in enumerate(self):
            if isinstance(pending.item, Segment):
                del self[index]
                self._drop("late", pending.item)
                return
