"""The pipeline: segments of all cameras through the encoder in one batch, windows through the head in one batch.

Threads overlap: each source decodes and samples in its own, one encodes, one fuses and decides, one keeps house (levels of service,
statistics). All that lies between them is bounded. Cameras drop (newest wins), files wait.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Sequence

from gasmcast.errors import UsageError
from gasmcast.runtime.camera.backlog import Mark
from gasmcast.runtime.camera.decisions import Decider, LabelView
from gasmcast.runtime.camera.lane import Lane
from gasmcast.runtime.camera.latency import Latencies
from gasmcast.runtime.context import House, Trace
from gasmcast.runtime.governor import Capacity, Governor
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import Notice, Record, Stats, View
from gasmcast.runtime.stages import Job, Model, close, encode, fuse, pick
from gasmcast.runtime.workers import Workers

__all__ = ["Pipeline"]

_log = logging.getLogger(__name__)
_TICK_S = 0.25
FILE_GAP_S = 60.0
"""Step of the timestamps of a file, in seconds, that is a jump and not a long frame."""


class Pipeline:
    """Runs a model on any number of cameras and files.

    Args:
        model: the engines and what they mean.
        config: the settings.
        emit: takes every record; it must not block (sinks have queues of their own).
        views: sinks that also want pictures.
        clock: monotonic seconds.
        wall: seconds since 1970.
        trace: takes what a recording needs: segments, windows with their logits, marks, drops.
        capacity: what the machine was measured to do, for `max_cameras: auto` and round-robin.
        sinks: what the sinks wrote and dropped, for statistics.
        wait_for_room: whether the sinks can take more of a file; its reader waits here, for the stages serve cameras too and may not.
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
        capacity: Capacity | None = None,
        sinks: Callable[[], dict[str, dict[str, int]]] = dict,
        wait_for_room: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self.model = model
        self.config = config
        self.lanes: dict[str, Lane] = {}
        self.latencies = Latencies()
        self.governor = Governor(model.spec, config, self._tell)
        self.governor.capacity = capacity
        self._labels = LabelView(model.labels, config)
        self._house = House(model.spec, config, clock, wall, emit, views, trace, wait_for_room)
        self._jobs: queue.Queue[Job | None] = queue.Queue(maxsize=1)
        self._sinks = sinks
        self._workers = Workers(
            self._house,
            {"encode": self._encode_loop, "fuse": self._fuse_loop, "house": self._house_loop},
        )
        self._busy_s = 0.0
        self._stats_at = self._counted_at = clock()

    def add(
        self, name: str, live: bool, config: LiveConfig | None = None, gap_s: float | None = None
    ) -> Lane:
        """A lane for a new source; cameras may come and go while it runs.

        Args:
            name: unique among the lanes that have not ended.
            live: newest wins; else the source waits.
            config: the settings of this source, where they differ.
            gap_s: step of the timestamps that breaks the window; None: `config.gap_s` for live
                sources, and `FILE_GAP_S` for files.

        Raises:
            UsageError: the name is taken, or the settings name labels that are none.
        """
        settings = config or self.config
        labels = self._labels if config is None else LabelView(self.model.labels, settings)
        decider = Decider(name, labels, settings, self.model.temperature, self.model.no_action)
        with self._house.changed:
            if name in self.lanes and not self.lanes[name].ended:
                raise UsageError(
                    f"There are two sources called {name!r}.", "Give each a name of its own."
                )
            if gap_s is None:
                gap_s = settings.gap_s if live else FILE_GAP_S
            lane = self.lanes[name] = Lane(name, live, self._house, decider, settings, gap_s)
        return lane

    def remove(self, name: str, timeout_s: float = 10.0) -> bool:
        """Forget a lane whose source has ended, as soon as all that came is decided. False: that took too long, and it stays."""
        with self._house.changed:
            lane = self.lanes.get(name)
            if lane is not None and not self._house.changed.wait_for(lambda: lane.ended, timeout_s):
                return False
            self.lanes.pop(name, None)
        return True

    def start(self) -> None:
        """Start the stages."""
        self._workers.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until every source has ended and its last decision is told; False when the time is up first.

        Raises: what a stage failed with; anything, for an engine's bug ends it too.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        with self._house.changed:
            while self._workers.failure is None and not all(
                lane.ended for lane in self.lanes.values()
            ):
                if until is not None and time.monotonic() >= until:
                    return False
                self._house.changed.wait(0.2)
        if self._workers.failure is not None:
            raise self._workers.failure
        return True

    def run_pending(self) -> None:
        """Encode and fuse everything that waits, on the calling thread.

        For callers that drive the pipeline step by step instead of calling `start`.
        """
        while picked := pick(list(self.lanes.values()), self.config.batch):
            job = encode(self.model, self._house, self.governor, picked)
            fuse(self.model, self._house, self.governor, self.latencies, job)

    def stop(self, timeout_s: float = 10.0) -> bool:
        """End the stages after the work that is waiting; sources must have ended or be told to by their owner.

        False: one hangs, or the time was up. It is given up, and decides nothing any more.
        """
        with self._house.changed:
            self._house.stopping = True
            self._house.changed.notify_all()
        return self._workers.join(timeout_s)

    def cut(self) -> list[str]:
        """After `stop`: end the lanes whose end was not reached in order, and the events that are open there. Their names."""
        lanes = [lane for lane in self.lanes.values() if not lane.ended]
        for lane in lanes:
            close(self._house, lane, Mark("end", "cut short"))
        return [lane.name for lane in lanes]

    def beat(self, stage: str) -> float:
        """When a stage (`encode` or `fuse`) last showed progress, monotonic seconds: now, while it holds nothing."""
        work = self._workers.work(stage)
        return work.since if work else self._house.clock()

    def restart(self, stage: str) -> None:
        """Give up a stage that hangs in native code, with what it holds, and start it anew.

        A hanging engine stays locked, so engines are compiled again where `model.reopen` says how: that may take half a minute. A stage
        that comes back meanwhile is left alone.
        """
        stuck = self._workers.work(stage)
        if self.model.reopen is not None:
            self.model = self.model.reopen()
        if self._workers.renew(stage, stuck):
            self._tell(
                "error", f"The stage {stage} hung and was started anew; what it held is lost."
            )

    def stats(self) -> Stats:
        """The state of the whole process, and how busy the encoder was since the last call."""
        now = self._house.clock()
        with self._house.changed:
            cameras = tuple(lane.stats() for lane in self.lanes.values())
        busy = self._busy_s / max(now - self._counted_at, 1e-9)
        self._busy_s, self._counted_at = 0.0, now
        level, stages = self.governor.level, self.latencies.summary()
        return Stats(
            "",
            0.0,
            self._house.wall(),
            cameras,
            stages,
            level,
            round(min(busy, 1.0), 3),
            self._sinks(),
        )

    def tick(self) -> None:
        """Keep house once: levels of service, turns, statistics when they are due."""
        now = self._house.clock()
        self.governor.tick(now, list(self.lanes.values()))
        if now - self._stats_at >= self.config.stats_s:
            self._stats_at = now
            self.report()

    def report(self) -> None:
        """Tell the statistics; that they fail is no reason to end."""
        try:
            self._house.emit(self.stats())
        except Exception:  # noqa: BLE001
            _log.exception("the statistics failed")

    def _tell(self, what: str, text: str) -> None:
        self._house.emit(Notice("", 0.0, self._house.wall(), what, text))

    def _house_loop(self) -> None:
        while not self._house.stopping:
            self.tick()
            time.sleep(_TICK_S)

    def _encode_loop(self) -> None:
        changed = self._house.changed
        while True:
            with changed:
                while (
                    not (picked := pick(list(self.lanes.values()), self.config.batch))
                    and not self._house.stopping
                ):
                    changed.wait(0.5)
                changed.notify_all()
            if not picked:
                break
            self._workers.begin("encode", self._house.clock(), picked)
            job = encode(self.model, self._house, self.governor, picked)
            if not self._workers.done("encode"):
                return
            self._busy_s += job.encoded - job.started
            self._put(job)
        self._put(None)

    def _put(self, job: Job | None) -> None:
        while self._workers.goes_on("encode"):
            try:
                self._jobs.put(job, timeout=0.5)
            except queue.Full:
                continue
            return

    def _fuse_loop(self) -> None:
        while self._workers.goes_on("fuse"):
            try:
                job = self._jobs.get(timeout=0.5)
            except queue.Empty:
                continue
            if job is None:
                return
            self._workers.begin(
                "fuse", self._house.clock(), [(lane, waiting) for lane, waiting, _ in job.items]
            )
            fuse(
                self.model,
                self._house,
                self.governor,
                self.latencies,
                job,
                mine=lambda: self._workers.mine("fuse"),
            )
            if not self._workers.done("fuse"):
                return
