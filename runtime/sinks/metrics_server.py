"""A small HTTP server for metrics and health: uvicorn with a deadline for each connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from gasmcast.runtime.http.address import bind
from gasmcast.runtime.http.limited_protocol import LimitedProtocol
from gasmcast.runtime.http.server_thread import ServerThread

__all__ = ["Answer", "MetricsServer"]

_LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]", "")

_Scope = dict[str, Any]
_Receive = Callable[[], Awaitable[dict[str, Any]]]
_Send = Callable[[dict[str, Any]], Awaitable[None]]


class Answer(NamedTuple):
    """Response to a request."""

    status: int
    content_type: str
    body: str


class MetricsServer:
    """Serve GET and HEAD requests on a thread of its own, one request per connection.

    Slow clients cannot keep others out: a connection ends after 5 s, and when there are too many
    the oldest makes room for the newest.

    Args:
        host: address to listen at.
        port: 0 for any free port.
        answer: returns the response to a path.

    Raises:
        OSError: the address is in use, or not one of this machine.
    """

    def __init__(self, host: str, port: int, answer: Callable[[str], Answer]) -> None:
        self._answer = answer
        self._local = host in ("127.0.0.1", "localhost", "::1")

        listener = bind(host, port)
        self.port: int = listener.getsockname()[1]
        self._server = ServerThread("metrics", self._respond, listener, _MetricsProtocol)

    def close(self) -> None:
        """Stop serving."""
        self._server.close()

    async def _respond(self, scope: _Scope, _receive: _Receive, send: _Send) -> None:
        """Answer one request; the application in the sense of ASGI."""
        method = scope["method"]
        allow = []
        if method in ("GET", "HEAD"):
            answer = self._answer_to(scope)
        else:
            answer = Answer(405, "text/plain; charset=utf-8", "GET or HEAD\n")
            allow = [(b"allow", b"GET, HEAD")]

        body = answer.body.encode()
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"x-content-type-options", b"nosniff"),
            # One request per connection makes its deadline that of the request.
            (b"connection", b"close"),
            *allow,
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body if method == "GET" else b""})

    def _answer_to(self, scope: _Scope) -> Answer:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        host = hosts[0] if hosts else ""
        # DNS rebinding: a web page could resolve its own name to this machine.
        if self._local and _host_name(host) not in _LOCAL_NAMES:
            return Answer(421, "text/plain", "ask for localhost\n")
        return self._answer(scope["path"])


def _host_name(header: str) -> str:
    """Return the host of a Host header, without its port."""
    return header if header.endswith("]") else header.rsplit(":", 1)[0]


class _MetricsProtocol(LimitedProtocol):
    """Connection of one request; a good client needs milliseconds for it."""

    server_name = "/metrics"
    request_s = 5.0
    stalled_s = 5.0
    max_connections = 64
    answer_within_deadline = True
