"""A camera of the network: RTSP, or HTTP with MJPEG, MPEG-TS or HLS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from urllib.parse import unquote, urlsplit

import cv2

from gasmcast.errors import SourceError
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.service.secrets import fill_secrets, hide, redact
from gasmcast.runtime.sources.capture import TIMEOUT_S, Capture, read_capture
from gasmcast.runtime.sources.diagnose import diagnose
from gasmcast.runtime.sources.lag import Lag
from gasmcast.runtime.sources.names import Names
from gasmcast.runtime.sources.options import Kind, ffmpeg_options
from gasmcast.runtime.sources.stamps import Backlog, LiveStamps

__all__ = ["StreamSource"]

_AGAIN = "It is tried again, less and less often."
_SMALLER = "Take its sub-stream or a lower resolution; max_fps does not help, for every picture has to be decoded."
_AHEAD_S = 2.0  # a step in a playlist's stamps beyond this is a jump of its clock, not something to wait for
_names = Names()


def _open(url: str, kind: Kind) -> Capture | None:
    """One decoder thread: FFmpeg's frame threads would each hold a frame back, and many cameras share the cores anyway.

    Raises:
        SourceError: the name of its host is not found.
    """
    if (trouble := _names.trouble(urlsplit(url).hostname or "")) is not None:
        raise SourceError(f"{redact(url)} cannot be opened: {trouble}", _AGAIN)
    patience = int(TIMEOUT_S * 1000)
    settings = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        patience,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        patience,
        cv2.CAP_PROP_N_THREADS,
        1,
    ]
    with ffmpeg_options(kind):
        capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, settings)
    if not capture.isOpened():
        capture.release()
        return None
    return capture


class StreamSource:
    """Frames of a URL, their stamps on the axis of this machine's monotonic clock.

    The URL keeps its `${NAME}`s until it is opened, so what can be printed of this object never holds a secret.
    """

    live = reconnects = True

    def __init__(
        self,
        url: str,
        name: str,
        *,
        max_fps: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        opener: Callable[[str, Kind], Capture | None] = _open,
    ) -> None:
        self.name = name
        if (password := urlsplit(url).password) and "${" not in password:
            hide(unquote(password))
        self.where = redact(url)
        self._url, self._max_fps, self._clock, self._sleep, self._opener = (
            url,
            max_fps,
            clock,
            sleep,
            opener,
        )

    def frames(self) -> Iterator[Frame]:
        """Raises: SourceError, with what the other side says where it can be asked; UsageError for a secret that is not set."""
        url = fill_secrets(self._url)
        kind: Kind = "rtsp" if urlsplit(url).scheme.startswith("rtsp") else "http"
        capture = self._opener(url, kind)
        if capture is None:
            raise SourceError(f"{self.where} cannot be opened: {diagnose(url)}", _AGAIN)
        # Multipart JPEG has no time stamps; FFmpeg numbers the pictures as if there were 25 a second.
        fourcc = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=True)
        stamps = LiveStamps(trusted=not (kind == "http" and fourcc == b"MJPG"))
        paced = urlsplit(url).path.endswith(".m3u8")
        backlog, lag = Backlog(), Lag()
        first: tuple[float, float] | None = None
        for position, arrival, waited, image in read_capture(
            capture, self.where, max_fps=self._max_fps, bursts=paced, clock=self._clock
        ):
            if paced:  # HLS comes in pieces of many seconds: play them at their own pace, else newest-wins drops most
                first = first or (position, arrival)
                early = first[1] + position - first[0] - arrival
                if not -10.0 <= early <= _AHEAD_S:
                    first, early = (position, arrival), 0.0
                if early > 0:
                    self._sleep(early)
                    arrival = self._clock()  # noqa: PLW2901
                yield Frame(stamps.place(position, arrival), arrival, image)
            elif not backlog.holds(position, arrival):
                stamp = stamps.place(position, arrival, waits=lag.waits)
                late = lag.of(stamp, arrival, waited)
                if lag.outrun:
                    raise SourceError(
                        f"{self.where} is decoded slower than it comes: {late:.1f} s behind; opened anew.",
                        _SMALLER,
                    )
                yield Frame(stamp, arrival - late, image)
        raise SourceError(f"{self.where} sends nothing any more.", _AGAIN)
