"""Items that wait for a sink, and which of them are dropped when too many do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.records import Event, Notice, Record

__all__ = ["Pending", "Picture", "camera_of", "must_arrive"]

Picture = tuple[str, float, NDArray[np.uint8]]
"""`(camera, time_s, image)`."""


def must_arrive(item: Record | Picture) -> bool:
    """Return whether a sink must never drop an item: starts and ends of events, and notices."""
    return isinstance(item, Notice) or (isinstance(item, Event) and item.phase != "update")


def camera_of(item: Record | Picture) -> str:
    """Return the camera of a record or picture."""
    return item[0] if isinstance(item, tuple) else item.camera


class Pending:
    """A queue of items that counts those that may be dropped. Not thread-safe."""

    def __init__(self) -> None:
        self._items: deque[Record | Picture] = deque()
        self.droppable = 0
        """Number of items that may be dropped."""

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Record | Picture]:
        return iter(self._items)

    @property
    def required(self) -> int:
        """Number of items that must arrive."""
        return len(self._items) - self.droppable

    def append(self, item: Record | Picture) -> None:
        """Add an item at the end."""
        self._items.append(item)
        self.droppable += not must_arrive(item)

    def popleft(self) -> Record | Picture:
        """Remove and return the oldest item."""
        item = self._items.popleft()
        self.droppable -= not must_arrive(item)
        return item

    def drop_oldest(self, condition: Callable[[Record | Picture], bool]) -> bool:
        """Remove the oldest item that meets a condition; returns False if there is none."""
        # A linear search is fine: it runs only when the queue is full.
        index = next((i for i, item in enumerate(self._items) if condition(item)), None)
        if index is None:
            return False

        self.droppable -= not must_arrive(self._items[index])
        del self._items[index]
        return True

    def clear(self) -> None:
        """Remove all items."""
        self._items.clear()
        self.droppable = 0
