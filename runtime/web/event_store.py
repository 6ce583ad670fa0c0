"""Events with pictures on disk, for a page that is scrolled back (`--keep`).

One SQLite file holds the events of the last hours: times, confidence, and a few small pictures of
each. It is bounded by age and by size. A thread writes, so a slow or full disk delays nothing.
"""

from __future__ import annotations

import json
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError
from gasmcast.runtime.records import Record
from gasmcast.runtime.web.open_events import PICTURE_PX, FinishedEvent, OpenEvents
from gasmcast.runtime.web.small_pictures import jpeg

__all__ = ["EventStore"]

_log = logging.getLogger(__name__)

_WAITING = 256  # events for the thread
_PURGE_EVERY_S = 60.0
_CLOSE_S = 2.0  # for room in the queue
MAX_BYTES = 1_000_000_000
"""Largest size of the file; the oldest events go first."""

_TABLES = """
CREATE TABLE IF NOT EXISTS event (
  id INTEGER PRIMARY KEY, wall_s REAL NOT NULL, camera TEXT NOT NULL, label TEXT NOT NULL,
  record TEXT NOT NULL, curve TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS event_time ON event (wall_s);
CREATE TABLE IF NOT EXISTS picture (
  event INTEGER NOT NULL REFERENCES event (id) ON DELETE CASCADE, number INTEGER NOT NULL,
  time_s REAL NOT NULL, jpeg BLOB NOT NULL, PRIMARY KEY (event, number));
"""


class EventStore:
    """Store of the events of the last hours.

    Args:
        file: SQLite file; it is created if it does not exist.
        keep_s: seconds after which events are removed.
        max_bytes: size beyond which the oldest events are removed.
        wall: seconds since 1970.

    Raises:
        MachineError: the file cannot be written, or is none of ours.
    """

    def __init__(
        self,
        file: Path,
        keep_s: float,
        *,
        max_bytes: int = MAX_BYTES,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.file, self.keep_s, self._max_bytes, self._wall = file, keep_s, max_bytes, wall
        self.trouble = ""
        """Why events are not stored at present; empty when all is well."""
        self._open_events = OpenEvents(self._enqueue)
        self._queue: queue.Queue[FinishedEvent | None] = queue.Queue(_WAITING)

        # Opened here, so that a wrong path is an error at the start.
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._open() as database:
                database.execute("PRAGMA auto_vacuum = FULL")
                database.executescript(_TABLES)
            file.chmod(0o600)  # pictures of people
        except (sqlite3.Error, OSError) as error:
            raise MachineError(
                f"--keep cannot store events in {file} ({error}).",
                "Free some space, or remove the file.",
            ) from None
        self._thread = threading.Thread(target=self._run, name="event-store", daemon=True)
        self._thread.start()

    @property
    def oldest_s(self) -> float:
        """Seconds since 1970 before which events have expired."""
        return self._wall() - self.keep_s

    def write(self, record: Record, key: str = "") -> None:
        """Follow the events of a record's camera; never waits.

        Args:
            record: any record.
            key: of an event: unique across cameras and runs.
        """
        self._open_events.write(record, key)

    def frame(self, camera: str, time_s: float, image: NDArray[np.uint8]) -> None:
        """Keep a small copy of a picture `(H, W, 3)`, twice a second at most."""
        self._open_events.frame(camera, time_s, image)

    def close(self) -> None:
        """Write what waits and end the thread."""
        try:
            self._queue.put(None, timeout=_CLOSE_S)
        except queue.Full:  # the disk hangs, and the thread with it
            return
        self._thread.join(5.0)

    def events(
        self, before_s: float | None = None, camera: str = "", label: str = "", limit: int = 100
    ) -> list[dict[str, Any]]:
        """Return stored events, newest first.

        Args:
            before_s: only events before this time, in seconds since 1970.
            camera: only events of this camera.
            label: only events of this class.
            limit: largest number.
        """
        rows = self._query(
            "SELECT id, record FROM event WHERE wall_s >= ? AND wall_s < ?"
            " AND (? = '' OR camera = ?) AND (? = '' OR label = ?) ORDER BY wall_s DESC LIMIT ?",
            (
                self.oldest_s,
                1e18 if before_s is None else before_s,
                camera,
                camera,
                label,
                label,
                limit,
            ),
        )
        return [_stored(number, record) for number, record in rows]

    def event(self, number: int) -> dict[str, Any] | None:
        """Return an event with `curve` and the times of its pictures; None if it is gone."""
        rows = self._query(
            "SELECT record, curve FROM event WHERE id = ? AND wall_s >= ?", (number, self.oldest_s)
        )
        if not rows:
            return None
        pictures = self._query(
            "SELECT number, time_s FROM picture WHERE event = ? ORDER BY number", (number,)
        )
        record, curve = rows[0]
        listed = [{"number": n, "time_s": time_s} for n, time_s in pictures]
        return _stored(number, record) | {"curve": json.loads(curve), "pictures": listed}

    def picture(self, event: int, number: int) -> bytes | None:
        """Return a picture of an event as JPEG; None if it is gone."""
        rows = self._query(
            "SELECT jpeg FROM picture JOIN event ON event.id = picture.event"
            " WHERE event = ? AND number = ? AND wall_s >= ?",
            (event, number, self.oldest_s),
        )
        return bytes(rows[0][0]) if rows else None

    def _enqueue(self, finished: FinishedEvent) -> None:
        try:
            self._queue.put_nowait(finished)
        except queue.Full:
            self._report("the disk is too slow for the events")

    def _run(self) -> None:
        # Expired events go at the start, too, and while nothing happens: they show people.
        self._purge()
        while True:
            try:
                finished = self._queue.get(timeout=_PURGE_EVERY_S)
            except queue.Empty:
                self._purge()
                continue
            if finished is None:
                return
            try:
                self._insert(finished)
                self.trouble = ""
            except (sqlite3.Error, OSError) as error:
                self._report(f"{self.file}: {error}")

    def _purge(self) -> None:
        """Remove the events that have expired."""
        try:
            with self._open() as database:
                database.execute("DELETE FROM event WHERE wall_s < ?", (self.oldest_s,))
        except (sqlite3.Error, OSError) as error:
            self._report(f"{self.file}: {error}")

    def _insert(self, finished: FinishedEvent) -> None:
        """Write one event, and remove what is too old or too much."""
        event = finished.event
        record = event.to_json() | ({"key": finished.key} if finished.key else {})
        row = (
            event.wall_s,
            event.camera,
            event.label,
            json.dumps(record),
            json.dumps(finished.curve),
        )
        with self._open() as database:
            cursor = database.execute(
                "INSERT INTO event (wall_s, camera, label, record, curve) VALUES (?, ?, ?, ?, ?)",
                row,
            )
            database.executemany(
                "INSERT INTO picture VALUES (?, ?, ?, ?)",
                [
                    (cursor.lastrowid, number, time_s, jpeg(image, PICTURE_PX))
                    for number, (time_s, image) in enumerate(finished.pictures)
                ],
            )
            database.execute("DELETE FROM event WHERE wall_s < ?", (self.oldest_s,))

        # Each round removes the oldest tenth, and the file shrinks with it.
        while self.file.stat().st_size > self._max_bytes:
            with self._open() as database:
                (count,) = database.execute("SELECT count(*) FROM event").fetchone()
                if count <= 1:
                    return
                database.execute(
                    "DELETE FROM event WHERE id IN (SELECT id FROM event ORDER BY wall_s LIMIT ?)",
                    (max(1, count // 10),),
                )

    def _report(self, reason: str) -> None:
        """Log once that events are not stored."""
        if not self.trouble:
            _log.error("an event was not stored: %s", reason)
        self.trouble = reason

    def _query(self, sql: str, values: tuple[object, ...]) -> list[Any]:
        try:
            with self._open() as database:
                return database.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            self._report(f"{self.file}: {error}")
            return []

    def _open(self) -> _Connection:
        database = _Connection(self.file, timeout=5.0)
        database.connection.execute("PRAGMA foreign_keys = ON")
        return database


def _stored(number: int, record: str) -> dict[str, Any]:
    """Return a stored event; those of earlier versions get a key here."""
    known: dict[str, Any] = json.loads(record)
    return {"id": number, "key": f"stored-{number}", **known}


class _Connection:
    """SQLite connection of one statement block: committed, or rolled back, and closed."""

    def __init__(self, file: Path, timeout: float) -> None:
        self.connection = sqlite3.connect(file, timeout=timeout)

    def __enter__(self) -> sqlite3.Connection:
        return self.connection

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.connection.commit()
            else:
                self.connection.rollback()
        finally:
            self.connection.close()
