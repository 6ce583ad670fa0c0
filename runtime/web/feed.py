"""What a run shows to browsers: newest pictures, and records as messages for each client."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.records import Decision, Event, Record, Stats
from gasmcast.runtime.service.secrets import redact_tree
from gasmcast.runtime.web.event_store import EventStore

__all__ = ["Subscriber", "WebFeed"]

_MAX_WAITING = 200  # messages for one client; a slow one misses the oldest
_RECENT_EVENTS = 300  # kept in memory for pages that open later
_LISTED = 100  # events of one answer, if events are stored


class Subscriber:
    """Messages that wait for one client; the newest replace the oldest when it is slow."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._changed = loop, asyncio.Event()
        self._messages: deque[str] = deque(maxlen=_MAX_WAITING)

    def put(self, message: str) -> None:
        """Add a message from any thread; never waits."""
        self._messages.append(message)
        # The loop may have been closed when the server stopped.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._changed.set)

    async def take(self, timeout_s: float) -> list[str]:
        """Return the messages that wait, after at most `timeout_s` seconds; maybe none."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        self._changed.clear()
        messages: list[str] = []
        while self._messages:
            messages.append(self._messages.popleft())
        return messages


class WebFeed:
    """View of a run that browsers read; a client can neither slow it nor stop it.

    Records are turned into messages only while a client is connected. Of the pictures it keeps a
    reference to the newest one of each camera, and only of cameras that somebody watches or whose
    events are stored.

    Events get a `key` that is unique across cameras and runs, and the same from start to end: the
    numbers and times of a camera begin again with each run, while the store keeps its events.

    Args:
        store: stores events with pictures; None: events are kept in memory alone.
    """

    def __init__(self, store: EventStore | None = None) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._subscribers: set[Subscriber] = set()
        self._watchers: dict[str, int] = {}
        self._pictures: dict[str, tuple[float, NDArray[np.uint8]]] = {}
        self._decisions: dict[str, Decision] = {}
        self._events: dict[str, Event] = {}
        self._open_keys: dict[str, str] = {}  # of the event that is open, by camera
        self._run, self._serial = secrets.token_hex(6), itertools.count(1)
        self._stats: Stats | None = None
        self._named: dict[str, None] = {}  # cameras that a page has heard of

    # Side of the runtime: called by its threads.

    def write(self, record: Record) -> None:
        """Take a record and pass it on to the clients."""
        key = ""
        with self._lock:
            if not isinstance(record, Stats) and record.camera:
                self._named[record.camera] = None
            if isinstance(record, Decision):
                self._decisions[record.camera] = record
            elif isinstance(record, Event):
                key = self._keep_event(record)
            elif isinstance(record, Stats):
                self._stats = record
                self._forget_others({camera.camera for camera in record.cameras})
            subscribers = list(self._subscribers)

        if self.store is not None:
            self.store.write(record, key)
        if subscribers and not _is_update(record):
            tree = record.to_json() | ({"key": key} if key else {})
            message = json.dumps(redact_tree(tree))
            for subscriber in subscribers:
                subscriber.put(message)

    def wants_frame(self, camera: str) -> bool:
        """Return whether anybody needs the pictures of a camera."""
        return self.store is not None or camera in self._watchers

    def frame(self, camera: str, time_s: float, image: NDArray[np.uint8]) -> None:
        """Take the newest picture `(H, W, 3)` of a camera."""
        if not self.wants_frame(camera):
            return
        with self._lock:
            self._pictures[camera] = (time_s, image)
        if self.store is not None:
            self.store.frame(camera, time_s, image)

    def forget(self, camera: str) -> None:
        """Forget a camera that was removed from the run."""
        with self._lock:
            for known in (self._named, self._pictures, self._decisions):
                known.pop(camera, None)

    def close(self) -> None:
        """Finish the store."""
        if self.store is not None:
            self.store.close()

    # Side of the browsers: called by the server's loop and its workers.

    def cameras(self) -> list[str]:
        """Return the names of the cameras, those of the last statistics first."""
        with self._lock:
            names = [] if self._stats is None else [c.camera for c in self._stats.cameras]
            return list(dict.fromkeys([*names, *self._named, *self._pictures]))

    def picture(self, camera: str) -> tuple[float, NDArray[np.uint8]] | None:
        """Return time and image of the newest picture of a camera; None before the first."""
        with self._lock:
            return self._pictures.get(camera)

    @contextmanager
    def watch(self, camera: str) -> Iterator[None]:
        """Ask for the pictures of a camera while the context lasts."""
        with self._lock:
            self._watchers[camera] = self._watchers.get(camera, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                left = self._watchers[camera] - 1
                if left:
                    self._watchers[camera] = left
                else:
                    # A picture of long ago must not be shown to the next watcher.
                    del self._watchers[camera]
                    if self.store is None:
                        self._pictures.pop(camera, None)

    @contextmanager
    def subscribe(self) -> Iterator[Subscriber]:
        """Yield the messages for one client; the first are the present state."""
        subscriber = Subscriber(asyncio.get_running_loop())
        with self._lock:
            for message in self._state():
                subscriber.put(json.dumps(message))
            self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            with self._lock:
                self._subscribers.discard(subscriber)

    def events(
        self, before_s: float | None = None, camera: str = "", label: str = ""
    ) -> list[dict[str, Any]]:
        """Return events, newest first; those of the store have an `id`, those in memory have none.

        Args:
            before_s: only events before this time, in seconds since 1970.
            camera: only events of this camera.
            label: only events of this class.
        """
        with self._lock:
            events = list(self._events.items())
        oldest_s = 0.0 if self.store is None else self.store.oldest_s
        recent = [
            {**event.to_json(), "key": key}
            for key, event in reversed(events)
            if camera in ("", event.camera)
            and label in ("", event.label)
            and oldest_s <= event.wall_s < (float("inf") if before_s is None else before_s)
        ]
        if self.store is None:
            return recent

        # The store lacks the events that go on, and those that could not be written.
        stored = self.store.events(before_s, camera, label, limit=_LISTED)
        known = {event["key"] for event in stored}
        both = stored + [event for event in recent if event["key"] not in known]
        return sorted(both, key=lambda event: str(event["ts"]), reverse=True)[:_LISTED]

    def _state(self) -> list[dict[str, Any]]:
        """Return the records from which a new page can be drawn; the lock is held."""
        records: list[Record] = [*self._decisions.values()]
        if self._stats is not None:
            records.append(self._stats)
        return [redact_tree(record.to_json()) for record in records]

    def _keep_event(self, event: Event) -> str:
        """Keep the newest report of an event and return its key; the lock is held."""
        if event.phase == "start" or event.camera not in self._open_keys:
            self._open_keys[event.camera] = f"{self._run}-{next(self._serial)}"
        key = self._open_keys[event.camera]
        if event.phase == "end":
            del self._open_keys[event.camera]

        self._events.pop(key, None)
        self._events[key] = event
        while len(self._events) > _RECENT_EVENTS:
            del self._events[next(iter(self._events))]
        return key

    def _forget_others(self, present: set[str]) -> None:
        """Forget the cameras that are not in the run any more; the lock is held."""
        for known in (self._named, self._pictures, self._decisions, self._open_keys):
            for name in [name for name in known if name not in present]:
                del known[name]


def _is_update(record: Record) -> bool:
    """Return whether a record is of no interest to a page."""
    return isinstance(record, Event) and record.phase == "update"
