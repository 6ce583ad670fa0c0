"""A small HTTP server for metrics and health: uvicorn with a deadline for each connection."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from gasmcast.errors import UsageError

if TYPE_CHECKING:
    from uvicorn.server import ServerState

__all__ = ["Answer", "MetricsServer", "parse_address"]

_log = logging.getLogger(__name__)
_MAX_CONNECTIONS = 64
# From the connection to the end of the answer, however slowly the client sends and reads.
_DEADLINE_S = 5.0
_LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]", "")

_Scope = dict[str, Any]
_Receive = Callable[[], Awaitable[dict[str, Any]]]
_Send = Callable[[dict[str, Any]], Awaitable[None]]


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
    is_port = number.isdecimal() and number.isascii() and len(number) <= 5 and int(number) < 65536
    # The look-up of a name with other letters raises errors of many kinds.
    if ambiguous or not is_port or not host.isascii() or not host.isprintable():
        raise UsageError(
            f"{text!r} is no address to listen at.",
            "Write 9464, or 0.0.0.0:9464 to be seen from other machines.",
        )

    return host.strip("[]") or "127.0.0.1", int(number)


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

        # Bound here, so that an address in use is an error at the start.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=128)
        self.port: int = self._socket.getsockname()[1]

        self._server = uvicorn.Server(
            uvicorn.Config(
                cast("Any", self._respond),
                http=_DeadlineProtocol,
                ws="none",
                lifespan="off",
                loop="asyncio",
                interface="asgi3",
                # Clients that send garbage are logged below this level.
                log_config=None,
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self._serve, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join(3.0)
        self._socket.close()

    def _serve(self) -> None:
        try:
            asyncio.run(self._server.serve([self._socket]))
        except Exception:  # noqa: BLE001 - recognition matters more than metrics
            _log.exception("the metrics server failed")

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


class _DeadlineProtocol(H11Protocol):
    """Connection that ends after a while, whatever its client does.

    uvicorn itself limits the pause between two requests, but not a request that never ends.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(_DEADLINE_S, transport.abort)
        _make_room(self.server_state, self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    @property
    def ends_at(self) -> float:
        """Time by which it ends, on the loop's clock; that of the oldest is the smallest."""
        return self._deadline.when() if self._deadline is not None else 0.0


def _make_room(state: ServerState, newest: _DeadlineProtocol) -> None:
    """End the oldest connection if there are too many; a good client needs milliseconds."""
    others = [other for other in state.connections if other is not newest]
    if len(others) < _MAX_CONNECTIONS:
        return
    oldest = min(cast("list[_DeadlineProtocol]", others), key=lambda other: other.ends_at)
    oldest.transport.abort()
