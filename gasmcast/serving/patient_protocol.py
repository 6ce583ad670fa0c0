"""Connections that may be slow, but not for ever, and not too many at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

try:
    import resource
except ImportError:  # Windows has no limit of open files
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from uvicorn.server import ServerState

__all__ = ["PatientProtocol", "allow_connections"]

_HEAD_S = 30.0
"""Seconds from the connection, or from the answer before, until the head of a request is there."""
_STALLED_S = 60.0
"""Seconds for which a client may leave an answer unread."""
_MAX_CONNECTIONS = 2048
_OTHER_FILES = 128
"""Open files that are no connections."""


def allow_connections() -> None:
    """Raise the limit of open files, often 1024, so that all connections find room."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_CONNECTIONS + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _room() -> int:
    """Return how many connections the limit of open files has room for."""
    if resource is None:
        return _MAX_CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return min(_MAX_CONNECTIONS, max(1, soft - _OTHER_FILES))


class PatientProtocol(H11Protocol):
    """Connection that is cut if a client does not finish its head, or does not read its answer.

    uvicorn limits the pause after an answer, but not a head that never ends. A body has a limit of
    its own, in the application.
    """

    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """True while a request is read or answered."""
        # uvicorn sets it with the first request only.
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for a head."""
        super().connection_made(transport)
        self._await_head()
        _make_room(self.server_state, self)

    def handle_events(self) -> None:
        """Stop waiting once the head is there: the application takes over."""
        super().handle_events()
        if self.busy:
            self._cancel(self._deadline)

    def on_response_complete(self) -> None:
        """Wait for the next head."""
        self._await_head()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Start to wait for the client to read."""
        super().pause_writing()
        self._stalled = self.loop.call_later(_STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop waiting: the client reads."""
        self._cancel(self._stalled)
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all waiting."""
        self._cancel(self._deadline)
        self._cancel(self._stalled)
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._cancel(self._deadline)
        self._deadline = self.loop.call_later(_HEAD_S, self.transport.abort)

    def _cancel(self, timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


def _make_room(state: ServerState, newest: PatientProtocol) -> None:
    """Cut a connection if there are too many: one without a request, else the newest."""
    room = _room()
    if len(state.connections) <= room:
        return
    # One that was cut stays in the list until the event loop comes to it.
    connections = cast("set[PatientProtocol]", state.connections)
    still_open = [other for other in connections if not other.transport.is_closing()]
    if len(still_open) > room:
        idle = [other for other in still_open if other is not newest and not other.busy]
        (idle[0] if idle else newest).transport.abort()
