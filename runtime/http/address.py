"""Addresses that a server listens at."""

from __future__ import annotations

import socket

from gasmcast.errors import UsageError

__all__ = ["bind", "parse_address"]


def parse_address(text: str, port: int = 9464) -> tuple[str, int]:
    """Return host and port of `host:port`, `[::1]:port`, `:port`, `port` or `host`.

    Without a host it is this machine only.

    Args:
        text: what the user wrote.
        port: port of a text without one.

    Raises:
        UsageError: none of these.
    """
    host, colon, number = text.rpartition(":")
    if not colon:
        host, number = ("", text) if text.isdecimal() else (text, str(port))

    # An IPv6 address without brackets: nobody knows which part is the port.
    ambiguous = ":" in host and not (host.startswith("[") and host.endswith("]"))
    is_port = number.isdecimal() and number.isascii() and len(number) <= 5 and int(number) < 65536
    # The look-up of a name with other letters raises errors of many kinds.
    if ambiguous or not is_port or not host.isascii() or not host.isprintable():
        raise UsageError(
            f"{text!r} is no address to listen at.",
            f"Write {port}, or 0.0.0.0:{port} to be reached from other machines.",
        )

    return host.strip("[]") or "127.0.0.1", int(number)


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address; port 0 is any free one.

    A server binds it before slow work, so that an address in use is an error at the start.

    Raises:
        OSError: the address is in use, or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=512)
