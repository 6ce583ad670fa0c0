"""A sink behind its own queue and thread, so that a slow or broken one does not delay the others.

Starts and ends of events and notices are kept until they are written. Decisions, updates,
statistics and pictures are dropped, oldest first, when the queue is full, and counted by cause. A
sink that raises is retried with the same record, less and less often, unless it refuses the record
itself; one that breaks in an unforeseen way is created again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import GasmcastError
from gasmcast.runtime.records import Record, RefusedError, Sink
from gasmcast.runtime.service.backoff import Backoff
from gasmcast.runtime.service.secrets import redact
from gasmcast.runtime.service.threads import DaemonThread
from gasmcast.runtime.sinks.pending import Pending, Picture, camera_of, must_arrive

__all__ = ["QueuedSink", "QueuedViewSink"]

_log = logging.getLogger(__name__)
_MAX_BREAKS = 5  # times that one record may break a sink before it is given up
_HANG_S = 30.0  # for one record; webhooks and brokers time out well before


class QueuedSink:
    """A sink's queue and thread.

    Args:
        name: for statistics and logs.
        make: creates the sink. It is called here once, so that a wrong setting is an error at the
            start, and again when the sink breaks.
        room: largest number of waiting items that may be dropped.
        keep: largest number of waiting items that must arrive. Only memory requires a limit; what
            is lost beyond it (cause `overflow`) is logged as an error.
        lossless: names of sources that are files. Their records and pictures are dropped only while
            the sink is in trouble; `wait_for_room` makes their readers wait instead.
        backoff: pauses of a sink that fails.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Sink],
        *,
        room: int = 256,
        keep: int = 100_000,
        lossless: Collection[str] = (),
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.lossless = lossless
        self._make, self._room, self._keep, self._clock = make, room, keep, clock
        self._backoff = backoff or Backoff()
        self._sink: Sink | None = make()
        # Only a sink that filters has `wants`.
        self._wants: Callable[[Record], bool] = getattr(self._sink, "wants", lambda _: True)

        # Guards the fields below.
        self._changed = threading.Condition()
        self._items = Pending()
        self._counts: Counter[str] = Counter()
        self._closing = False
        self._in_progress: Record | Picture | None = None  # taken by the thread, not yet done

        # Written by the thread alone.
        self._trouble = ""
        self._busy_since: float | None = None
        self._thread = DaemonThread(self._run, f"sink-{name}")
        self._thread.start()

    def write(self, record: Record) -> None:
        """Enqueue a record. Never raises and never waits: one thread serves all cameras."""
        with self._changed:
            # A record that the sink does not want neither takes room nor counts as lost.
            if self._wants(record):
                self._put(record)

    def wait_for_room(self, camera: str, timeout_s: float = 0.5) -> bool:
        """Wait until a file's reader may continue, at most `timeout_s`; cameras always may.

        Frames that were read before still come: the queue then exceeds `room` by what the pipeline
        held.
        """

        def has_room() -> bool:
            return self._items.droppable < self._room or self._closing or bool(self.trouble)

        with self._changed:
            return camera not in self.lossless or self._changed.wait_for(has_room, timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits, for at most `timeout_s`, then close the sink.

        What remains is counted as `closed`, including the record that a hanging sink is writing:
        nobody knows whether that one arrives.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

        with self._changed:
            unwritten = list(self._items)
            if self._in_progress is not None:
                unwritten.append(self._in_progress)
            if unwritten:
                _log.error(
                    "sink %s: closed with %d records unwritten, %d of them events or notices",
                    self.name,
                    len(unwritten),
                    sum(must_arrive(item) for item in unwritten),
                )
                self._counts["closed"] += len(unwritten)
                self._items.clear()

    def stats(self) -> dict[str, int]:
        """Return `written`, `waiting`, `retries`, `restarts`, and drops by cause.

        Causes: `full`, `error`, `refused`, `poison`, `overflow`, `closed`.
        """
        with self._changed:
            return {"written": 0, **dict(sorted(self._counts.items())), "waiting": len(self._items)}

    @property
    def trouble(self) -> str:
        """Why the sink cannot write now, or that it hangs; empty when all is well."""
        busy_since = self._busy_since  # read once: the thread may set it to None meanwhile
        if self._trouble or busy_since is None:
            return self._trouble
        busy_s = self._clock() - busy_since
        return f"one record has been under way for {busy_s:.0f} s" if busy_s > _HANG_S else ""

    def _put(self, item: Record | Picture) -> None:
        """Enqueue an item and drop what exceeds the limits; the lock is held."""
        # The thread may have ended already, so nothing would write it.
        if self._closing:
            self._counts["closed"] += 1
            return

        self._items.append(item)
        if not must_arrive(item):
            while self._items.droppable > self._room and self._drop(self._may_drop, cause="full"):
                pass
        elif self._items.required > self._keep:
            self._drop(must_arrive, cause="overflow")
            _log.error(
                "sink %s: more than %d events and notices wait; the oldest is lost",
                self.name,
                self._keep,
            )

        self._changed.notify_all()

    def _may_drop(self, item: Record | Picture) -> bool:
        if must_arrive(item):
            return False
        return camera_of(item) not in self.lossless or bool(self.trouble)

    def _drop(self, condition: Callable[[Record | Picture], bool], cause: str) -> bool:
        if not self._items.drop_oldest(condition):
            return False
        self._counts[cause] += 1
        return True

    # The methods below run on the sink's thread.

    def _run(self) -> None:
        while True:
            with self._changed:
                self._in_progress = None
                while not self._items and not self._closing:
                    self._changed.wait(1.0)
                if not self._items:
                    break
                item = self._in_progress = self._items.popleft()
                self._changed.notify_all()

            # Without the lock: writing may take long.
            self._busy_since = self._clock()
            self._deliver(item)
            self._busy_since = None

        if self._sink is not None:
            try:
                self._sink.close()
            except Exception as error:  # noqa: BLE001 - the sink is over in any case
                _log.error("sink %s: closing failed: %s", self.name, redact(error))

    def _deliver(self, item: Record | Picture) -> None:
        """Write an item, with retries, until it is written or may be given up."""
        breaks = 0
        while True:
            try:
                if self._sink is None:
                    self._sink = self._make()
                self._pass_on(self._sink, item)
            except RefusedError as error:
                _log.error("sink %s: %s", self.name, redact(error))
                self._finished("refused")
                return
            except GasmcastError as error:
                self._set_trouble(redact(error))
                self._counts["retries"] += 1
            except Exception as error:  # noqa: BLE001 - a bug in one sink must not stop the others
                self._set_trouble(f"broke ({type(error).__name__}: {redact(error)}), restarted")
                self._counts["restarts"] += 1
                self._discard_sink()
                breaks += 1
            else:
                self._finished("written")
                return

            # An item that may be dropped is tried once; one that must arrive, until it has broken
            # the sink too often.
            if breaks >= _MAX_BREAKS or not must_arrive(item):
                self._counts["poison" if breaks >= _MAX_BREAKS else "error"] += 1
                if must_arrive(item):
                    _log.error(
                        "sink %s: gave up on a record that broke it %d times", self.name, breaks
                    )
                self._pause()
                return
            if self._pause():
                self._counts["closed"] += 1
                _log.error("sink %s: closed before an event could be written", self.name)
                return

    def _finished(self, cause: str) -> None:
        """Count an item that the sink is done with; the sink works."""
        self._counts[cause] += 1
        self._backoff.good(self._clock())
        if self._trouble:
            _log.warning("sink %s: works again", self.name)
            self._trouble = ""

    def _pass_on(self, sink: Sink, item: Record | Picture) -> None:
        assert not isinstance(item, tuple)
        sink.write(item)

    def _pause(self) -> bool:
        """Wait before the next attempt.

        Returns:
            True if the queue was closing already, so the attempt before this was the last one.
        """
        was_closing = self._closing
        until = self._clock() + self._backoff.bad(self._clock())
        with self._changed:
            while not self._closing and (left := until - self._clock()) > 0:
                self._changed.wait(min(left, 1.0))
        return was_closing

    def _set_trouble(self, trouble: str) -> None:
        # Log each cause once, not at every attempt.
        if trouble != self._trouble:
            _log.warning("sink %s: %s", self.name, trouble)
        self._trouble = trouble

    def _discard_sink(self) -> None:
        # The next attempt creates a sink, even if closing this one fails.
        broken, self._sink = self._sink, None
        try:
            if broken is not None:
                broken.close()
        except Exception as error:  # noqa: BLE001 - it is broken; a failure to close is expected
            _log.debug("sink %s: closing the broken one failed: %s", self.name, redact(error))


class QueuedViewSink(QueuedSink):
    """A queue for a sink that also takes pictures, in order with the records.

    Keep its `room` small: it holds whole pictures.
    """

    def frame(self, camera: str, time_s: float, image: NDArray[np.uint8]) -> None:
        """Enqueue a picture `(H, W, 3)` RGB."""
        with self._changed:
            self._put((camera, time_s, image))

    def _pass_on(self, sink: Sink, item: Record | Picture) -> None:
        if isinstance(item, tuple):
            sink.frame(*item)  # type: ignore[attr-defined] # a View
        else:
            sink.write(item)
