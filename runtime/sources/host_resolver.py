"""Look-up of host names with a time limit.

The system's look-up has none: a resolver that does not answer takes ten seconds and more, FFmpeg
cannot interrupt it, and inside `ffmpeg_options` it would block captures of other kinds. A name is
therefore looked up first, outside.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from collections.abc import Callable

from gasmcast.runtime.service.threads import start_daemon
from gasmcast.runtime.sources.capture import TIMEOUT_S

__all__ = ["HostResolver"]


def _resolve(host: str) -> object:
    return socket.getaddrinfo(host, None)


class HostResolver:
    """Look up host names, with at most one thread per name; concurrent callers share its answer.

    Args:
        resolve: returns when the name is known; raises `OSError` or `UnicodeError` when it is not;
            may hang.
        timeout_s: how long to wait for an answer.
    """

    def __init__(
        self, resolve: Callable[[str], object] = _resolve, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._resolve, self._timeout_s = resolve, timeout_s
        self._lock = threading.Lock()
        self._pending: dict[str, _Answer] = {}

    def failure(self, host: str) -> str | None:
        """Return why a host's name cannot be resolved, as one clause; None if it can."""
        # Behind a proxy a name need not be known here, and FFmpeg does not look it up.
        if _is_address(host) or "http_proxy" in os.environ:
            return None

        with self._lock:
            answer = self._pending.get(host)
            if answer is None:
                answer = self._pending[host] = _Answer()
                # A daemon thread, because the look-up may never return.
                start_daemon(lambda: self._look_up(host, answer), f"name-{host}")

        if not answer.ready.wait(self._timeout_s):
            return f"its name was not found within {self._timeout_s:g} s."
        return answer.failure

    def _look_up(self, host: str, answer: _Answer) -> None:
        try:
            self._resolve(host)
        except (OSError, UnicodeError):
            answer.failure = f"the name {host} is not known to this network."
        finally:
            with self._lock:
                del self._pending[host]
            answer.ready.set()


class _Answer:
    def __init__(self) -> None:
        self.ready = threading.Event()
        self.failure: str | None = None


def _is_address(host: str) -> bool:
    try:
        # A scope (`fe80::1%eth0`) is not part of the address.
        ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        return False
    return True
