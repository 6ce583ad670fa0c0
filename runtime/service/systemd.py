"""Word to the service manager (systemd's sd_notify protocol): a datagram to the socket that it names."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

__all__ = ["Notifier"]


class Notifier:
    """Sends `READY=1`, `WATCHDOG=1`, `STOPPING=1` and `STATUS=`; without a service manager it does nothing.

    Args:
        environment: where NOTIFY_SOCKET and WATCHDOG_USEC are looked up.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        values = os.environ if environment is None else environment
        self._address = values.get("NOTIFY_SOCKET", "")
        usec, pid = values.get("WATCHDOG_USEC", ""), values.get("WATCHDOG_PID", "")
        mine = not pid or pid == str(os.getpid())
        self.watchdog_s: float | None = (
            int(usec) / 1e6 if usec.isdecimal() and int(usec) and mine else None
        )
        """Seconds within which the service manager wants a `WATCHDOG=1`; None when it does not."""

    def send(self, *lines: str) -> bool:
        """Send assignments such as `READY=1`; False when nobody listens."""
        if not self._address or not hasattr(socket, "AF_UNIX"):
            return False
        # A leading @ stands for the zero byte of Linux's abstract names.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)
            ) as post:
                post.settimeout(1.0)
                post.sendto("\n".join(lines).encode(), address)
        except OSError:
            return False
        return True
