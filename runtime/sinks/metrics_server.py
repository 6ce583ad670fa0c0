"""A small HTTP server for metrics and health."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from gasmcast.errors import UsageError

__all__ = ["Answer", "MetricsServer", "parse_address"]

_MAX_CLIENTS = 16
_TIMEOUT_S = 2
_Request = socket.socket | tuple[bytes, socket.socket]  # as in `socketserver`
_LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]", "")


class Answer(NamedTuple):
    """Response to a request."""

    status: int
    content_type: str
    body: str


def parse_address(text: str, port: int = 9464) -> tuple[str, int]:
    """Return host and port of `host:port`, `[::1]:port`, `:port`, `port` or `host`.

    Without a host it is this machine only.

    Raises:
        UsageError: none of these.
    """
    host, colon, number = text.rpartition(":")
    if not colon:
        host, number = ("", text) if text.isdecimal() else (text, str(port))

    # An IPv6 address without brackets: nobody knows which part is the port.
    ambiguous = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if ambiguous or not number.isdecimal() or not 0 <= int(number) < 65536:
        raise UsageError(
            f"{text!r} is no address to listen at.",
            "Write 9464, or 0.0.0.0:9464 to be seen from other machines.",
        )

    return host.strip("[]") or "127.0.0.1", int(number)


class MetricsServer(ThreadingHTTPServer):
    """Serve GET requests, each on its own thread, for a limited number of clients at once.

    Args:
        host: address to listen at.
        port: 0 for any free port.
        answer: returns the response to a path.

    Raises:
        OSError: the address is in use, or not one of this machine.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, answer: Callable[[str], Answer]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)
        self.answer = answer
        self.local = host in ("127.0.0.1", "localhost", "::1")

        # Without a limit, slow clients could start any number of threads.
        self._places = threading.BoundedSemaphore(_MAX_CLIENTS)

    def process_request(self, request: _Request, client_address: object) -> None:
        """Start a client's thread, or close its connection if there are too many clients."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: _Request, client_address: object) -> None:
        """Serve one client."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: _Request, client_address: object) -> None:
        """Ignore clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _TIMEOUT_S
    server_version = "gasmcast"
    sys_version = ""

    def do_GET(self) -> None:
        assert isinstance(self.server, MetricsServer)
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        # DNS rebinding: a web page could resolve its own name to this machine.
        if self.server.local and host not in _LOCAL_NAMES:
            answer = Answer(421, "text/plain", "ask for localhost\n")
        else:
            answer = self.server.answer(self.path.split("?", 1)[0])

        data = answer.body.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args: object) -> None:
        """Ignore: requests are not logged."""
