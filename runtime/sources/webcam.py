"""Cameras of this machine, by index or device file."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2

from gasmcast.errors import SourceError
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.sources.capture import Capture, read_capture
from gasmcast.runtime.sources.options import quiet_ffmpeg

__all__ = ["AbsentError", "WebcamSource"]

# On Linux a camera is identified by its device file, which only V4L2 accepts.
_BACKENDS = {"linux": cv2.CAP_V4L2, "darwin": cv2.CAP_AVFOUNDATION, "win32": cv2.CAP_DSHOW}


class AbsentError(SourceError):
    """The only source of a run is absent at the start: a mistake to report now, not an outage."""


def _open(device: str) -> Capture | None:
    """Open a camera by device file on Linux, by index with the system's own API elsewhere."""
    quiet_ffmpeg()
    target = device if sys.platform == "linux" else int(device.removeprefix("/dev/video"))
    capture = cv2.VideoCapture(target, _BACKENDS.get(sys.platform, cv2.CAP_V4L2))
    if not capture.isOpened():
        capture.release()
        return None

    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not the oldest of four
    return capture


class WebcamSource:
    """Frames of `/dev/video<index>`. They have no stamps, so their arrival is used.

    Args:
        device: device file.
        name: name of the camera.
        max_fps: pictures beyond this rate are skipped.
        sole: the run has no other source. An absent device at the start is then an `AbsentError`;
            otherwise it is retried.
        clock: monotonic seconds.
        opener: opens the device; None when it cannot.
    """

    live = reconnects = True

    def __init__(
        self,
        device: str,
        name: str,
        *,
        max_fps: float | None = None,
        sole: bool = False,
        clock: Callable[[], float] = time.monotonic,
        opener: Callable[[str], Capture | None] = _open,
    ) -> None:
        self.name = name
        self.device = device
        self._max_fps, self._clock, self._opener = max_fps, clock, opener
        self._fatal = sole  # until the first frame

    def frames(self) -> Iterator[Frame]:
        """Open the device and yield its frames.

        Raises:
            AbsentError: it is the only source and has never delivered a frame.
            SourceError: it cannot be opened or read.
        """
        capture = self._opener(self.device)
        if capture is None:
            raise self._error(_reason(self.device))

        delivered = False
        for frame in read_capture(capture, self.device, max_fps=self._max_fps, clock=self._clock):
            # A camera that once worked is retried after any failure.
            delivered, self._fatal = True, False
            yield Frame(stamp_s=None, arrival=frame.arrival, image=frame.image)

        # The capture has ended: no picture came in time.
        if delivered:
            raise self._error("it sends no more pictures.")
        raise self._error("it opens but sends no picture, so another program may be using it.")

    def _error(self, why: str) -> SourceError:
        kind = AbsentError if self._fatal else SourceError
        return kind(
            f"Camera {self.device} cannot be read: {why}",
            "`v4l2-ctl --list-devices` lists the cameras there are.",
        )


def _reason(device: str) -> str:
    """Return why a device does not open, as one clause, from what the system reports."""
    if not Path(device).exists():
        return "there is no such device."
    try:
        # Opening the file shows what OpenCV hides; O_NONBLOCK, because some drivers wait.
        os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        if error.errno == errno.EACCES:
            return "this user may not open it (add the user to the group `video`)."
        if error.errno == errno.EBUSY:
            return "another program is using it."
        return f"{os.strerror(error.errno or 0).lower()}."

    return "another program is using it, or it is not a camera that takes pictures."
