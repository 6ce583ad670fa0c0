"""Dynamic batching: rows of several requests go through an engine together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

from numpy.typing import NDArray

from gasmcast.errors import StageError
from gasmcast.runtime.engines import join_batches

__all__ = ["Batcher", "Feeds"]

Feeds = Mapping[str, NDArray[Any]]
"""Inputs or outputs by name, all with the same number of rows."""


class _Waiting(NamedTuple):
    """Rows of one request."""

    feeds: Feeds
    rows: int
    since: float
    future: Future[dict[str, NDArray[Any]]]


class Batcher:
    """Thread that collects rows and runs an engine on them; the engine has no other user.

    Args:
        run: computes outputs from feeds.
        max_rows: rows of one batch.
        delay_s: how long the first rows of a batch wait for others while the engine is idle.
        name: name of the thread.
    """

    def __init__(
        self,
        run: Callable[[Feeds], dict[str, NDArray[Any]]],
        *,
        max_rows: int,
        delay_s: float,
        name: str,
    ) -> None:
        self.max_rows = max_rows
        self.batches = self.rows = 0
        self._run = run
        self._delay_s = delay_s
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of rows that wait."""
        with self._changed:
            return sum(item.rows for item in self._waiting)

    def submit(self, feeds: Feeds) -> Future[dict[str, NDArray[Any]]]:
        """Queue rows; the future gets their outputs.

        Args:
            feeds: at most `max_rows` rows.

        Raises:
            StageError: the batcher is closed.
        """
        rows = len(next(iter(feeds.values())))
        future: Future[dict[str, NDArray[Any]]] = Future()
        with self._changed:
            if self._closing:
                raise StageError("The server is stopping.")
            self._waiting.append(_Waiting(feeds, rows, time.monotonic(), future))
            self._changed.notify_all()
        return future

    def close(self, timeout_s: float = 30.0) -> None:
        """Finish what waits, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _loop(self) -> None:
        while batch := self._take():
            # A client that gave up has cancelled its future.
            batch = [item for item in batch if item.future.set_running_or_notify_cancel()]
            if not batch:
                continue
            try:
                outputs = self._run(join_batches([item.feeds for item in batch]))
            except BaseException as error:  # noqa: BLE001 - each request reports it
                for item in batch:
                    item.future.set_exception(error)
                continue

            self.batches += 1
            start = 0
            for item in batch:
                stop = start + item.rows
                item.future.set_result({k: value[start:stop] for k, value in outputs.items()})
                start = stop
            self.rows += start

    def _take(self) -> list[_Waiting]:
        """Wait for rows and return a batch; an empty list at the end."""
        with self._changed:
            while not self._waiting:
                if self._closing:
                    return []
                self._changed.wait()

            # Others may come while the first rows wait; a full batch starts at once.
            until = self._waiting[0].since + self._delay_s
            while not self._closing and sum(item.rows for item in self._waiting) < self.max_rows:
                left_s = until - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)

            batch = [self._waiting.popleft()]
            rows = batch[0].rows
            while self._waiting and rows + self._waiting[0].rows <= self.max_rows:
                batch.append(self._waiting.popleft())
                rows += batch[-1].rows
            return batch
