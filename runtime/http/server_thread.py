"""A uvicorn server on a thread of its own, beside recognition."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import Any, Literal, cast

import uvicorn

from gasmcast.runtime.http.limited_protocol import LimitedProtocol

__all__ = ["ServerThread"]

_log = logging.getLogger(__name__)


class ServerThread:
    """Serve an ASGI application until it is closed.

    Args:
        name: of the server, for its thread and for the log.
        app: the application.
        listener: bound socket; closed with the server.
        protocol: limits of a connection.
        websockets: library that speaks WebSocket, or "none".
        max_message: bytes of a WebSocket message.
    """

    def __init__(
        self,
        name: str,
        app: object,
        listener: socket.socket,
        protocol: type[LimitedProtocol],
        *,
        websockets: Literal["none", "wsproto"] = "none",
        max_message: int = 65_536,
    ) -> None:
        self._name, self._socket = name, listener

        self._server = uvicorn.Server(
            uvicorn.Config(
                cast("Any", app),
                http=protocol,
                ws=websockets,
                ws_max_size=max_message,
                interface="asgi3",
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

        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
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
            _log.exception("the %s server failed", self._name)
