"""Messages to systemd (the sd_notify protocol): datagrams to the socket in NOTIFY_SOCKET."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

__all__ = ["SystemdNotifier"]

_TIMEOUT_S = 1.0


class SystemdNotifier:
    """Sender of `READY=1`, `WATCHDOG=1`, `STOPPING=1` and `STATUS=`; does nothing without systemd.

    Args:
        environment: replaces `os.environ`, for NOTIFY_SOCKET and WATCHDOG_USEC.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        values = os.environ if environment is None else environment
        self._address = values.get("NOTIFY_SOCKET", "")

        # WATCHDOG_PID names the process that is watched; absent, it is this one.
        usec, pid = values.get("WATCHDOG_USEC", ""), values.get("WATCHDOG_PID", "")
        watched = not pid or pid == str(os.getpid())
        self.watchdog_s: float | None = None
        """Seconds within which systemd expects a `WATCHDOG=1`; None: it does not."""
        if watched and usec.isdecimal() and int(usec):
            self.watchdog_s = int(usec) / 1e6

    def send(self, *lines: str) -> bool:
        """Send assignments such as `READY=1`; return False if nobody listens."""
        if not self._address or not hasattr(socket, "AF_UNIX"):
            return False
        # A leading @ stands for the zero byte of Linux's abstract names.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address

        kind = socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)
        try:
            with socket.socket(socket.AF_UNIX, kind) as connection:
                connection.settimeout(_TIMEOUT_S)
                connection.sendto("\n".join(lines).encode(), address)
        except OSError:
            return False
        return True
