"""Threads of a pipeline's stages, their current work, and the replacement of hung ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from gasmcast.errors import MachineError, StageError
from gasmcast.runtime.camera.backlog import Mark
from gasmcast.runtime.camera.lane import LaneItem
from gasmcast.runtime.context import RuntimeContext
from gasmcast.runtime.service.threads import DaemonThread

__all__ = ["Work", "Workers"]


@dataclass(eq=False)
class Work:
    """Current work of a stage."""

    since: float
    """Monotonic seconds at which the stage took its items."""
    items: Sequence[LaneItem]


class Workers:
    """One thread per stage.

    A thread that hangs in native code cannot be ended. It is replaced, and its later results are
    discarded.

    Args:
        context: its lock guards the work of the stages; set to stop when a stage fails.
        loops: by stage, the function that its thread runs until the context stops.
    """

    def __init__(self, context: RuntimeContext, loops: Mapping[str, Callable[[], None]]) -> None:
        self.failure: BaseException | None = None
        """Error of the first stage that failed."""
        self._context = context
        self._loops = loops
        self._threads: dict[str, threading.Thread] = {}
        self._work: dict[str, Work] = {}

    def start(self) -> None:
        """Start the thread of every stage."""
        for stage in self._loops:
            self._spawn(stage)

    def join(self, timeout_s: float) -> bool:
        """Wait until every stage has ended; return False if a thread was abandoned instead."""
        deadline = time.monotonic() + timeout_s
        for thread in list(self._threads.values()):
            thread.join(max(0.0, deadline - time.monotonic()))

        # Abandoned threads lose their stage: `is_current` is False for them from now on.
        with self._context.changed:
            hung = [stage for stage, thread in self._threads.items() if thread.is_alive()]
            for stage in hung:
                del self._threads[stage]
        return not hung

    def is_current(self, stage: str) -> bool:
        """Return whether the calling thread runs the stage and has not been replaced."""
        return self._threads.get(stage) is threading.current_thread()

    def goes_on(self, stage: str) -> bool:
        """Return whether the calling thread runs the stage and no stage has failed."""
        return self.failure is None and self.is_current(stage)

    def begin(self, stage: str, since: float, items: Sequence[LaneItem]) -> None:
        """Note that a stage took items at `since` monotonic seconds."""
        self._work[stage] = Work(since, items)

    def done(self, stage: str) -> bool:
        """Mark the current work of the stage as finished.

        Returns:
            False if the calling thread was replaced after hanging; its result must be discarded.
        """
        with self._context.changed:
            if not self.is_current(stage):
                return False
            del self._work[stage]
            return True

    def work(self, stage: str) -> Work | None:
        """Return the current work of a stage."""
        return self._work.get(stage)

    def replace(self, stage: str, stuck: Work | None) -> bool:
        """Abandon a stage's thread with its work, and start a new thread.

        Args:
            stage: name of the stage.
            stuck: work that was seen to hang.

        Returns:
            False if the stage has moved on from `stuck` or has ended.
        """
        # Under the lock the stage cannot finish its work at the same moment.
        with self._context.changed:
            if stuck is None or self._work.get(stage) is not stuck or stage not in self._threads:
                return False

            del self._work[stage]
            self._count_lost(stage, stuck)
            self._spawn(stage)
        return True

    def _count_lost(self, stage: str, work: Work) -> None:
        """Count the segments of abandoned work, and put marks back.

        A mark that the encoder took must not be lost, or its lane would never end.
        """
        # From the back, so that the marks return in their order.
        for lane, pending in reversed(work.items):
            if not isinstance(pending.item, Mark):
                lane.drop("restart", pending.item)
            elif stage == "encode":
                lane.pending.appendleft(pending)

    def _spawn(self, stage: str) -> None:
        thread = DaemonThread(partial(self._guard, stage), f"gasmcast-{stage}")
        self._threads[stage] = thread
        thread.start()

    def _guard(self, stage: str) -> None:
        """Run the loop of a stage; on an error stop the pipeline, whose `wait` raises it."""
        try:
            self._loops[stage]()
        except BaseException as error:  # noqa: BLE001 - a stage must not die silently
            if not self.is_current(stage):
                return

            # The engine worked before, so unlike at the start a restart of the process may help.
            if isinstance(error, MachineError):
                error = StageError(error.what, error.hint)

            with self._context.changed:
                self.failure = error
                self._context.stopping = True
                self._context.changed.notify_all()
