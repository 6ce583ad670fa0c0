"""Who may use the web view: a token for every address but this machine's own, and host names."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

__all__ = ["Login", "is_loopback", "known_host", "same_origin"]

_SESSION_S = 12 * 3600.0
_MAX_SESSIONS = 256
_TRIES, _TRIES_S = 10, 60.0  # wrong tokens of one client in this time
_MAX_CLIENTS = 1024  # whose wrong tokens are counted


def is_loopback(host: str) -> bool:
    """Return whether an address to listen at is reachable from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def known_host(header: str, bound: str) -> bool:
    """Return whether the Host of a request names this machine.

    A page of another site could give its own name the address of this machine (DNS rebinding). An
    address cannot be rebound, and neither can names that this machine has itself.

    Args:
        header: value of `Host`.
        bound: host that the server listens at.
    """
    try:
        name = (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:  # brackets that are not closed
        return False
    own = socket.gethostname().lower()
    if name in ("localhost", bound.lower(), own, f"{own.partition('.')[0]}.local"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def same_origin(origin: str | None, hosts: tuple[str, ...]) -> bool:
    """Return whether a request comes from a page of this server, or from no page at all.

    Args:
        origin: value of `Origin`, which every browser sends with what changes something.
        hosts: values of `Host` and `X-Forwarded-Host`.
    """
    # A page without an origin of its own (a file, a sandbox) sends `null`.
    return origin is None or origin.partition("://")[2] in [host for host in hosts if host]


class Login:
    """Sessions of browsers that gave the token.

    Args:
        token: what a user must give.
        port: port of the server. Browsers send the cookies of a host to all of its ports, so two
            servers of one machine need two names.
        clock: monotonic seconds.
    """

    def __init__(
        self, token: str, port: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.cookie = f"gasmcast-{port}"
        """Name of the cookie with the session."""
        self._token, self._clock = token.encode(), clock
        self._sessions: OrderedDict[str, float] = OrderedDict()
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()

    def closed(self, client: str) -> bool:
        """Return whether a client must wait, because it gave too many wrong tokens in a minute."""
        since = self._clock() - _TRIES_S
        recent = [moment for moment in self._wrong.get(client, []) if moment > since]
        return len(recent) >= _TRIES

    def open_session(self, token: str, client: str = "") -> str | None:
        """Return the secret of a new session; None for a wrong token.

        Args:
            token: what the user gave.
            client: address of the browser. Its wrong tokens keep nobody else out.
        """
        # Compared in constant time, so that the time taken tells nothing about the token.
        if self.closed(client) or not hmac.compare_digest(token.encode(), self._token):
            self._note_wrong(client)
            return None
        session = secrets.token_urlsafe(32)
        self._sessions[session] = self._clock() + _SESSION_S
        while len(self._sessions) > _MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def knows(self, session: str | None) -> bool:
        """Return whether a session is open."""
        ends = self._sessions.get(session or "")
        return ends is not None and self._clock() < ends

    def _note_wrong(self, client: str) -> None:
        moments = self._wrong.setdefault(client, [])
        moments.append(self._clock())
        del moments[:-_TRIES]

        # A scan from many addresses must not fill the memory.
        self._wrong.move_to_end(client)
        while len(self._wrong) > _MAX_CLIENTS:
            self._wrong.popitem(last=False)
