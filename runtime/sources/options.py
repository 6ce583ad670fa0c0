"""How FFmpeg is opened through OpenCV: which protocols, how patiently, and never one capture behind another.

OpenCV takes FFmpeg's options from one environment variable of the whole process, read when a capture opens. A file must not be
able to reach the network, nor a stream the disk, so captures of different kinds open one kind at a time (`ffmpeg_options`).
Within a kind they open side by side: OpenCV's own lock is turned off, for with it four dead cameras took 8.2 s to fail instead of 2.5 s.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import cv2

__all__ = ["Kind", "OpenGate", "ffmpeg_options", "quiet_ffmpeg"]

Kind = Literal["file", "rtsp", "http"]

_OPTIONS: dict[Kind, str] = {
    "file": "protocol_whitelist;file",
    # TCP: no torn pictures. The short analysis keeps a slow camera inside the 2 s that opening may take.
    "rtsp": "protocol_whitelist;rtsp,rtp,udp,tcp,tls,crypto|rtsp_transport;tcp|fflags;discardcorrupt|analyzeduration;300000",
    "http": "protocol_whitelist;http,https,tcp,tls,crypto,httpproxy|fflags;discardcorrupt|analyzeduration;300000",
}
_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


class OpenGate:
    """Lets any number through together as long as they agree on `value`; who disagrees waits, and newcomers queue behind it.

    Who has been inside for `patience_s` is waited for no longer: what hangs in native code must not keep out all other kinds for ever.
    That is safe, because OpenCV copies the variable first of all, before it looks up a name, reaches out or reads a file. A capture that is
    held up even before that gets the options of another kind, never none, for they stay set while anyone is inside: as files and streams
    have no protocol in common, it is then refused.
    """

    def __init__(self, patience_s: float = 5.0) -> None:
        self._turn = threading.Condition()
        self._patience_s = patience_s
        self._inside: dict[
            object, tuple[str, float]
        ] = {}  # by ticket: value, and when they are waited for no longer
        self._queue: list[object] = []

    @contextmanager
    def through(self, value: str) -> Iterator[None]:
        """Wait, be inside with the options set to `value`, leave."""
        ticket = object()
        with self._turn:
            self._queue.append(ticket)
            while self._queue[0] is not ticket or self._wait_s(value) > 0:
                self._turn.wait(
                    self._wait_s(value) if self._queue[0] is ticket else None
                )  # the others are told when it is theirs
            self._queue.pop(0)
            self._inside[ticket] = value, time.monotonic() + self._patience_s
            os.environ[_VARIABLE] = value
            self._turn.notify_all()
        try:
            yield
        finally:
            with self._turn:
                del self._inside[ticket]
                if not self._inside:
                    os.environ.pop(_VARIABLE, None)
                self._turn.notify_all()

    def _wait_s(self, value: str) -> float:
        """Seconds until the last of those who disagree is waited for no longer; it may leave before."""
        ends = [end for other, end in self._inside.values() if other != value]
        return max(ends, default=0.0) - time.monotonic()


_gate = OpenGate()


def quiet_ffmpeg() -> None:
    """No native chatter on stderr, which could name a URL with its password, and no lock between captures that open."""
    os.environ.setdefault("OPENCV_FFMPEG_IS_THREAD_SAFE", "1")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    (getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel)(0)  # OpenCV 4, OpenCV 5


@contextmanager
def ffmpeg_options(kind: Kind) -> Iterator[None]:
    """Within this, `cv2.VideoCapture(..., CAP_FFMPEG)` opens `kind` with the protocols it may use, and no others."""
    quiet_ffmpeg()
    with _gate.through(_OPTIONS[kind]):
        yield
