"""Sees to it that the process works or ends: a stage without progress is restarted, then the whole process is left to its supervisor.

The service manager in turn watches this: it is told of life only while every stage makes progress (systemd's `WatchdogSec`).
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import FrameType

from gasmcast.runtime.service.health import Health
from gasmcast.runtime.service.systemd import Notifier
from gasmcast.runtime.service.threads import leave, start_daemon

__all__ = ["EXIT_STUCK", "Watchdog", "stop_signals"]

_log = logging.getLogger(__name__)
_RESTART_S = (
    120.0  # engines are compiled again meanwhile: half a minute for a large one, not for ever
)
EXIT_STUCK = 75
"""The exit status of a process that gave itself up: "try again" (EX_TEMPFAIL of sysexits.h)."""


class Watchdog:
    """Looks at the health of the process.

    Args:
        health: whose verdict counts; a stage is late after its `patience_s`.
        restarts: by stage, what starts it anew, on a thread of its own: the service manager is told of life meanwhile, for two minutes at
            most. A stage that has none, or is late again within three times the patience after it, ends the process.
        notifier: the line to the service manager.
        leave: ends the process.
        clock: monotonic seconds.
        spawn: starts a thread.
    """

    def __init__(
        self,
        health: Health,
        restarts: Mapping[str, Callable[[], None]] | None = None,
        *,
        notifier: Notifier | None = None,
        leave: Callable[[int], None] = leave,
        clock: Callable[[], float] = time.monotonic,
        spawn: Callable[[Callable[[], None], str], None] = start_daemon,
    ) -> None:
        self._health, self._restarts, self._leave, self._clock, self._spawn = (
            health,
            dict(restarts or {}),
            leave,
            clock,
            spawn,
        )
        self.notifier = notifier or Notifier()
        self._restarting: dict[str, float] = {}  # stage -> since when
        self._restarted: dict[str, float] = {}  # stage -> when that was done
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look, four times in the shorter of the service manager's patience and ours; tell it that we are ready."""
        self._health.set_ready()
        self.notifier.send("READY=1", "STATUS=Recognizing.")
        every = (
            min(self._health.patience_s, self.notifier.watchdog_s or self._health.patience_s) / 4
        )
        self._thread = threading.Thread(
            target=self._look, args=(every,), name="watchdog", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """The end has been ordered: say so. From now on the service manager's own time-out counts."""
        self._health.set_ready(False)
        self.notifier.send("STOPPING=1", "STATUS=Finishing what is under way.")
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2.0)

    def tick(self) -> None:
        """One look."""
        verdict = self._health.verdict()
        now = self._clock()
        for stage in verdict.late:
            begun = self._restarting.get(stage)
            since = now - self._restarted.get(stage, float("-inf"))
            if since <= self._health.patience_s or (
                begun is not None and now - begun <= _RESTART_S
            ):
                continue  # it is being restarted, or just was: it gets its time
            restart = self._restarts.get(stage)
            if restart is None or begun is not None or since <= 3 * self._health.patience_s:
                _log.critical(
                    "%s makes no progress for %.0f s: the process ends, so that its supervisor starts it anew",
                    stage,
                    verdict.stages[stage],
                )
                self.notifier.send(f"STATUS=Stuck: {stage}.", "STOPPING=1")
                self._leave(EXIT_STUCK)
                return
            _log.error(
                "%s makes no progress for %.0f s: it is restarted", stage, verdict.stages[stage]
            )
            self._restarting[stage] = now
            self._spawn(partial(self._restart, stage, restart), f"restart-{stage}")
        if all(stage in self._restarting for stage in verdict.late):
            self.notifier.send("WATCHDOG=1")

    def _restart(self, stage: str, restart: Callable[[], None]) -> None:
        try:
            restart()
        except Exception:  # noqa: BLE001 - it will be late again, and then the process ends
            _log.exception("%s cannot be restarted", stage)
        finally:
            self._restarted[stage] = (
                self._clock()
            )  # first, or a look in between would restart it twice
            del self._restarting[stage]

    def _look(self, every_s: float) -> None:
        while not self._stop.wait(every_s):
            self.tick()


@contextmanager
def stop_signals(
    stop: Callable[[], None], renew: Callable[[], None] | None = None
) -> Iterator[None]:
    """Within this, SIGTERM and Ctrl-C call `stop` (which must return at once) and work is finished in order; a second one ends it hard.

    SIGHUP calls `renew`, which must return at once too, where there is one. Only the main thread can take signals; elsewhere this does
    nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    count = 0

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count > 1:
            os._exit(128 + number)
        stop()

    handlers: dict[int, Callable[[int, FrameType | None], None]] = {
        signal.SIGTERM: handle,
        signal.SIGINT: handle,
    }
    if renew is not None and hasattr(signal, "SIGHUP"):  # Windows has none
        handlers[signal.SIGHUP] = lambda _number, _frame: renew()
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
