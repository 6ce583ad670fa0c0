"""HTTP connections whose response must come by a deadline, however slowly its bytes arrive.

A socket timeout of `http.client` starts again with every byte. A receiver that sends one byte every
few seconds, or `100 Continue` without end, would hold the sender for as long as it likes.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["deadline_handlers"]

_MAX_HEAD_BYTES = 65_536


class _DeadlineReader(io.RawIOBase):
    """Head of a response, read from a socket until a deadline."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection, self._deadline = connection, deadline
        self._left = _MAX_HEAD_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        # A flood that keeps within the deadline would still cost a core.
        left_s = self._deadline - time.monotonic()
        if left_s <= 0 or self._left <= 0:
            raise TimeoutError("its answer does not end")
        self._connection.settimeout(left_s)
        count = self._connection.recv_into(buffer)
        self._left -= count
        return count


class _Response(http.client.HTTPResponse):
    """Response whose status and headers must arrive within the timeout of its socket."""

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        deadline = time.monotonic() + (sock.gettimeout() or 0.0)
        self.fp.close()
        self.fp = io.BufferedReader(_DeadlineReader(sock, deadline))


class _Connection(http.client.HTTPConnection):
    response_class = _Response


class _SecureConnection(http.client.HTTPSConnection):
    response_class = _Response


class _Handler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _SecureHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req)


def deadline_handlers() -> tuple[urllib.request.BaseHandler, ...]:
    """Return handlers for `urllib.request.build_opener`; certificates are verified as usual.

    A connection is closed after the head of its response, so its body cannot be read.
    """
    return _Handler(), _SecureHandler()
