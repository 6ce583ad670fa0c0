"""The server of the web view: uvicorn on a thread of its own, with limits for its clients."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import threading
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.sinks.metrics_server import parse_address
from gasmcast.runtime.web.app import Page, build_app
from gasmcast.runtime.web.browser_camera import MAX_MESSAGE
from gasmcast.runtime.web.login import Login, is_loopback

if TYPE_CHECKING:
    from uvicorn.server import ServerState

    from gasmcast.runtime.web.feed import WebFeed

__all__ = ["PORT", "WebServer", "listen"]

_log = logging.getLogger(__name__)
PORT = 8420
_MAX_CONNECTIONS = 128
_REQUEST_S = 5.0  # from the connection, or the answer before, to a whole request
_STALLED_S = 30.0  # for which a client may leave unread what was sent to it
_MIN_TOKEN = 16


def listen(address: str) -> tuple[str, socket.socket]:
    """Return the host and a socket that listens at `HOST:PORT`.

    Raises:
        UsageError: it is no address.
        MachineError: the port is in use, or the address not one of this machine.
    """
    host, port = parse_address(address, PORT)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return host, socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise MachineError(
            f"--web cannot listen at {host}:{port} ({error.strerror}).",
            "Another program uses the port: give another one, as in --web 127.0.0.1:8421.",
        ) from None


class WebServer:
    """The web view at an address.

    Args:
        host: host that the socket listens at; any but this machine's own needs a login.
        listener: from `listen`.
        feed: pictures and records of the run.
        page: what else the page shows.

    Raises:
        UsageError: the token in GASMCAST_WEB_TOKEN is too short.
    """

    def __init__(self, host: str, listener: socket.socket, feed: WebFeed, page: Page) -> None:
        # Behind a reverse proxy every visitor comes from this machine, so a token may be given.
        given = os.environ.get("GASMCAST_WEB_TOKEN", "")
        if given and len(given) < _MIN_TOKEN:
            raise UsageError(
                f"GASMCAST_WEB_TOKEN has {len(given)} characters.", f"Give at least {_MIN_TOKEN}."
            )
        self.token = "" if is_loopback(host) or given else secrets.token_urlsafe(18)
        """Token that was made here, for the user to note; empty where none is needed or given."""
        self._socket = listener
        self.port: int = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.port}/"
        """Address of the page, as a browser on this machine reaches it."""

        login = Login(given or self.token) if given or self.token else None
        self._server = uvicorn.Server(
            uvicorn.Config(
                cast("Any", build_app(feed, page, bound=host, login=login)),
                http=_PatientProtocol,
                ws="wsproto",
                ws_max_size=MAX_MESSAGE,
                lifespan="off",
                loop="asyncio",
                # Clients that send garbage are logged below this level.
                log_config=None,
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self._serve, name="web", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join(3.0)
        self._socket.close()

    def _serve(self) -> None:
        try:
            asyncio.run(self._server.serve([self._socket]))
        except Exception:  # noqa: BLE001 - recognition matters more than its view
            _log.exception("the web view failed")


class _PatientProtocol(H11Protocol):
    """Connection that ends if no whole request comes in time, or if nobody reads what it sends.

    uvicorn limits the pause after an answer, but not a request that never ends, be it the first or
    a later one. A stream may last for ever, as long as its client reads.
    """

    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """True while a request is being answered."""
        # uvicorn sets it with the first request only.
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_request()
        _make_room(self.server_state, self)

    def handle_events(self) -> None:
        super().handle_events()
        # From the moment that a request is whole, the application decides how long it takes.
        if self.busy:
            self._cancel_deadline()

    def handle_websocket_upgrade(self, event: Any) -> None:  # noqa: ANN401 - a type of h11
        # The connection belongs to another protocol from now on.
        self._cancel_deadline()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        self._await_request()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(_STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        self._cancel_deadline()
        self._deadline = self.loop.call_later(_REQUEST_S, self.transport.abort)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _make_room(state: ServerState, newest: _PatientProtocol) -> None:
    """End a connection if there are too many: one without a request, else the newest."""
    if len(state.connections) <= _MAX_CONNECTIONS:
        return
    # WebSockets are among the connections, and are never idle.
    patient = [other for other in state.connections if isinstance(other, _PatientProtocol)]
    idle = [other for other in patient if other is not newest and not other.busy]
    (idle[0] if idle else newest).transport.abort()
