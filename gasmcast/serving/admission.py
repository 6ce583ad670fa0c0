"""Limits on what a server holds at once, so that its memory is bounded whatever clients do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gasmcast.serving.sequence_model import BusyError

__all__ = ["Admission"]


class Admission:
    """Count requests in work and the bytes of their bodies.

    Args:
        max_requests: requests that are read or answered at once.
        max_bytes: bytes of their bodies together.
    """

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.requests = self.bytes = 0
        self._max_requests, self._max_bytes = max_requests, max_bytes

    @contextmanager
    def entered(self, size: int) -> Iterator[None]:
        """Reserve room for a request with a body of `size` bytes.

        Raises:
            BusyError: there is none now.
        """
        if self.requests >= self._max_requests or self.bytes + size > self._max_bytes:
            raise BusyError(f"{self.requests} requests are being worked on already.")
        self.requests += 1
        self.bytes += size
        try:
            yield
        finally:
            self.requests -= 1
            self.bytes -= size
