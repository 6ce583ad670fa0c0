"""Prometheus metrics at `/metrics` and health at `/health`, in Frigate's terms where it has one."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable, Mapping

from gasmcast import __version__
from gasmcast.errors import MachineError
from gasmcast.runtime.http.address import parse_address
from gasmcast.runtime.records import CameraStats, Decision, Event, Notice, Record, Stats
from gasmcast.runtime.service.health import Health
from gasmcast.runtime.sinks.exposition import CONTENT_TYPE, ExpositionPage, Sample
from gasmcast.runtime.sinks.metrics_server import Answer, MetricsServer

__all__ = ["MetricsSink"]

_STATES = ("connecting", "live", "stalled", "reconnecting", "failed", "ended")


class MetricsSink:
    """Serve counts of records and the newest statistics; 200 or 503 at `/health`.

    Nothing it serves contains a URL or a secret.

    Args:
        address: see `parse_address`.
        health: health whose verdict is served.

    Raises:
        UsageError: not an address.
        MachineError: the address is in use, or not one of this machine.
    """

    def __init__(self, address: str = "127.0.0.1:9464", health: Health | None = None) -> None:
        host, port = parse_address(address)
        self._health = health

        # Guards the counts: records come on the sink's thread, requests on the server's.
        self._lock = threading.Lock()
        self._events: Counter[tuple[str, str]] = Counter()
        self._notices: Counter[tuple[str, str]] = Counter()
        self._decisions: Counter[str] = Counter()
        self._stats: Stats | None = None

        try:
            self._server = MetricsServer(host, port, self.answer)
        except OSError as error:
            raise MachineError(
                f"Metrics cannot be served at {host}:{port} ({error.strerror}).",
                "Give --metrics a free port and an address of this machine.",
            ) from None

        # Port 0 lets the system choose one.
        self.port: int = self._server.port

    def write(self, record: Record) -> None:
        """Count a record, or keep the newest statistics."""
        with self._lock:
            if isinstance(record, Decision):
                self._decisions[record.camera] += 1
            elif isinstance(record, Event):
                self._events[record.camera, record.label] += record.phase == "start"
            elif isinstance(record, Notice):
                self._notices[record.camera, record.what] += 1
            else:
                self._stats = record

    def close(self) -> None:
        """Stop serving."""
        self._server.close()

    def answer(self, path: str) -> Answer:
        """Return the response to a path."""
        if path == "/metrics":
            return Answer(200, CONTENT_TYPE, self.text())
        if path == "/health" and self._health is not None:
            verdict = self._health.status()
            # Load balancers and container runtimes read only the status.
            status = 200 if verdict and verdict.ready else 503
            return Answer(status, "application/json", json.dumps(verdict.to_json()))
        return Answer(404, "text/plain; charset=utf-8", "/metrics or /health\n")

    def text(self) -> str:
        """Return all metrics in the text exposition format."""
        # Copies, so that records are not blocked while the page is formatted.
        with self._lock:
            stats = self._stats
            decisions = dict(self._decisions)
            events, notices = dict(self._events), dict(self._notices)

        # The version is a label, because Prometheus has no text values.
        page = ExpositionPage()
        page.gauge("gasmcast_info", "The running version.", [Sample(1, {"version": __version__})])
        page.counter("gasmcast_decisions_total", "Decisions.", _samples("camera", decisions))
        page.counter(
            "gasmcast_events_total",
            "Events started.",
            [
                Sample(n, {"camera": camera, "label": label})
                for (camera, label), n in events.items()
            ],
        )
        page.counter(
            "gasmcast_notices_total",
            "Notices.",
            [Sample(n, {"camera": camera, "what": what}) for (camera, what), n in notices.items()],
        )

        # Statistics come every few seconds; there are none at the start.
        if stats is not None:
            _add_cameras(page, stats.cameras)
            _add_process(page, stats)

        if self._health is not None:
            _add_health(page, self._health)

        return page.text()


def _add_cameras(page: ExpositionPage, cameras: tuple[CameraStats, ...]) -> None:
    """Add what is measured per camera."""
    page.gauge(
        "gasmcast_camera_fps",
        "Frames per second that come in.",
        [Sample(stats.fps, {"camera": stats.camera}) for stats in cameras],
    )
    page.gauge(
        "gasmcast_camera_events_today",
        "Events in the present day of 24 observed hours.",
        [Sample(stats.events_today, {"camera": stats.camera}) for stats in cameras],
    )
    page.gauge(
        "gasmcast_camera_events_expected_per_day",
        "Upper 95 % bound of the events a day that the thresholds hold.",
        [
            Sample(stats.expected_per_day, {"camera": stats.camera})
            for stats in cameras
            if stats.expected_per_day is not None
        ],
    )
    page.counter(
        "gasmcast_camera_frames_total",
        "Frames in.",
        [Sample(stats.frames, {"camera": stats.camera}) for stats in cameras],
    )
    page.counter(
        "gasmcast_camera_segments_total",
        "Segments encoded.",
        [Sample(stats.segments, {"camera": stats.camera}) for stats in cameras],
    )
    page.gauge(
        "gasmcast_camera_delivery",
        "Distinct frames per slot.",
        [Sample(stats.delivery, {"camera": stats.camera}) for stats in cameras],
    )

    # One sample per state, as Prometheus has no enumerations.
    states, skipped, latencies = [], [], []
    for stats in cameras:
        for state in _STATES:
            labels = {"camera": stats.camera, "state": state}
            states.append(Sample(int(stats.state == state), labels))
        for cause, count in stats.drops.items():
            skipped.append(Sample(count, {"camera": stats.camera, "cause": cause}))

        # Prometheus recommends base units, so seconds.
        for percentile, ms in stats.latency_ms.items():
            labels = {"camera": stats.camera, "quantile": _quantile(percentile)}
            latencies.append(Sample(ms / 1000, labels))

    page.gauge("gasmcast_camera_state", "1 for the state that a camera is in.", states)
    page.counter(
        "gasmcast_skipped_total", "Segments and decisions not computed, by cause.", skipped
    )
    page.gauge("gasmcast_latency_seconds", "Capture to decision.", latencies)


def _add_process(page: ExpositionPage, stats: Stats) -> None:
    """Add what is measured for the whole process."""
    stages = []
    for stage, percentiles in stats.stages_ms.items():
        for percentile, ms in percentiles.items():
            labels = {"stage": stage, "quantile": _quantile(percentile)}
            stages.append(Sample(ms / 1000, labels))

    page.gauge("gasmcast_inference_speed_seconds", "Time of each stage.", stages)
    page.gauge(
        "gasmcast_degradation_level",
        "0 none, 1 hop x2, 2 still-scene filter, 3 round-robin, 4 whole windows.",
        [Sample(stats.level, {})],
    )
    page.gauge(
        "gasmcast_engine_busy",
        "Share of the time in which the engine computes.",
        [Sample(stats.busy, {})],
    )

    sinks = []
    for sink, counts in stats.sinks.items():
        sinks += [Sample(count, {"sink": sink, "what": what}) for what, count in counts.items()]
    page.gauge(
        "gasmcast_sink_records", "Records by sink: written, waiting, dropped by cause.", sinks
    )


def _add_health(page: ExpositionPage, health: Health) -> None:
    verdict = health.status()
    page.gauge("gasmcast_up", "1: all stages make progress.", [Sample(int(verdict.ok), {})])
    page.counter("gasmcast_uptime_seconds", "Since the start.", [Sample(verdict.uptime_s, {})])
    page.gauge(
        "gasmcast_stage_age_seconds",
        "Since a stage's last progress.",
        _samples("stage", verdict.stages),
    )


def _samples(label: str, values: Mapping[str, float]) -> Iterable[Sample]:
    return [Sample(value, {label: name}) for name, value in values.items()]


def _quantile(percentile: str) -> str:
    """Return `p95` as `0.95`."""
    return f"{int(percentile.removeprefix('p')) / 100:g}"
