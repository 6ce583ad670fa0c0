"""What of one camera waits for the encoder, and what gives way when the encoder is too slow."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gasmcast.errors import GasmcastError
from gasmcast.runtime.camera.clock import Segment

__all__ = ["Backlog", "Mark", "Waiting"]


@dataclass(frozen=True)
class Mark:
    """A break in a lane that travels with its segments, so that it takes effect after all that came before."""

    what: Literal["gap", "end"]
    text: str = ""
    error: GasmcastError | None = None


@dataclass(frozen=True)
class Waiting:
    """A segment or mark and when it was offered, monotonic seconds."""

    item: Segment | Mark
    offered: float


class Backlog(deque[Waiting]):
    """Segments and marks in order, the oldest first. Its user holds the house's lock.

    Args:
        room: segments that may wait.
        window: segments of a window.
        drop: takes the cause (`late`, `skip`) and a segment that will not be computed.
    """

    def __init__(self, room: int, window: int, drop: Callable[[str, Segment], None]) -> None:
        super().__init__()
        self._room, self._window, self._drop = room, window, drop
        self._stretch = 0  # segments let in one after another (`whole`)
        self._skips = False  # nothing is let in until nothing waits (`whole`)

    @property
    def segments(self) -> int:
        """How many segments wait."""
        return sum(isinstance(w.item, Segment) for w in self)

    @property
    def full(self) -> bool:
        """Whether a file has to wait."""
        return self.segments >= self._room

    def add(self, item: Segment | Mark, offered: float) -> None:
        """The newest."""
        if isinstance(item, Mark):
            self._stretch = 0
        self.append(Waiting(item, offered))

    def let_in(self, segment: Segment, whole: bool) -> bool:
        """Whether a camera's segment may wait; what has to give way is dropped.

        Newest wins: the oldest waiting segment goes. With `whole` it is the other way round, for a machine that never keeps up: a window's
        segments wait until they are computed, and what comes meanwhile is skipped, until nothing waits. So a window is always decided, and
        no older than its segments take.
        """
        if not whole:
            self._stretch, self._skips = 0, False
            while self.full:
                self._drop_oldest()
            return True
        waiting = self.segments
        if self._skips and not waiting:
            self._skips, self._stretch = False, 0
        room = self._room if self._stretch >= self._window else max(self._room, self._window)
        self._skips = self._skips or waiting >= room
        if self._skips:
            self._drop("skip", segment)
            return False
        self._stretch += 1
        return True

    def _drop_oldest(self) -> None:
        for place, waiting in enumerate(self):
            if isinstance(waiting.item, Segment):
                del self[place]
                self._drop("late", waiting.item)
                return
