"""One run of `gasmcast live`: model, sources, pipeline and sinks brought up, kept going, and taken down in order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from gasmcast.errors import GasmcastError, UsageError
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.engines import choose_backend
from gasmcast.runtime.frames import Source
from gasmcast.runtime.governor import Capacity
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.pipeline import Pipeline
from gasmcast.runtime.recording.recorder import Journal
from gasmcast.runtime.records import Record, Sink, View
from gasmcast.runtime.service.health import Health
from gasmcast.runtime.service.watchdog import Watchdog, stop_signals
from gasmcast.runtime.sinks.open_sinks import sink_stats
from gasmcast.runtime.sinks.queue import Queued
from gasmcast.runtime.sources.supervisor import Cameras
from gasmcast.runtime.stages import Model

__all__ = ["Session", "open_model"]

_log = logging.getLogger(__name__)
_CLOSE_S = 40.0  # the end takes no longer than this: the service manager kills after 45 s (TimeoutStopSec in deploy/)
_SINKS_S = 8.0  # of which the sinks have this
_STAGES_S = 2.0
_NO_LOSS = ("written", "waiting", "retries", "restarts")  # what a sink counts that is nothing lost


def open_model(
    bundle: Path,
    engine: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    verify: bool = True,
) -> tuple[Model, str]:
    """The streaming pair of a bundle, compiled for this machine, and one line that says what it runs on and why.

    Raises:
        UsageError: not a bundle, altered, without that precision, or not one that can stream.
        MachineError: the engine cannot be used on this machine.
    """
    backend, why = choose_backend(engine)
    opened = Bundle.open(bundle, verify)
    chosen = opened.best_precision(backend) if precision == "auto" else precision
    measured = opened.measured(chosen)

    def compile_pair() -> Model:
        return Model(
            opened.engine("encoder", chosen, backend, threads),
            opened.engine("head", chosen, backend, threads),
            opened.manifest.spec,
            opened.labels,
            measured.temperature,
            measured.no_action,
            compile_pair,
        )

    model = compile_pair()
    classes = model.head.outputs["logits"].shape[-1]
    if len(opened.labels) != classes:
        raise UsageError(
            f"{bundle}: {len(opened.labels)} labels, but the head gives {classes} logits.",
            "Export the bundle again.",
        )
    return model, f"{chosen} by {model.encoder.describe()} ({why})"


class Session:
    """Runs sources through a model until all have ended or `stop` is called.

    Args:
        model: the engines.
        config: the settings.
        sinks: take every record; those that are `View`s also get pictures.
        journal: the recording, if one is wanted.
        capacity: what the machine was measured to do; the slower it is, the longer may a stage show no progress.
        health: takes the stages' heartbeats.
    """

    def __init__(
        self,
        model: Model,
        config: LiveConfig,
        sinks: Sequence[Sink],
        *,
        journal: Journal | None = None,
        capacity: Capacity | None = None,
        health: Health | None = None,
    ) -> None:
        self.sinks: list[Sink] = [*sinks, journal] if journal else list(sinks)
        self.health = health or Health()
        if capacity:
            self.health.patience_s = max(self.health.patience_s, capacity.patience_s(config.batch))
        self.cameras = Cameras()
        self._journal = journal
        self._stop = self._renew = False
        views: list[View] = [sink for sink in sinks if hasattr(sink, "frame")]  # type: ignore[misc] # a View is a Sink with `frame`
        trace = journal.trace if journal else None
        self.pipeline = Pipeline(
            model,
            config,
            self._emit,
            views=views,
            trace=trace,
            capacity=capacity,
            sinks=lambda: sink_stats(self.sinks),
            wait_for_room=self._wait_for_room,
        )

    def add(
        self,
        source: Source,
        config: LiveConfig | None = None,
        told_as: str = "",
        part: Mapping[str, object] | None = None,
    ) -> None:
        """Take in a source; it may come while others run.

        Args:
            source: named; names are unique.
            config: settings that differ for it.
            told_as: what the recording says of it, without secrets.
            part: and of the part of the picture that it gives (`region`, `mask`).
        """
        lane = self.pipeline.add(source.name, source.live, config)
        if self._journal:
            self._journal.camera(source.name, told_as or source.name, source.live, config, part)
        self.health.watch_trouble(f"camera {source.name}", partial(self._trouble, source.name))
        self.cameras.add(source, lane, lane.config.gap_s)

    def remove(self, name: str) -> bool:
        """Stop a source, and forget it as soon as what it gave is decided; False when that takes more than ten seconds.

        Raises:
            UsageError: there is none of that name.
        """
        self.cameras.remove(name)
        gone = self.pipeline.remove(name)
        self.health.forget(f"camera {name}")
        return gone

    def stop(self) -> None:
        """End soon: sources are closed, what is under way is finished. Returns at once."""
        self._stop = True

    @property
    def stopped(self) -> bool:
        """The end was ordered, by a signal or by `stop`."""
        return self._stop

    def run(
        self,
        duration_s: float | None = None,
        idle: Callable[[], bool] | None = None,
        renew: Callable[[], None] | None = None,
    ) -> list[GasmcastError]:
        """Until every source has ended, the time is up, or `stop`; what is under way is finished.

        Args:
            duration_s: seconds; None: without limit.
            idle: called often on this thread; False ends the run (a window that was closed).
            renew: called on this thread after a SIGHUP, to add and remove sources; None: the signal does what it did.

        Returns:
            What went wrong with single sources; the others ran on.

        Raises: what a stage failed with; anything, for an engine's bug ends it too.
        """
        until = None if duration_s is None else time.monotonic() + duration_s
        stages = ("encode", "fuse")
        for stage in stages:
            self.health.watch(stage, partial(self.pipeline.beat, stage))
        self.health.watch("cameras", lambda: self.cameras.beat)
        watchdog = Watchdog(
            self.health, {stage: partial(self.pipeline.restart, stage) for stage in stages}
        )
        with stop_signals(self.stop, self._order_renewal if renew else None):
            try:
                self.pipeline.start()
                self.cameras.start()
                watchdog.start()
                while not self._stop and (until is None or time.monotonic() < until):
                    if self._renew and renew:
                        self._renew = False
                        renew()
                    if self.pipeline.wait(0.0 if idle else 0.2) or (idle and not idle()):
                        break
            finally:
                watchdog.stop()
                self.close()
        return [lane.error for lane in self.pipeline.lanes.values() if lane.error is not None]

    def close(self) -> None:
        """Stop the sources, drain the stages, end the events that are open, close the sinks: all by one deadline."""
        until = time.monotonic() + _CLOSE_S
        self.cameras.stop()
        try:
            self.pipeline.wait(until - time.monotonic() - _STAGES_S - _SINKS_S)
        finally:
            self.pipeline.stop(_STAGES_S)
            if cut := self.pipeline.cut():
                _log.warning(
                    "not all of %s was decided; their open events were ended", ", ".join(cut)
                )
            self.pipeline.report()
            self._close_sinks()

    def _close_sinks(self) -> None:
        """Those with threads of their own at the same time, the others one after another; say what each lost."""
        threaded = [sink for sink in self.sinks if isinstance(sink, Queued | Journal)]
        ends = [
            threading.Thread(target=sink.close, args=(_SINKS_S,), daemon=True) for sink in threaded
        ]
        for end in ends:
            end.start()
        for end in ends:
            end.join(_SINKS_S + 1.0)  # each gives up by itself
        for sink in self.sinks:
            if sink not in threaded:
                sink.close()
        for name, counts in sink_stats(self.sinks).items():
            lost = [
                f"{count} {cause}"
                for cause, count in counts.items()
                if count and cause not in _NO_LOSS
            ]
            if lost:
                _log.warning("sink %s did not write all records: %s", name, ", ".join(lost))

    def _order_renewal(self) -> None:
        self._renew = True

    def _trouble(self, name: str) -> str:
        lane = self.pipeline.lanes.get(name)
        return "failed" if lane is not None and lane.state == "failed" else ""

    def _emit(self, record: Record) -> None:
        for sink in self.sinks:
            sink.write(record)

    def _wait_for_room(self, camera: str) -> bool:
        return all(sink.wait_for_room(camera) for sink in self.sinks if isinstance(sink, Queued))
