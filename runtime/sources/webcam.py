"""A camera of this machine, by index or device file."""

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


class AbsentError(SourceError):
    """The only source of a run was not there at the start: a mistake to be told at once, not an outage to wait for."""


def _open(device: str) -> Capture | None:
    """By V4L2 on Linux, for it is told apart by its device file there; elsewhere by index, with the system's own way."""
    quiet_ffmpeg()
    backend = {"linux": cv2.CAP_V4L2, "darwin": cv2.CAP_AVFOUNDATION, "win32": cv2.CAP_DSHOW}.get(
        sys.platform, cv2.CAP_V4L2
    )
    capture = cv2.VideoCapture(
        device if sys.platform == "linux" else int(device.removeprefix("/dev/video")), backend
    )
    if not capture.isOpened():
        capture.release()
        return None
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not the oldest of four
    return capture


class WebcamSource:
    """Frames of `/dev/video<index>`; they carry no stamps of their own, so arrival counts.

    Args:
        device: its file.
        name: of the camera.
        max_fps: pictures beyond this are skipped.
        sole: no other source is in the run: not to be there at the start is then an `AbsentError`; beside others it is waited for.
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
        self._fatal = sole  # until it has given a frame

    def frames(self) -> Iterator[Frame]:
        """Raises: AbsentError where it is the only source and has never given a frame, else SourceError."""
        capture = self._opener(self.device)
        if capture is None:
            raise self._trouble(_why(self.device))
        got = False
        for _, arrival, _, image in read_capture(
            capture, self.device, max_fps=self._max_fps, clock=self._clock
        ):
            got, self._fatal = True, False
            yield Frame(stamp_s=None, arrival=arrival, image=image)
        raise self._trouble(
            "it sends no more pictures."
            if got
            else "it opens but sends no picture, so another program may be using it."
        )

    def _trouble(self, why: str) -> SourceError:
        kind = AbsentError if self._fatal else SourceError
        return kind(
            f"Camera {self.device} cannot be read: {why}",
            "`v4l2-ctl --list-devices` lists the cameras there are.",
        )


def _why(device: str) -> str:
    """One clause from what the system says about the device file."""
    if not Path(device).exists():
        return "there is no such device."
    try:
        os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        if error.errno == errno.EACCES:
            return "this user may not open it (add the user to the group `video`)."
        if error.errno == errno.EBUSY:
            return "another program is using it."
        return f"{os.strerror(error.errno or 0).lower()}."
    return "another program is using it, or it is not a camera that takes pictures."
