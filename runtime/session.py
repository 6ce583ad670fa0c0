"""One run of `gasmcast live`: start sources, pipeline and sinks, and stop them in order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

from gasmcast.errors import GasmcastError, SourceError
from gasmcast.runtime.alarms.idle_recorder import IdleRecorder
from gasmcast.runtime.capacity import Capacity
from gasmcast.runtime.context import OnWindow
from gasmcast.runtime.frames import Source
from gasmcast.runtime.live_settings import LiveConfig, with_defaults
from gasmcast.runtime.pipeline import Pipeline
from gasmcast.runtime.recording.recorder import Recorder
from gasmcast.runtime.records import Record, Sink, View
from gasmcast.runtime.service.health import Health
from gasmcast.runtime.service.watchdog import Watchdog, stop_signals
from gasmcast.runtime.sinks.open_sinks import sink_stats
from gasmcast.runtime.sinks.queue import QueuedSink
from gasmcast.runtime.sources.supervisor import Cameras
from gasmcast.runtime.streaming_model import Model

__all__ = ["Session"]

_log = logging.getLogger(__name__)

# The service manager kills the process after 45 s (TimeoutStopSec in deploy/), so closing takes at
# most this long, of which the sinks and the stages have their share.
_CLOSE_S = 40.0
_SINKS_S = 8.0
_STAGES_S = 2.0
# Counters of a sink that are no losses.
_NO_LOSS = ("written", "waiting", "retries", "restarts", "unread")
# Stages that the watchdog restarts.
_STAGES = ("encode", "fuse")


class Session:
    """Run sources through a model until all have ended or `stop` is called.

    Args:
        model: engines and labels.
        config: settings of the run.
        sinks: take every record; those that are `View`s also get images.
        recorder: writes a recording or idle logits, if one is wanted.
        capacity: measured speed of the machine; a slow one gets more time before a stage counts as
            hanging.
        health: takes the heartbeats of the stages.
        on_window: called after each decision, for the attention view; must not block.
    """

    def __init__(
        self,
        model: Model,
        config: LiveConfig,
        sinks: Sequence[Sink],
        *,
        recorder: Recorder | IdleRecorder | None = None,
        capacity: Capacity | None = None,
        health: Health | None = None,
        on_window: OnWindow | None = None,
    ) -> None:
        self.sinks: list[Sink] = [*sinks, recorder] if recorder else list(sinks)
        self.cameras = Cameras()
        self.health = health or Health()
        if capacity:
            patience_s = capacity.patience_s(config.batch)
            self.health.patience_s = max(self.health.patience_s, patience_s)

        self._recorder = recorder
        self._stopping = self._reloading = False
        views = [cast("View", sink) for sink in sinks if hasattr(sink, "frame")]
        self.pipeline = Pipeline(
            model,
            config,
            self._emit,
            views=views,
            trace=recorder.trace if recorder else None,
            on_window=on_window,
            capacity=capacity,
            sinks=lambda: sink_stats(self.sinks),
            wait_for_room=self._wait_for_room,
        )

    def add(
        self,
        source: Source,
        config: LiveConfig | None = None,
        recorded_as: str = "",
        crop: Mapping[str, object] | None = None,
    ) -> None:
        """Add a source, also while others run.

        Args:
            source: a source with a unique name.
            config: settings of this source; None: those of the run.
            recorded_as: what the recording calls it, without secrets; its name if empty.
            crop: the `region` and `mask` of its images, for the recording.
        """
        # A recording holds the thresholds that decide, also those that come from the bundle.
        if config is not None:
            config = with_defaults(config, self.pipeline.model.event_defaults)
        # A file in real time is live, too, but its windows must be those of the file.
        free_phase = source.live and source.reconnects
        lane = self.pipeline.add(source.name, source.live, config, free_phase=free_phase)
        if self._recorder:
            name = recorded_as or source.name
            self._recorder.add_camera(source.name, name, source.live, config, crop)

        # Last, because its thread starts to deliver frames at once. If it cannot be started, the
        # name is free again.
        self.health.watch_trouble(f"camera {source.name}", partial(self._trouble, source.name))
        try:
            self.cameras.add(source, lane, lane.config.gap_s)
        except BaseException:
            self.health.forget(f"camera {source.name}")
            self.pipeline.forget(source.name)
            raise

    def remove(self, name: str) -> bool:
        """Stop a source, and remove it once all its frames are decided.

        Returns:
            False if that took more than ten seconds.

        Raises:
            UsageError: there is no source of that name.
        """
        self.cameras.remove(name)
        removed = self.pipeline.remove(name)
        self.health.forget(f"camera {name}")
        return removed

    def stop(self) -> None:
        """Request the end and return at once: sources are closed, work in progress is finished."""
        self._stopping = True

    def request_reload(self) -> None:
        """Request a call of `reload` by `run`, and return at once; a signal handler may call it."""
        self._reloading = True

    @property
    def stopped(self) -> bool:
        """True once the end was requested, by a signal or by `stop`."""
        return self._stopping

    def run(
        self,
        duration_s: float | None = None,
        idle: Callable[[], bool] | None = None,
        reload: Callable[[], None] | None = None,
        *,
        open_ended: bool = False,
    ) -> list[GasmcastError]:
        """Run until every source has ended, the time is up, or `stop` is called.

        Work in progress is finished before this returns.

        Args:
            duration_s: seconds; None: no limit.
            idle: called often on this thread; False ends the run (a window that was closed).
            reload: called on this thread after a SIGHUP, to add and remove sources; None: the
                signal keeps its default effect.
            open_ended: go on when no source is left, because browsers may become cameras.

        Returns:
            The errors of single sources; the others ran on. If no source ever delivered a frame,
            each has one, also if it was still tried when the time was up.

        Raises:
            Exception: the error of a stage, of any type (an engine's bug ends the run, too).
        """
        deadline = None if duration_s is None else time.monotonic() + duration_s
        watchdog = self._watch()

        with stop_signals(self.stop, self.request_reload if reload else None):
            try:
                self.pipeline.start()
                self.cameras.start()
                watchdog.start()

                while not self._stopping and (deadline is None or time.monotonic() < deadline):
                    # The signal handler only sets a flag: sources may be added here, not there.
                    if self._reloading and reload:
                        self._reloading = False
                        self._reload(reload)
                    wait_s = 0.0 if idle else 0.2
                    if self.pipeline.wait(wait_s, open_ended=open_ended) or (idle and not idle()):
                        break
                    # `--jsonl - | head`: a command ends when its reader has gone.
                    if any(getattr(sink, "reader_gone", False) for sink in self.sinks):
                        self.stop()
            finally:
                watchdog.stop()
                self.close()

        return self._errors()

    def close(self) -> None:
        """Stop the sources, drain the stages, end open events and close the sinks.

        All of it ends by one deadline, whatever hangs.
        """
        deadline = time.monotonic() + _CLOSE_S
        self.cameras.stop()
        try:
            self.pipeline.wait(deadline - time.monotonic() - _STAGES_S - _SINKS_S)
        finally:
            self.pipeline.stop(_STAGES_S)

            # A stage that hangs must not leave events open in the sinks.
            cut = self.pipeline.cut()
            if cut:
                _log.warning(
                    "not all of %s was decided; their open events were ended", ", ".join(cut)
                )

            self.pipeline.report()
            self._close_sinks()

    @staticmethod
    def _reload(reload: Callable[[], None]) -> None:
        """Call `reload`; whatever fails in it, recognition goes on."""
        try:
            reload()
        except Exception:  # noqa: BLE001 - a bug there must not end the cameras that run
            _log.exception("the sources could not be read again; the run goes on")

    def _errors(self) -> list[GasmcastError]:
        """Return the errors of the sources, after the run."""
        lanes = list(self.pipeline.lanes.values())
        errors = [lane.error for lane in lanes if lane.error is not None]
        if errors or any(lane.frames for lane in lanes):
            return errors

        # A camera is retried for ever, so one that never opened has no error of its own.
        never: list[GasmcastError] = []
        for lane in lanes:
            if lane.live:
                reason = lane.trouble.rstrip(".") or "nothing was received"
                never.append(SourceError(f"{lane.name} never delivered a picture: {reason}."))
        return never

    def _watch(self) -> Watchdog:
        """Return a watchdog over the stages and the cameras' supervisor."""
        for stage in _STAGES:
            self.health.watch(stage, partial(self.pipeline.last_beat, stage))
        self.health.watch("cameras", lambda: self.cameras.beat)

        # The cameras' supervisor cannot be restarted: without it the process ends.
        restarts = {stage: partial(self.pipeline.restart, stage) for stage in _STAGES}
        return Watchdog(self.health, restarts)

    def _close_sinks(self) -> None:
        """Close all sinks and log what each of them lost."""
        # Sinks with threads of their own drain at the same time; each gives up by itself.
        threaded = [sink for sink in self.sinks if isinstance(sink, QueuedSink | Recorder)]
        closers = [
            threading.Thread(target=sink.close, args=(_SINKS_S,), daemon=True) for sink in threaded
        ]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(_SINKS_S + 1.0)

        for sink in self.sinks:
            if sink not in threaded:
                sink.close()

        # After the last record, so that the counts are final.
        for name, counts in sink_stats(self.sinks).items():
            lost = []
            for cause, count in counts.items():
                if count and cause not in _NO_LOSS:
                    lost.append(f"{count} {cause}")
            if lost:
                _log.warning("sink %s did not write all records: %s", name, ", ".join(lost))

    def _trouble(self, name: str) -> str:
        lane = self.pipeline.lanes.get(name)
        return "failed" if lane is not None and lane.state == "failed" else ""

    def _emit(self, record: Record) -> None:
        for sink in self.sinks:
            sink.write(record)

    def _wait_for_room(self, camera: str) -> bool:
        return all(
            sink.wait_for_room(camera) for sink in self.sinks if isinstance(sink, QueuedSink)
        )
