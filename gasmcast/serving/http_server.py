"""Run the HTTP application until a signal ends it, and answer what was accepted before."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from gasmcast.runtime.http.limited_protocol import LimitedProtocol
from gasmcast.serving.http_app import ServeApp

try:
    import resource
except ImportError:  # Windows has no limit of open files
    resource = None  # type: ignore[assignment]

__all__ = ["run_server"]

_DRAIN_S = 30
"""Seconds that requests in work have to finish; Kubernetes kills a pod after 30 by default."""
_IDLE_S = 30
_MAX_CONNECTIONS = 2048
_OTHER_FILES = 128
"""Open files that are no connections."""


def run_server(app: ServeApp, listener: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C.

    After the first signal the server is not ready any more, accepts no connection, and ends as soon
    as every request was answered. A second signal ends it at once.

    Args:
        app: the application.
        listener: bound socket.
    """
    _ServeProtocol.max_connections = min(_MAX_CONNECTIONS, _open_files() - _OTHER_FILES)
    config = uvicorn.Config(
        app.asgi,
        http=_ServeProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=_DRAIN_S,
    )
    _DrainingServer(config, app).run([listener])


class _DrainingServer(uvicorn.Server):
    """Server whose end by a signal is a good end: uvicorn itself would raise the signal again."""

    def __init__(self, config: uvicorn.Config, app: ServeApp) -> None:
        super().__init__(config)
        self._app = app

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Drain at the first SIGTERM or SIGINT, end at the second one."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            self.force_exit = self.should_exit
            self.should_exit = True
            self._app.draining = True

        watched = (signal.SIGTERM, signal.SIGINT)
        previous = {number: signal.signal(number, handle) for number in watched}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


class _ServeProtocol(LimitedProtocol):
    """Connection of a client; the body of a request has a limit of its own, in the application."""

    server_name = "gasmcast serve"
    request_s = 30.0
    stalled_s = 60.0


def _open_files() -> int:
    """Raise the limit of open files, often 1024, as far as connections need it; return it."""
    wanted = _MAX_CONNECTIONS + _OTHER_FILES
    if resource is None:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
