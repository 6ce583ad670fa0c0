"""Loops of the pipeline's threads: encoder stage, head stage and maintenance."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable

from gasmcast.runtime.camera.lane import LaneItem
from gasmcast.runtime.context import RuntimeContext
from gasmcast.runtime.encode_stage import EncodedBatch
from gasmcast.runtime.workers import Workers

__all__ = ["StageThreads"]

_TICK_S = 0.25
# A waiting thread checks this often whether it was replaced or the pipeline stops.
_POLL_S = 0.5


class StageThreads:
    """Threads of a pipeline, with a bounded queue between encoder and head.

    Args:
        context: state that all lanes share.
        pick: takes what is ready from the backlogs; called with the context's lock held.
        encode: runs the encoder stage.
        fuse: runs the head stage; takes a batch and whether its thread is still current.
        maintain: updates service level and statistics; called several times a second.
    """

    def __init__(
        self,
        context: RuntimeContext,
        *,
        pick: Callable[[], list[LaneItem]],
        encode: Callable[[list[LaneItem]], EncodedBatch],
        fuse: Callable[[EncodedBatch, Callable[[], bool]], None],
        maintain: Callable[[], None],
    ) -> None:
        self.busy_s = 0.0
        """Seconds that the encoder stage has computed."""
        self._context = context
        self._pick = pick
        self._encode = encode
        self._fuse = fuse
        self._maintain = maintain

        # One batch between the stages: the encoder works on the next while the head runs.
        self._batches: queue.Queue[EncodedBatch | None] = queue.Queue(maxsize=1)
        self.workers = Workers(
            context,
            {
                "encode": self._encode_loop,
                "fuse": self._fuse_loop,
                "maintain": self._maintenance_loop,
            },
        )

    def _encode_loop(self) -> None:
        while picked := self._wait_for_items():
            self.workers.begin("encode", self._context.clock(), picked)
            batch = self._encode(picked)

            # A thread that was replaced while its engine hung must not hand on an old batch.
            if not self.workers.done("encode"):
                return
            self.busy_s += batch.encoded - batch.started
            self._put(batch)

        # The end of the encoder stage ends the head stage, too.
        self._put(None)

    def _wait_for_items(self) -> list[LaneItem]:
        """Wait for segments or marks; return an empty list when the pipeline stops."""
        changed = self._context.changed
        with changed:
            while True:
                picked = self._pick()
                if picked or self._context.stopping:
                    # Readers of files wait for the room that was made.
                    changed.notify_all()
                    return picked
                changed.wait(_POLL_S)

    def _put(self, batch: EncodedBatch | None) -> None:
        """Hand a batch to the head's thread, unless this thread is replaced while it waits."""
        while self.workers.goes_on("encode"):
            try:
                self._batches.put(batch, timeout=_POLL_S)
            except queue.Full:
                continue
            return

    def _fuse_loop(self) -> None:
        while self.workers.goes_on("fuse"):
            try:
                batch = self._batches.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if batch is None:
                return

            items = [LaneItem(item.lane, item.pending) for item in batch.items]
            self.workers.begin("fuse", self._context.clock(), items)
            self._fuse(batch, lambda: self.workers.is_current("fuse"))
            if not self.workers.done("fuse"):
                return

    def _maintenance_loop(self) -> None:
        while not self._context.stopping:
            self._maintain()
            time.sleep(_TICK_S)
