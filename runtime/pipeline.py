"""Run a model on many cameras and files: one encoder batch and one head batch for all of them.

Threads overlap: each source decodes and samples in its own thread, one thread encodes, one runs the
head and decides, one maintains service levels and statistics. Every queue between them is bounded.
Cameras drop (newest wins), files wait.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gasmcast.errors import UsageError
from gasmcast.runtime.alarms.rate_watch import RateWatch
from gasmcast.runtime.camera.backlog import Mark
from gasmcast.runtime.camera.decisions import Decider, LabelView
from gasmcast.runtime.camera.lane import Lane, LaneItem
from gasmcast.runtime.camera.latency import Latencies
from gasmcast.runtime.camera.phases import Phases
from gasmcast.runtime.capacity import Capacity
from gasmcast.runtime.context import OnWindow, RuntimeContext, Trace
from gasmcast.runtime.encode_stage import EncodedBatch, encode, pick
from gasmcast.runtime.fuse_stage import close, fuse
from gasmcast.runtime.governor import Governor
from gasmcast.runtime.live_settings import LiveConfig, with_defaults
from gasmcast.runtime.records import Notice, Record, Stats, View
from gasmcast.runtime.stage_threads import StageThreads
from gasmcast.runtime.streaming_model import Model

__all__ = ["Pipeline", "Totals"]

_log = logging.getLogger(__name__)
# The frames of a slow file may be seconds apart; a longer step of its time stamps is a jump.
_FILE_GAP_S = 60.0


class Totals(NamedTuple):
    """Counts of a whole run."""

    sources: int
    decisions: int


class Pipeline:
    """Cameras and files that share the engines of one model.

    Args:
        model: engines and labels.
        config: settings of the run.
        emit: takes every record; must not block (sinks have queues of their own).
        views: sinks that also take images.
        clock: returns monotonic seconds.
        wall: returns seconds since 1970.
        trace: takes what a recording needs: segments, windows with their logits, marks, drops.
        on_window: called after each decision, for the attention view; must not block.
        capacity: measured speed of the machine, for `max_cameras: auto` and round-robin.
        sinks: returns the records written and dropped by each sink, for statistics.
        wait_for_room: waits briefly for the sinks to have room for a file's records, and returns
            whether they have. The file's reader waits there, because the stages also serve cameras.
    """

    def __init__(
        self,
        model: Model,
        config: LiveConfig,
        emit: Callable[[Record], None],
        *,
        views: Sequence[View] = (),
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        trace: Trace | None = None,
        on_window: OnWindow | None = None,
        capacity: Capacity | None = None,
        sinks: Callable[[], dict[str, dict[str, int]]] = dict,
        wait_for_room: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self.model = model
        # Thresholds that were chosen for this bundle take the place of the general ones.
        config = with_defaults(config, model.event_defaults)
        self.config = config
        self.lanes: dict[str, Lane] = {}
        self._left = Totals(0, 0)  # of lanes that were removed or replaced
        self.latencies = Latencies()
        self.governor = Governor(model.spec, config, self._notify, clock)
        self.governor.capacity = capacity

        # Without a gain from batches, each segment runs alone and its window is decided at once.
        batches = capacity is None or capacity.batches
        self._batch = max(config.batch, model.rows_at_once) if batches else 1
        self._phases = Phases(model.spec.segment_s)
        self._labels = LabelView(model.labels, config)
        self._sinks = sinks
        self._context = RuntimeContext(
            spec=model.spec,
            config=config,
            clock=clock,
            wall=wall,
            emit=emit,
            views=views,
            trace=trace,
            on_window=on_window,
            wait_for_room=wait_for_room,
        )

        self._threads = StageThreads(
            self._context,
            pick=self._pick,
            encode=self._encode,
            fuse=self._fuse,
            maintain=self.tick,
        )
        self._workers = self._threads.workers

        # When statistics were last reported, and last taken together with the encoder's load.
        self._reported_at = self._counted_at = clock()

    def add(
        self,
        name: str,
        live: bool,
        config: LiveConfig | None = None,
        gap_s: float | None = None,
        *,
        free_phase: bool = False,
    ) -> Lane:
        """Add a lane for a new source, also while the pipeline runs.

        Args:
            name: unique among the lanes that have not ended.
            live: newest wins; otherwise the source waits.
            config: settings of this source; None: those of the run.
            gap_s: step of the time stamps, in seconds, that breaks the window; None: `gap_s` of the
                settings for a live source, 60 s for a file.
            free_phase: a camera, whose time grid may begin at any moment: cameras are spread over
                a segment. False: the grid begins with the first frame, as that of a file must.

        Raises:
            UsageError: the name is taken, or the settings name unknown labels.
        """
        settings = self.config
        if config is not None:
            settings = with_defaults(config, self.model.event_defaults)
        labels = self._labels if config is None else LabelView(self.model.labels, settings)
        decider = Decider(name, labels, settings, self.model.temperature, self.model.no_action)
        if gap_s is None:
            gap_s = settings.gap_s if live else _FILE_GAP_S

        # A name may come back once its last event has been reported.
        with self._context.changed:
            former = self.lanes.get(name)
            if former is not None and not former.ended:
                raise UsageError(
                    f"There are two sources called {name!r}.", "Give each a name of its own."
                )
            self._leave(former)
            phases = self._phases if free_phase else None
            lane = Lane(name, live, self._context, decider, settings, gap_s=gap_s, phases=phases)
            lane.rate = RateWatch(name, settings, self.model)
            self.lanes[name] = lane
        return lane

    def remove(self, name: str, timeout_s: float = 10.0) -> bool:
        """Remove a lane whose source has ended, once all its frames are decided.

        Returns:
            False if that took longer than `timeout_s`; the lane stays.
        """
        changed = self._context.changed

        # The stages decide what is left in its backlog, and then mark it as ended.
        with changed:
            lane = self.lanes.get(name)
            if lane is not None and not changed.wait_for(lambda: lane.ended, timeout_s):
                return False
            self._leave(self.lanes.pop(name, None))
        return True

    def forget(self, name: str) -> None:
        """Remove a lane whose source never started."""
        with self._context.changed:
            lane = self.lanes.pop(name, None)
        if lane is not None:
            self._phases.leave(lane)

    def start(self) -> None:
        """Start the threads of the stages."""
        self._workers.start()

    def wait(self, timeout_s: float | None = None, *, open_ended: bool = False) -> bool:
        """Wait until every source has ended and its last decision is emitted.

        Args:
            timeout_s: seconds; None: no limit.
            open_ended: wait on when no source is left, because one may join.

        Returns:
            False if the time is up first.

        Raises:
            Exception: the error of a stage, of any type (an engine's bug ends the run, too).
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s

        # The short wait bounds how late the deadline is noticed.
        with self._context.changed:
            while self._workers.failure is None and (open_ended or self._unfinished()):
                if deadline is not None and time.monotonic() >= deadline:
                    return False
                self._context.changed.wait(0.2)

        if self._workers.failure is not None:
            raise self._workers.failure
        return True

    def stop(self, timeout_s: float = 10.0) -> bool:
        """End the stages after the work that is waiting; the owner of the sources stops them first.

        Returns:
            False if a stage hangs or the time was up. Its thread is abandoned and decides nothing
            any more.
        """
        with self._context.changed:
            self._context.stopping = True
            self._context.changed.notify_all()
        return self._workers.join(timeout_s)

    def cut(self) -> list[str]:
        """End the lanes that `stop` left unfinished, with their open events.

        Returns:
            The names of those lanes.
        """
        lanes = self._unfinished()
        for lane in lanes:
            close(self._context, lane, Mark("end", "cut short"))
        return [lane.name for lane in lanes]

    def run_pending(self) -> None:
        """Encode and decide all waiting segments on the calling thread.

        For callers with a loop of their own, in place of `start`: push a frame into a lane, then
        call this; it must not be mixed with running threads. A lane that is not live blocks in
        `on_frame` when more than `pending` segments wait, which one frame after a long step of the
        stamps may complete: use a live lane, or a larger `pending`.
        """
        while picked := self._pick():
            self._fuse(self._encode(picked), lambda: True)

    def last_beat(self, stage: str) -> float:
        """Return when a stage (`encode` or `fuse`) last made progress, in monotonic seconds.

        That is now for an idle stage.
        """
        work = self._workers.work(stage)
        return work.since if work else self._context.clock()

    def restart(self, stage: str) -> None:
        """Replace the thread of a stage that hangs in native code; its work is lost.

        A hanging engine stays locked, so the engines are compiled again if `model.reopen` allows
        it, which may take half a minute. A stage that recovers meanwhile is left alone.
        """
        # Remember the work first: compiling takes long, and the stage may recover meanwhile.
        stuck = self._workers.work(stage)
        if self.model.reopen is not None:
            self.model = self.model.reopen()

        if self._workers.replace(stage, stuck):
            self._notify(
                "error", f"The stage {stage} hung and was restarted; its current work is lost."
            )

    def stats(self) -> Stats:
        """Return the state of the process, with the encoder's load since the last call."""
        now = self._context.clock()
        with self._context.changed:
            cameras = tuple(lane.stats() for lane in self.lanes.values())

        # Every call starts a new interval for the load.
        busy = self._threads.busy_s / max(now - self._counted_at, 1e-9)
        self._threads.busy_s, self._counted_at = 0.0, now

        return Stats(
            camera="",
            time_s=0.0,
            wall_s=self._context.wall(),
            cameras=cameras,
            stages_ms=self.latencies.summary(),
            level=self.governor.level,
            busy=round(min(busy, 1.0), 3),
            sinks=self._sinks(),
        )

    def totals(self) -> Totals:
        """Return counts of the whole run, with those of sources that have left."""
        with self._context.changed:
            sources, decisions = self._left
            present = sum(lane.decisions for lane in self.lanes.values())
            return Totals(sources + len(self.lanes), decisions + present)

    def tick(self) -> None:
        """Update service level and turns, and report statistics if they are due."""
        now = self._context.clock()
        self.governor.tick(now, list(self.lanes.values()))

        if now - self._reported_at >= self.config.stats_s:
            self._reported_at = now
            self.report()

    def report(self) -> None:
        """Emit the statistics; a failure is logged and does not end the run."""
        try:
            self._context.emit(self.stats())
        except Exception:  # noqa: BLE001 - recognition matters more than statistics
            _log.exception("the statistics failed")

    def _leave(self, lane: Lane | None) -> None:
        """Keep the counts of a lane that is removed or replaced; the lock is held."""
        if lane is not None:
            sources, decisions = self._left
            self._left = Totals(sources + 1, decisions + lane.decisions)

    def _unfinished(self) -> list[Lane]:
        return [lane for lane in self.lanes.values() if not lane.ended]

    def _notify(self, what: str, text: str) -> None:
        self._context.emit(Notice("", 0.0, self._context.wall(), what, text))

    def _pick(self) -> list[LaneItem]:
        with self._context.changed:
            return pick(list(self.lanes.values()), self._batch)

    def _encode(self, picked: list[LaneItem]) -> EncodedBatch:
        return encode(self.model, self._context, self.governor, picked)

    def _fuse(self, batch: EncodedBatch, is_current: Callable[[], bool]) -> None:
        fuse(
            self.model,
            self._context,
            self.governor,
            self.latencies,
            batch,
            is_current=is_current,
        )
