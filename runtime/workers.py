"""The threads of a pipeline's stages: what each holds, since when its engine computes, and how one that hangs is given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from gasmcast.errors import MachineError, StageError
from gasmcast.runtime.camera.backlog import Mark, Waiting
from gasmcast.runtime.camera.lane import Lane
from gasmcast.runtime.context import House
from gasmcast.runtime.service.threads import Daemon

__all__ = ["Work", "Workers"]


@dataclass(eq=False)
class Work:
    """What a stage holds, and since when."""

    since: float
    held: list[tuple[Lane, Waiting]]


class Workers:
    """One thread a stage. A thread that hangs in native code cannot be ended: it is given up, and what it brings later is thrown away.

    Args:
        house: its lock guards what the stages hold; it is told to stop when one fails.
        loops: by stage, what its thread does until the house stops.
    """

    def __init__(self, house: House, loops: Mapping[str, Callable[[], None]]) -> None:
        self.failure: BaseException | None = None
        self._house, self._loops = house, loops
        self._threads: dict[str, threading.Thread] = {}
        self._working: dict[str, Work] = {}

    def start(self) -> None:
        """Start every stage."""
        for stage in self._loops:
            self._spawn(stage)

    def join(self, timeout_s: float) -> bool:
        """Wait until every stage has ended; False: one hangs, or the time was up, and it is given up."""
        until = time.monotonic() + timeout_s
        for thread in list(self._threads.values()):
            thread.join(max(0.0, until - time.monotonic()))
        with self._house.changed:
            hang = [stage for stage, thread in self._threads.items() if thread.is_alive()]
            for stage in hang:
                del self._threads[stage]
        return not hang

    def mine(self, stage: str) -> bool:
        """Whether the calling thread still is the stage, and has not been given up."""
        return self._threads.get(stage) is threading.current_thread()

    def goes_on(self, stage: str) -> bool:
        """The same, and no stage has failed."""
        return self.failure is None and self.mine(stage)

    def begin(self, stage: str, since: float, held: list[tuple[Lane, Waiting]]) -> None:
        """A stage has taken something."""
        self._working[stage] = Work(since, held)

    def done(self, stage: str) -> bool:
        """What the stage held is done; False when the calling thread was given up, and with it that."""
        with self._house.changed:
            if not self.mine(stage):
                return False
            del self._working[stage]
            return True

    def work(self, stage: str) -> Work | None:
        """What a stage holds now."""
        return self._working.get(stage)

    def renew(self, stage: str, stuck: Work | None) -> bool:
        """Give up a stage with what it holds and start it anew; False, if it holds something else than `stuck` by now or has ended."""
        with self._house.changed:
            if stuck is None or self._working.get(stage) is not stuck or stage not in self._threads:
                return False
            del self._working[stage]
            self._count_lost(stage, stuck)
            self._spawn(stage)
        return True

    def _count_lost(self, stage: str, work: Work) -> None:
        """Count the segments of a stage that is given up; marks that the encoder held go back, or a lane would never end."""
        for lane, waiting in reversed(work.held):
            if not isinstance(waiting.item, Mark):
                lane.drop("restart", waiting.item)
            elif stage == "encode":
                lane.pending.appendleft(waiting)

    def _spawn(self, stage: str) -> None:
        thread = self._threads[stage] = Daemon(partial(self._guard, stage), f"gasmcast-{stage}")
        thread.start()

    def _guard(self, stage: str) -> None:
        try:
            self._loops[stage]()
        except BaseException as error:  # noqa: BLE001 - a stage must not die in silence: the pipeline's `wait` raises it
            if not self.mine(stage):
                return
            with self._house.changed:
                # The machine could do it a moment ago: other than at the start, trying again can help.
                self.failure = (
                    StageError(error.what, error.hint) if isinstance(error, MachineError) else error
                )
                self._house.stopping = True
                self._house.changed.notify_all()
