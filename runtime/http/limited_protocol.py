"""Connections that may be slow, but not for ever, and not too many at once."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

from gasmcast.runtime.http.refusal_log import RefusalLog

__all__ = ["LimitedProtocol"]

_refused = RefusalLog(logging.getLogger(__name__))


class LimitedProtocol(H11Protocol):
    """Connection of uvicorn that ends if its client does not send, or does not read, in time.

    uvicorn limits the pause after an answer, but not a request that never ends, be it the first or
    a later one. A stream of pictures may last for ever, as long as its client reads it. Servers set
    the limits in a subclass.

    If there are too many connections, the oldest one without a request ends, else the oldest one
    whose request has not arrived whole, else the newest.
    """

    server_name: ClassVar[str] = "a server"
    """Name of the server, for the log."""

    request_s: ClassVar[float]
    """Seconds from the connection, or from the answer before, until the head of a request."""
    stalled_s: ClassVar[float]
    """Seconds for which a client may leave unread what was sent to it."""
    max_connections: ClassVar[int]
    answer_within_deadline: ClassVar[bool] = False
    """True: the answer counts toward `request_s`, too, and may be cut for a newer connection."""

    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    since_s: float = 0.0
    """Start of the connection, on the clock of the event loop."""

    @property
    def busy(self) -> bool:
        """True while a request is answered that nothing but its client may end."""
        # uvicorn sets the cycle with the first request only.
        cycle: Any = self.cycle
        answering = cycle is not None and not cycle.response_complete
        return answering and not self.answer_within_deadline

    @property
    def receiving(self) -> bool:
        """True while the body of a request arrives."""
        cycle: Any = self.cycle
        return cycle is not None and cycle.more_body and not cycle.response_started

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for a request."""
        super().connection_made(transport)
        self.since_s = self.loop.time()
        self._await_request()
        self._make_room()

    def handle_events(self) -> None:
        """Stop waiting once a request is there: the application decides how long it takes."""
        super().handle_events()
        if self.busy:
            _cancel(self._deadline)

    def handle_websocket_upgrade(self, event: Any) -> None:  # noqa: ANN401 - a type of h11
        """Stop waiting: the connection belongs to another protocol from now on."""
        _cancel(self._deadline)
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        if not self.answer_within_deadline:
            self._await_request()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Start to wait for the client to read."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.stalled_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop waiting: the client reads."""
        _cancel(self._stalled)
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all waiting."""
        _cancel(self._deadline)
        _cancel(self._stalled)
        super().connection_lost(exc)

    def _await_request(self) -> None:
        _cancel(self._deadline)
        self._deadline = self.loop.call_later(self.request_s, self._end_slow)

    def _end_slow(self) -> None:
        """End a connection whose client did not send in time."""
        # Browsers open connections ahead of need: silence is no reason for a warning.
        if self.conn.trailing_data[0]:
            _refused.note(f"a slow request to {self.server_name}")
        self.transport.abort()

    def _make_room(self) -> None:
        """End a connection if this one is too many."""
        # WebSockets are among the connections, and are never idle. A connection that was cut stays
        # in the set until the event loop comes to it.
        connections = cast("set[asyncio.Protocol]", self.server_state.connections)
        mine = [other for other in connections if isinstance(other, LimitedProtocol)]
        still_open = [other for other in mine if not other.transport.is_closing()]
        if len(still_open) + len(connections) - len(mine) <= self.max_connections:
            return
        idle = [other for other in still_open if other is not self and not other.busy]
        waiting = [other for other in still_open if other is not self and other.receiving]
        victim = min(idle or waiting or [self], key=lambda other: other.since_s)
        _refused.note(f"a connection to {self.server_name}, which has too many")
        victim.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
