"""Watchdog: restart a stage without progress, or end the process so its supervisor restarts it.

The service manager watches this process in turn: it gets a sign of life only while every stage
makes progress (systemd's `WatchdogSec`).

A process that was stopped as a whole (Ctrl-Z, SIGSTOP, a frozen container) is not stuck: the
watchdog notices that its own wait took too long, and gives the stages their patience again.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType

from gasmcast.runtime.service.health import Health
from gasmcast.runtime.service.systemd import SystemdNotifier
from gasmcast.runtime.service.threads import exit_now, start_daemon

__all__ = ["EXIT_STUCK", "Watchdog", "stop_signals"]

_log = logging.getLogger(__name__)
# A restart compiles the engines again: half a minute for a large one, with a limit.
_RESTART_S = 120.0
# Another hang within this many times the patience after a restart ends the process.
_RELAPSE = 3

EXIT_STUCK = 75
"""Exit status of a process that gave up: "try again" (EX_TEMPFAIL of sysexits.h)."""


class Watchdog:
    """Check the health of the process in regular intervals.

    Args:
        health: its status is checked; a stage is late after its `patience_s`.
        restarts: functions that restart a stage, by stage. Each runs on a thread of its own;
            meanwhile the service manager gets signs of life, for two minutes at most. A stage
            without one, or late again within three times the patience, ends the process.
        notifier: connection to the service manager.
        leave: ends the process with a status.
        clock: returns monotonic seconds.
        spawn: starts a function on a thread of the given name.
    """

    def __init__(
        self,
        health: Health,
        restarts: Mapping[str, Callable[[], None]] | None = None,
        *,
        notifier: SystemdNotifier | None = None,
        leave: Callable[[int], None] = exit_now,
        clock: Callable[[], float] = time.monotonic,
        spawn: Callable[[Callable[[], None], str], None] = start_daemon,
    ) -> None:
        self._health = health
        self._restarts = dict(restarts or {})
        self._leave = leave
        self._clock = clock
        self._spawn = spawn
        self.notifier = notifier or SystemdNotifier()
        # By stage: when a restart began, and when the last one was finished.
        self._restarting: dict[str, float] = {}
        self._restarted: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the checks and tell the service manager that the process is ready."""
        self._health.set_ready()
        self.notifier.send("READY=1", "STATUS=Recognizing.")

        # Four checks in the shorter of the service manager's patience and ours.
        patience_s = self._health.patience_s
        every_s = min(patience_s, self.notifier.watchdog_s or patience_s) / 4
        self._thread = threading.Thread(
            target=self._loop, args=(every_s,), name="watchdog", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop the checks; the service manager's own timeout applies from now on."""
        self._health.set_ready(False)
        self.notifier.send("STOPPING=1", "STATUS=Finishing work in progress.")
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2.0)

    def tick(self) -> None:
        """Check once: restart late stages, end the process if that cannot help."""
        status = self._health.status()
        now = self._clock()
        for stage in status.late:
            if self._has_time(stage, now):
                continue
            if self._is_beyond_help(stage, now):
                _log.critical(
                    "%s makes no progress for %.0f s: the process ends, so that its supervisor "
                    "restarts it",
                    stage,
                    status.stages[stage],
                )
                self.notifier.send(f"STATUS=Stuck: {stage}.", "STOPPING=1")
                self._leave(EXIT_STUCK)
                return

            _log.error(
                "%s makes no progress for %.0f s: it is restarted", stage, status.stages[stage]
            )
            self._restarting[stage] = now
            restart = self._restarts[stage]
            self._spawn(partial(self._restart, stage, restart), f"restart-{stage}")

        if all(stage in self._restarting for stage in status.late):
            self.notifier.send("WATCHDOG=1")

    def _has_time(self, stage: str, now: float) -> bool:
        """Return whether a late stage is being restarted, or just was."""
        started = self._restarting.get(stage)
        if started is not None and now - started <= _RESTART_S:
            return True
        return self._since_restart(stage, now) <= self._health.patience_s

    def _is_beyond_help(self, stage: str, now: float) -> bool:
        """Return whether a restart is impossible, takes too long, or did not help."""
        if stage not in self._restarts or stage in self._restarting:
            return True
        return self._since_restart(stage, now) <= _RELAPSE * self._health.patience_s

    def _since_restart(self, stage: str, now: float) -> float:
        return now - self._restarted.get(stage, float("-inf"))

    def _restart(self, stage: str, restart: Callable[[], None]) -> None:
        try:
            restart()
        except Exception:  # noqa: BLE001 - the stage will be late again, and then the process ends
            _log.exception("%s cannot be restarted", stage)
        finally:
            # In this order, or a check in between would restart the stage twice.
            self._restarted[stage] = self._clock()
            del self._restarting[stage]

    def _loop(self, every_s: float) -> None:
        before = self._clock()
        while not self._stop.wait(every_s):
            self._notice_pause(self._clock() - before, every_s)
            self.tick()
            before = self._clock()

    def _notice_pause(self, waited_s: float, every_s: float) -> None:
        """Forgive all stages if the process was stopped during a wait.

        Args:
            waited_s: seconds that the wait really took.
            every_s: seconds that it should have taken.
        """
        # The wait of a busy machine overruns too, but not by as much again.
        paused_s = waited_s - every_s
        if paused_s <= max(1.0, every_s):
            return

        _log.warning("the process was stopped for about %.0f s and goes on", paused_s)
        self._health.resume()
        # No restart of a stage went on meanwhile either.
        for times in (self._restarting, self._restarted):
            for stage in list(times):
                with suppress(KeyError):
                    times[stage] += paused_s


@contextmanager
def stop_signals(
    stop: Callable[[], None], reload: Callable[[], None] | None = None
) -> Iterator[None]:
    """Handle SIGTERM, Ctrl-C and SIGHUP inside the block.

    Only the main thread can handle signals; on another thread this does nothing.

    Args:
        stop: called on the first SIGTERM or Ctrl-C; must return at once, so that work is finished
            in order. A second signal ends the process immediately.
        reload: called on SIGHUP; must return at once. None: the signal keeps its default effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    count = 0

    def handle_stop(number: int, _frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count > 1:
            os._exit(128 + number)
        stop()

    handlers: dict[int, Callable[[int, FrameType | None], None]] = {
        signal.SIGTERM: handle_stop,
        signal.SIGINT: handle_stop,
    }
    # Windows has no SIGHUP.
    if reload is not None and hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = lambda _number, _frame: reload()

    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
