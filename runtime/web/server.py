"""The server of the web view: uvicorn on a thread of its own, with limits for its clients."""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.http.address import bind, parse_address
from gasmcast.runtime.http.limited_protocol import LimitedProtocol
from gasmcast.runtime.http.server_thread import ServerThread
from gasmcast.runtime.web import PORT
from gasmcast.runtime.web.app import Page, build_app
from gasmcast.runtime.web.browser_camera import MAX_MESSAGE
from gasmcast.runtime.web.login import Login, is_loopback

if TYPE_CHECKING:
    from gasmcast.runtime.web.feed import WebFeed

__all__ = ["WebServer", "listen"]

_MIN_TOKEN = 16


def listen(address: str) -> tuple[str, socket.socket]:
    """Return the host and a socket that listens at `HOST:PORT`.

    Raises:
        UsageError: it is no address.
        MachineError: the port is in use, or the address not one of this machine.
    """
    host, port = parse_address(address, PORT)
    try:
        return host, bind(host, port)
    except OSError as error:
        raise MachineError(
            f"--web cannot listen at {host}:{port} ({error.strerror}).",
            "Give a free port and an address of this machine, as in --web 127.0.0.1:8421.",
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
        """Token made here, for the user to note; empty if none is needed or the user gave one."""
        self.port: int = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.port}/"
        """Address of the page, as a browser on this machine reaches it."""

        login = Login(given or self.token, self.port) if given or self.token else None
        self._server = ServerThread(
            "web",
            build_app(feed, page, bound=host, login=login),
            listener,
            _WebProtocol,
            websockets="wsproto",
            max_message=MAX_MESSAGE,
        )

    def close(self) -> None:
        """Stop serving."""
        self._server.close()


class _WebProtocol(LimitedProtocol):
    """Connection of a browser."""

    server_name = "the web view"
    request_s = 5.0
    stalled_s = 30.0
    max_connections = 128
