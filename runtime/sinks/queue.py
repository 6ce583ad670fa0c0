"""A sink behind a queue and a thread of its own, so that a slow or broken one costs the others nothing.

What must arrive, the start and end of events and notices, is kept until it has; decisions, updates, statistics and pictures make
room, oldest first, and what is dropped is counted by cause. A sink that raises is tried again with the same record, less and less
often, unless the record itself is refused; one that breaks in an unforeseen way is made anew.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import GasmcastError
from gasmcast.runtime.records import Event, Notice, Record, RefusedError, Sink
from gasmcast.runtime.service.backoff import Backoff
from gasmcast.runtime.service.secrets import redact
from gasmcast.runtime.service.threads import DaemonThread

__all__ = ["Picture", "Queued", "QueuedView", "must_arrive"]

_log = logging.getLogger(__name__)
_POISON = 5  # times that one record may break a sink in an unforeseen way before it is given up

_HANGS_S = 30.0  # one record for longer: webhooks and brokers time out well before

Picture = tuple[str, float, NDArray[np.uint8]]
"""`(camera, time_s, image)`."""


def must_arrive(item: Record | Picture) -> bool:
    """Whether a sink may never drop it: starts and ends of events, and notices."""
    return isinstance(item, Notice) or (isinstance(item, Event) and item.phase != "update")


class Queued:
    """A sink's queue and thread.

    Args:
        name: in statistics and logs.
        make: makes the sink; called here once, so that a wrong setting is an error at the start, and again when the sink breaks.
        room: items that may be dropped wait in no greater number than this.
        keep: items that must arrive wait in no greater number than this; only the memory of the machine asks for a bound at all, and
            what is lost there (cause `overflow`) is logged as an error.
        lossless: cameras that are files: their records and pictures are dropped only while the sink is in trouble. `wait_for_room` makes
            their readers wait instead.
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
        self._wants: Callable[[Record], bool] = getattr(
            self._sink, "wants", lambda _: True
        )  # of a `Choosy` one
        self._items: deque[Record | Picture] = deque()
        self._loose = 0  # of them may be dropped
        self._counts: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._closing = False
        self._trouble = ""
        self._busy_since: float | None = None
        self._in_hand: Record | Picture | None = (
            None  # what the thread has taken and is not done with
        )
        self._thread = DaemonThread(self._run, f"sink-{name}")
        self._thread.start()

    def write(self, record: Record) -> None:
        """Take a record; never raises, never waits: cameras and files are decided by one thread."""
        with self._changed:
            if self._wants(record):
                self._put(record)

    def wait_for_room(self, camera: str, timeout_s: float = 0.5) -> bool:
        """Whether a file's reader may go on, after waiting for that no longer than this; cameras always may.

        What was read before still comes: the queue then holds more than `room`, by as much as the pipeline held.
        """

        def free() -> bool:
            return self._loose < self._room or self._closing or bool(self.trouble)

        with self._changed:
            return camera not in self.lossless or self._changed.wait_for(free, timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits, as far as that goes in the time there is, then close the sink.

        What stays behind is counted `closed`, with what a sink that hangs has in hand: nobody knows whether that arrives.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        with self._changed:
            left = [*self._items, *([] if self._in_hand is None else [self._in_hand])]
            if left:
                lost = sum(must_arrive(item) for item in left)
                _log.error(
                    "sink %s: closed with %d records unwritten, %d of them events or notices",
                    self.name,
                    len(left),
                    lost,
                )
                self._counts["closed"] += len(left)
                self._items.clear()

    def stats(self) -> dict[str, int]:
        """`written`, `waiting`, `retries`, `restarts`; and dropped by cause: `full`, `error`, `refused`, `poison`, `overflow`, `closed`."""
        with self._changed:
            return {"written": 0, **dict(sorted(self._counts.items())), "waiting": len(self._items)}

    @property
    def trouble(self) -> str:
        """What keeps it from writing now, or that it hangs; empty when all is well."""
        since = self._busy_since
        if not self._trouble and since is not None and (busy := self._clock() - since) > _HANGS_S:
            return f"one record has been under way for {busy:.0f} s"
        return self._trouble

    def _put(self, item: Record | Picture) -> None:
        if self._closing:
            self._counts["closed"] += 1
            return
        self._items.append(item)
        if must_arrive(item):
            if len(self._items) - self._loose > self._keep:
                self._drop(must_arrive, cause="overflow")
                _log.error(
                    "sink %s: more than %d events and notices wait; the oldest is lost",
                    self.name,
                    self._keep,
                )
        else:
            self._loose += 1
            while self._loose > self._room and self._drop(self._may_go, cause="full"):
                pass
        self._changed.notify_all()

    def _may_go(self, item: Record | Picture) -> bool:
        camera = item[0] if isinstance(item, tuple) else item.camera
        return not must_arrive(item) and (camera not in self.lossless or bool(self.trouble))

    def _drop(self, which: Callable[[Record | Picture], bool], cause: str) -> bool:
        """The oldest of these goes; False when there is none."""
        where = next((i for i, item in enumerate(self._items) if which(item)), None)
        if where is None:
            return False
        self._loose -= not must_arrive(self._items[where])
        del self._items[where]
        self._counts[cause] += 1
        return True

    # The thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._in_hand = None
                while not self._items and not self._closing:
                    self._changed.wait(1.0)
                if not self._items:
                    break
                item = self._in_hand = self._items.popleft()
                self._loose -= not must_arrive(item)
                self._changed.notify_all()
            self._busy_since = self._clock()
            self._deliver(item)
            self._busy_since = None
        if self._sink is not None:
            try:
                self._sink.close()
            except Exception as error:  # noqa: BLE001 - it is over anyway
                _log.error("sink %s: closing failed: %s", self.name, redact(error))

    def _deliver(self, item: Record | Picture) -> None:
        """Until it is written, or may be given up."""
        broke = 0
        while True:
            try:
                if self._sink is None:
                    self._sink = self._make()
                self._pass_on(self._sink, item)
            except RefusedError as error:
                _log.error("sink %s: %s", self.name, redact(error))
                self._is_through("refused")
                return
            except GasmcastError as error:
                self._say(redact(error))
                self._counts["retries"] += 1
            except Exception as error:  # noqa: BLE001 - whatever a sink does, the others go on
                self._say(f"broke ({type(error).__name__}: {redact(error)}), made anew")
                self._counts["restarts"] += 1
                self._discard()
                broke += 1
            else:
                self._is_through("written")
                return
            if broke >= _POISON or not must_arrive(item):
                self._counts["poison" if broke >= _POISON else "error"] += 1
                if must_arrive(item):
                    _log.error(
                        "sink %s: gave up on a record that broke it %d times", self.name, broke
                    )
                self._pause()
                return
            if self._pause():
                self._counts["closed"] += 1
                _log.error("sink %s: closed before an event could be written", self.name)
                return

    def _is_through(self, cause: str) -> None:
        """The sink is done with a record and takes the next."""
        self._counts[cause] += 1
        self._backoff.good(self._clock())
        if self._trouble:
            _log.warning("sink %s: works again", self.name)
            self._trouble = ""

    def _pass_on(self, sink: Sink, item: Record | Picture) -> None:
        assert not isinstance(item, tuple)
        sink.write(item)

    def _pause(self) -> bool:
        """Wait before the next attempt; True when the queue closes meanwhile and one more attempt was made in vain."""
        was_closing = self._closing
        until = self._clock() + self._backoff.bad(self._clock())
        with self._changed:
            while not self._closing and (left := until - self._clock()) > 0:
                self._changed.wait(min(left, 1.0))
        return was_closing

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.warning("sink %s: %s", self.name, trouble)
        self._trouble = trouble

    def _discard(self) -> None:
        broken, self._sink = self._sink, None
        try:
            if broken is not None:
                broken.close()
        except Exception as error:  # noqa: BLE001
            _log.debug("sink %s: closing the broken one failed: %s", self.name, redact(error))


class QueuedView(Queued):
    """The same for a sink that takes pictures too, in order with the records. Keep its `room` small: it holds whole pictures."""

    def frame(self, camera: str, time_s: float, image: NDArray[np.uint8]) -> None:
        """Take a picture."""
        with self._changed:
            self._put((camera, time_s, image))

    def _pass_on(self, sink: Sink, item: Record | Picture) -> None:
        if isinstance(item, tuple):
            sink.frame(*item)  # type: ignore[attr-defined] # a View
        else:
            sink.write(item)
