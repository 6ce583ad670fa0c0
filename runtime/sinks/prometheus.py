"""Prometheus' `/metrics` and `/health` over HTTP, in Frigate's vocabulary where it has a word."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from gasmcast import __version__
from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.records import Decision, Event, Notice, Record, Stats
from gasmcast.runtime.service.health import Health

__all__ = ["MetricsSink", "parse_address"]

_STATES = ("connecting", "live", "stalled", "reconnecting", "failed", "ended")
_MOST_CLIENTS = 16


def parse_address(text: str, port: int = 9464) -> tuple[str, int]:
    """`host:port`, `[::1]:port`, `:port`, `port` or `host`; without a host it is this machine only.

    Raises:
        UsageError: none of these.
    """
    host, colon, number = text.rpartition(":")
    if not colon:
        host, number = ("", text) if text.isdecimal() else (text, str(port))
    bare = ":" in host and not (
        host.startswith("[") and host.endswith("]")
    )  # an address of IPv6, and nobody knows which part is a port
    if bare or not number.isdecimal() or not 0 <= int(number) < 65536:
        raise UsageError(
            f"{text!r} is no address to listen at.",
            "Write 9464, or 0.0.0.0:9464 to be seen from other machines.",
        )
    return host.strip("[]") or "127.0.0.1", int(number)


class MetricsSink:
    """Serves what the records say; 200 or 503 at `/health`. Nothing it serves names a URL or a secret.

    Args:
        address: as `parse_address` takes it.
        health: whose verdict to serve.

    Raises:
        UsageError: not an address.
        MachineError: the address is in use, or not of this machine.
    """

    def __init__(self, address: str = "127.0.0.1:9464", health: Health | None = None) -> None:
        host, port = parse_address(address)
        self._health = health
        self._lock = threading.Lock()
        self._events: Counter[tuple[str, str]] = Counter()
        self._notices: Counter[tuple[str, str]] = Counter()
        self._decisions: Counter[str] = Counter()
        self._stats: Stats | None = None
        try:
            self._server = _Server((host, port), _handler(self))
        except OSError as error:
            raise MachineError(
                f"Metrics cannot be served at {host}:{port} ({error.strerror}).",
                "Give --metrics another port.",
            ) from None
        self.port: int = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.2},
            name="metrics",
            daemon=True,
        ).start()

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
        self._server.shutdown()
        self._server.server_close()

    def text(self) -> str:
        """The exposition format, version 0.0.4."""
        with self._lock:
            stats, decisions, events, notices = (
                self._stats,
                dict(self._decisions),
                dict(self._events),
                dict(self._notices),
            )
        page = _Page()
        page.family(
            "gasmcast_info", "gauge", "The version that runs.", [({"version": __version__}, 1)]
        )
        page.family(
            "gasmcast_decisions_total",
            "counter",
            "Decisions told.",
            [({"camera": c}, n) for c, n in decisions.items()],
        )
        page.family(
            "gasmcast_events_total",
            "counter",
            "Events started.",
            [({"camera": c, "label": lab}, n) for (c, lab), n in events.items()],
        )
        page.family(
            "gasmcast_notices_total",
            "counter",
            "Notices.",
            [({"camera": c, "what": w}, n) for (c, w), n in notices.items()],
        )
        if stats is not None:
            self._add_stats(page, stats)
        if self._health is not None:
            verdict = self._health.status()
            page.family(
                "gasmcast_up", "gauge", "1: all stages make progress.", [({}, int(verdict.ok))]
            )
            page.family(
                "gasmcast_uptime_seconds", "counter", "Since the start.", [({}, verdict.uptime_s)]
            )
            page.family(
                "gasmcast_stage_age_seconds",
                "gauge",
                "Since a stage's last progress.",
                _by("stage", verdict.stages),
            )
        return page.text()

    def _add_stats(self, page: _Page, stats: Stats) -> None:
        cameras = stats.cameras
        page.family(
            "gasmcast_camera_fps",
            "gauge",
            "Frames a second that come in.",
            [({"camera": c.camera}, c.fps) for c in cameras],
        )
        page.family(
            "gasmcast_camera_frames_total",
            "counter",
            "Frames in.",
            [({"camera": c.camera}, c.frames) for c in cameras],
        )
        page.family(
            "gasmcast_camera_segments_total",
            "counter",
            "Segments encoded.",
            [({"camera": c.camera}, c.segments) for c in cameras],
        )
        page.family(
            "gasmcast_camera_delivery",
            "gauge",
            "Distinct frames per slot.",
            [({"camera": c.camera}, c.delivery) for c in cameras],
        )
        states = [
            ({"camera": c.camera, "state": state}, int(c.state == state))
            for c in cameras
            for state in _STATES
        ]
        page.family(
            "gasmcast_camera_state", "gauge", "1 for the state that a camera is in.", states
        )
        drops = [
            ({"camera": c.camera, "cause": cause}, n)
            for c in cameras
            for cause, n in c.drops.items()
        ]
        page.family(
            "gasmcast_skipped_total",
            "counter",
            "Segments and decisions not computed, by cause.",
            drops,
        )
        waits = [
            ({"camera": c.camera, "quantile": _share(q)}, ms / 1000)
            for c in cameras
            for q, ms in c.latency_ms.items()
        ]
        page.family("gasmcast_latency_seconds", "gauge", "Capture to decision.", waits)
        stages = [
            ({"stage": s, "quantile": _share(q)}, ms / 1000)
            for s, row in stats.stages_ms.items()
            for q, ms in row.items()
        ]
        page.family("gasmcast_inference_speed_seconds", "gauge", "Time of each stage.", stages)
        page.family(
            "gasmcast_degradation_level",
            "gauge",
            "0 none, 1 hop x2, 2 motion gate, 3 round-robin, 4 whole windows.",
            [({}, stats.level)],
        )
        page.family(
            "gasmcast_engine_busy",
            "gauge",
            "Share of the time in which the engine computes.",
            [({}, stats.busy)],
        )
        sinks = [
            ({"sink": s, "what": what}, n)
            for s, row in stats.sinks.items()
            for what, n in row.items()
        ]
        page.family(
            "gasmcast_sink_records",
            "gauge",
            "Records by sink: written, waiting, dropped by cause.",
            sinks,
        )

    def answer(self, path: str) -> tuple[int, str, str]:
        """Status, content type and body."""
        if path == "/metrics":
            return 200, "text/plain; version=0.0.4; charset=utf-8", self.text()
        if path == "/health" and self._health is not None:
            verdict = self._health.status()
            return (
                (200 if verdict and verdict.ready else 503),
                "application/json",
                json.dumps(verdict.to_json()),
            )
        return 404, "text/plain; charset=utf-8", "/metrics or /health\n"


class _Page:
    """Metric families as text."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(
        self, name: str, kind: str, meaning: str, samples: Sequence[tuple[dict[str, str], float]]
    ) -> None:
        if samples:
            self._lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
            for labels, value in samples:
                inner = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
                self._lines.append(
                    f"{name}{{{inner}}} {value:g}"
                    if inner and isinstance(value, float)
                    else f"{name}{{{inner}}} {value}"
                )

    def text(self) -> str:
        return "\n".join(self._lines).replace("{}", "") + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _by(key: str, table: dict[str, float]) -> list[tuple[dict[str, str], float]]:
    return [({key: name}, value) for name, value in table.items()]


def _share(percentile: str) -> str:
    return f"{int(percentile.removeprefix('p')) / 100:g}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)
        self._places = threading.BoundedSemaphore(_MOST_CLIENTS)
        self.local = address[0] in ("127.0.0.1", "localhost", "::1")

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the standard library's
        """Beyond so many clients at once the connection is closed; each has 2 s."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """The client's thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """A client that hangs up is no news."""


def _handler(sink: MetricsSink) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 2
        server_version = "gasmcast"
        sys_version = ""

        def do_GET(self) -> None:
            host = self.headers.get("Host", "").rsplit(":", 1)[0]
            if getattr(self.server, "local", False) and host not in (
                "127.0.0.1",
                "localhost",
                "[::1]",
                "",
            ):
                status, kind, body = (
                    421,
                    "text/plain",
                    "ask for localhost\n",
                )  # a page that rebinds its name to us
            else:
                status, kind, body = sink.answer(self.path.split("?", 1)[0])
            data = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_args: object) -> None:
            """Requests are no news."""

    return Handler
