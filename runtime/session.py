"""One run of `gasmcast live`: model, sources, pipeline and sinks brought up, kept going, and taken down in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from gasmcast.errors import GasmcastError, UsageError
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.config import LiveConfig
from gasmcast.runtime.engines import choose_backend
from gasmcast.runtime.frames import Source
from gasmcast.runtime.governor import Capacity
from gasmcast.runtime.health import Health
from gasmcast.runtime.journal import Journal
from gasmcast.runtime.pipeline import Pipeline
from gasmcast.runtime.records import Record, Sink, View
from gasmcast.runtime.sinks.build import sink_stats
from gasmcast.runtime.sources.cameras import Cameras
from gasmcast.runtime.stages import Model
from gasmcast.runtime.watchdog import Watchdog, stop_signals

__all__ = ["Session", "open_model"]

_DRAIN_S = 30.0


def open_model(
    bundle: Path, engine: str = "auto", precision: str = "auto", threads: int | None = None, verify: bool = True
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
        raise UsageError(f"{bundle}: {len(opened.labels)} labels, but the head gives {classes} logits.", "Export the bundle again.")
    return model, f"{chosen} by {model.encoder.describe()} ({why})"


class Session:
    """Runs sources through a model until all have ended or `stop` is called.

    Args:
        model: the engines.
        config: the settings.
        sinks: take every record; those that are `View`s also get pictures.
        journal: the recording, if one is wanted.
        capacity: what the machine was measured to do.
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
        self.cameras = Cameras()
        self._journal = journal
        self._stop = False
        views: list[View] = [sink for sink in sinks if hasattr(sink, "frame")]  # type: ignore[misc] # a View is a Sink with `frame`
        trace = journal.trace if journal else None
        self.pipeline = Pipeline(
            model, config, self._emit, views=views, trace=trace, capacity=capacity, sinks=lambda: sink_stats(self.sinks)
        )

    def add(self, source: Source, config: LiveConfig | None = None, told_as: str = "") -> None:
        """Take in a source; it may come while others run.

        Args:
            source: named; names are unique.
            config: settings that differ for it.
            told_as: what the recording says of it, without secrets.
        """
        lane = self.pipeline.add(source.name, source.live, config)
        if self._journal:
            self._journal.camera(source.name, told_as or source.name, source.live, config)
        self.health.watch_trouble(f"camera {source.name}", lambda: "failed" if lane.state == "failed" else "")
        self.cameras.add(source, lane, lane.config.gap_s)

    def stop(self) -> None:
        """End soon: sources are closed, what is under way is finished. Returns at once."""
        self._stop = True

    @property
    def stopped(self) -> bool:
        """The end was ordered, by a signal or by `stop`."""
        return self._stop

    def run(self, duration_s: float | None = None, idle: Callable[[], bool] | None = None) -> list[GasmcastError]:
        """Until every source has ended, the time is up, or `stop`; what is under way is finished.

        Args:
            duration_s: seconds; None: without limit.
            idle: called often on this thread; False ends the run (a window that was closed).

        Returns:
            What went wrong with single sources; the others ran on.

        Raises:
            GasmcastError: a stage failed.
        """
        until = None if duration_s is None else time.monotonic() + duration_s
        stages = ("encode", "fuse")
        for stage in stages:
            self.health.watch(stage, partial(self.pipeline.beat, stage))
        self.health.watch("cameras", lambda: self.cameras.beat)
        watchdog = Watchdog(self.health, {stage: partial(self.pipeline.restart, stage) for stage in stages})
        with stop_signals(self.stop):
            try:
                self.pipeline.start()
                self.cameras.start()
                watchdog.start()
                while not self._stop and (until is None or time.monotonic() < until):
                    if self.pipeline.wait(0.0 if idle else 0.2) or (idle and not idle()):
                        break
            finally:
                watchdog.stop()
                self.close()
        return [lane.error for lane in self.pipeline.lanes.values() if lane.error is not None]

    def close(self) -> None:
        """Stop the sources, drain the stages, close the sinks."""
        self.cameras.stop()
        try:
            self.pipeline.wait(_DRAIN_S)
        finally:
            self.pipeline.stop()
            self._emit(self.pipeline.stats())
            for sink in self.sinks:
                sink.close()

    def _emit(self, record: Record) -> None:
        for sink in self.sinks:
            sink.write(record)
