"""FFmpeg options for OpenCV captures: protocols and timeouts by kind of source.

OpenCV reads FFmpeg's options from one environment variable of the whole process when a capture
opens. A file must not be able to reach the network, nor a network stream the disk, so captures of
different kinds open one kind at a time (`ffmpeg_options`). Captures of one kind open concurrently:
OpenCV's own lock is turned off, because with it four dead cameras took 8.2 s to fail instead of
2.5 s.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import cv2

__all__ = ["Kind", "OptionsLock", "ffmpeg_options", "quiet_ffmpeg"]

Kind = Literal["file", "rtsp", "http"]

# The short analysis keeps a slow camera inside the 2 s that opening may take.
_LIVE = "fflags;discardcorrupt|analyzeduration;300000"
_OPTIONS: dict[Kind, str] = {
    "file": "protocol_whitelist;file",
    # TCP: no torn pictures.
    "rtsp": f"protocol_whitelist;rtsp,rtp,udp,tcp,tls,crypto|rtsp_transport;tcp|{_LIVE}",
    "http": f"protocol_whitelist;http,https,tcp,tls,crypto,httpproxy|{_LIVE}",
}
_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


class _Holder(NamedTuple):
    """A thread that holds the lock."""

    value: str
    until: float
    """Monotonic seconds after which others no longer wait for it."""


class OptionsLock:
    """A fair lock that any number of threads share if they need the same options.

    A thread that needs other options waits, and threads that come later queue behind it.

    Nobody waits longer than `patience_s` for a holder: one that hangs in native code must not block
    all other kinds for ever. That is safe, because OpenCV copies the variable before it looks up a
    name, connects or reads a file. A capture that is delayed even before that gets the options of
    another kind, never none, because the variable stays set while anyone holds the lock: files and
    network streams have no protocol in common, so it is then refused.
    """

    def __init__(self, patience_s: float = 5.0) -> None:
        self._changed = threading.Condition()
        self._patience_s = patience_s
        self._holders: dict[object, _Holder] = {}
        self._queue: list[object] = []

    @contextmanager
    def holding(self, value: str) -> Iterator[None]:
        """Acquire the lock, set the variable to `value`, and release the lock afterwards."""
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            while self._queue[0] is not ticket or self._wait_s(value) > 0:
                # Only the first in the queue waits for a holder; the others are notified.
                first = self._queue[0] is ticket
                self._changed.wait(self._wait_s(value) if first else None)

            self._queue.pop(0)
            self._holders[ticket] = _Holder(value, time.monotonic() + self._patience_s)
            os.environ[_VARIABLE] = value
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                del self._holders[ticket]
                if not self._holders:
                    os.environ.pop(_VARIABLE, None)
                self._changed.notify_all()

    def _wait_s(self, value: str) -> float:
        """Return the seconds to wait at most for holders of other options; they may be faster."""
        ends = [holder.until for holder in self._holders.values() if holder.value != value]
        return max(ends, default=0.0) - time.monotonic()


_lock = OptionsLock()


def quiet_ffmpeg() -> None:
    """Silence native logging, which could print a URL with its password, and OpenCV's own lock."""
    os.environ.setdefault("OPENCV_FFMPEG_IS_THREAD_SAFE", "1")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # The function has another place in OpenCV 4 and OpenCV 5.
    set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_log_level(0)


@contextmanager
def ffmpeg_options(kind: Kind) -> Iterator[None]:
    """Restrict `cv2.VideoCapture(..., CAP_FFMPEG)` in this block to the protocols of `kind`."""
    quiet_ffmpeg()
    with _lock.holding(_OPTIONS[kind]):
        yield
