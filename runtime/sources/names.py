"""Names of hosts, looked up with a time limit.

The system's look-up has none: a resolver that is silent takes it ten seconds and more, FFmpeg cannot interrupt it, and inside
`ffmpeg_options` it would keep captures of other kinds from opening. So a name is asked for first, outside.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from collections.abc import Callable

from gasmcast.runtime.service.threads import start_daemon
from gasmcast.runtime.sources.capture import TIMEOUT_S

__all__ = ["Names"]


def _resolve(host: str) -> object:
    return socket.getaddrinfo(host, None)


class Names:
    """Looks up names. One thread a name at most: who asks for one that is being looked up waits for the same answer.

    Args:
        resolve: returns when the name is known; raises `OSError`, `UnicodeError` when it is not; may hang.
        timeout_s: how long an answer is waited for.
    """

    def __init__(
        self, resolve: Callable[[str], object] = _resolve, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._resolve, self._timeout_s = resolve, timeout_s
        self._lock = threading.Lock()
        self._asked: dict[str, _Answer] = {}  # those without an answer yet

    def trouble(self, host: str) -> str | None:
        """Why a host cannot be asked for anything, as one clause; None when it can."""
        # Behind a proxy a name need not be known here, and FFmpeg does not look it up.
        if _is_address(host) or "http_proxy" in os.environ:
            return None
        with self._lock:
            answer = self._asked.get(host)
            if answer is None:
                answer = self._asked[host] = _Answer()
                start_daemon(lambda: self._ask(host, answer), f"name-{host}")
        if not answer.there.wait(self._timeout_s):
            return f"its name was not found within {self._timeout_s:g} s."
        return answer.trouble

    def _ask(self, host: str, answer: _Answer) -> None:
        try:
            self._resolve(host)
        except (OSError, UnicodeError):
            answer.trouble = f"the name {host} is not known to this network."
        finally:
            with self._lock:
                del self._asked[host]
            answer.there.set()


class _Answer:
    def __init__(self) -> None:
        self.there = threading.Event()
        self.trouble: str | None = None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        return False
    return True
