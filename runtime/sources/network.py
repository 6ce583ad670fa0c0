"""Network cameras: RTSP, or HTTP with MJPEG, MPEG-TS or HLS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import unquote, urlsplit

import cv2

from gasmcast.errors import SourceError
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.service.secrets import fill_secrets, hide, redact
from gasmcast.runtime.sources.capture import TIMEOUT_S, Capture, CapturedFrame, read_capture
from gasmcast.runtime.sources.diagnose import diagnose
from gasmcast.runtime.sources.host_resolver import HostResolver
from gasmcast.runtime.sources.lag import DecodeLag
from gasmcast.runtime.sources.options import Kind, ffmpeg_options
from gasmcast.runtime.sources.stamps import ConnectBacklog, LiveStamps

__all__ = ["NetworkSource"]

_RETRY_HINT = "It is tried again, less and less often."
_LAG_HINT = (
    "Take its sub-stream or a lower resolution; max_fps does not help, for every picture has to be "
    "decoded."
)
_MAX_LATE_S = 10.0  # of a playlist's picture
_MAX_EARLY_S = 2.0  # a longer step in a playlist's stamps is a jump of its clock
_resolver = HostResolver()


def _open(url: str, kind: Kind) -> Capture | None:
    """Open a URL with FFmpeg; None if it does not open.

    It decodes with one thread: each of FFmpeg's frame threads would hold a frame back, and many
    cameras share the cores in any case.

    Raises:
        SourceError: the host's name is not found.
    """
    failure = _resolver.failure(urlsplit(url).hostname or "")
    if failure is not None:
        raise SourceError(f"{redact(url)} cannot be opened: {failure}", _RETRY_HINT)

    timeout_ms = int(TIMEOUT_S * 1000)
    settings = {
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: timeout_ms,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC: timeout_ms,
        cv2.CAP_PROP_N_THREADS: 1,
    }
    # OpenCV takes properties and values in one flat list.
    flat = [value for setting in settings.items() for value in setting]
    with ffmpeg_options(kind):
        capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, flat)
    if not capture.isOpened():
        capture.release()
        return None
    return capture


class NetworkSource:
    """Frames of a URL, with stamps on the axis of this machine's monotonic clock.

    The URL keeps its `${NAME}`s until it is opened, so a printed object never shows a secret.

    Args:
        url: RTSP or HTTP.
        name: name of the camera.
        max_fps: pictures beyond this rate are skipped.
        clock: monotonic seconds.
        sleep: pauses the thread; plays playlists at their own pace.
        opener: opens a URL; None when it cannot.
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
        password = urlsplit(url).password
        if password and "${" not in password:
            hide(unquote(password))
        # Errors and logs show this text, never the URL itself.
        self.where = redact(url)
        self._url, self._max_fps, self._opener = url, max_fps, opener
        self._clock, self._sleep = clock, sleep

    def frames(self) -> Iterator[Frame]:
        """Open the URL and yield its frames until it sends nothing any more.

        Raises:
            SourceError: it cannot be opened or read, with what the other side reports.
            UsageError: a secret in the URL is not set.
        """
        url = fill_secrets(self._url)
        kind: Kind = "rtsp" if urlsplit(url).scheme.startswith("rtsp") else "http"
        capture = self._opener(url, kind)
        if capture is None:
            raise SourceError(f"{self.where} cannot be opened: {diagnose(url)}", _RETRY_HINT)

        # Multipart JPEG has no stamps; FFmpeg numbers its pictures as if there were 25 per second.
        fourcc = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=True)
        stamps = LiveStamps(trusted=not (kind == "http" and fourcc == b"MJPG"))
        playlist = urlsplit(url).path.endswith(".m3u8")
        captured = read_capture(
            capture, self.where, max_fps=self._max_fps, bursts=playlist, clock=self._clock
        )
        # Release the capture at once, not when the traceback of an error is garbage collected.
        with closing(captured):
            if playlist:
                yield from self._paced(captured, stamps)
            else:
                yield from self._as_they_come(captured, stamps)
        raise SourceError(f"{self.where} sends nothing any more.", _RETRY_HINT)

    def _paced(self, captured: Iterator[CapturedFrame], stamps: LiveStamps) -> Iterator[Frame]:
        """Play a playlist (HLS) at its own pace.

        It comes in pieces of many seconds, of which newest-wins would drop most.
        """
        start: tuple[float, float] | None = None  # position and arrival
        for position_s, arrival, _, image in captured:
            # Positions count from the first picture, or from the first after a jump.
            start = start or (position_s, arrival)
            early_s = start[1] + position_s - start[0] - arrival
            if not -_MAX_LATE_S <= early_s <= _MAX_EARLY_S:
                start, early_s = (position_s, arrival), 0.0

            shown_at = arrival
            if early_s > 0:
                self._sleep(early_s)
                shown_at = self._clock()
            yield Frame(stamps.place(position_s, shown_at), shown_at, image)

    def _as_they_come(
        self, captured: Iterator[CapturedFrame], stamps: LiveStamps
    ) -> Iterator[Frame]:
        """Yield frames with their decode lag subtracted from arrival.

        Raises:
            SourceError: decoding cannot keep up; opening the stream again drops what has queued.
        """
        backlog, lag = ConnectBacklog(), DecodeLag()
        for position_s, arrival, waited_s, image in captured:
            # Old pictures would anchor the stamps in the past.
            if backlog.includes(position_s, arrival):
                continue
            stamp_s = stamps.place(position_s, arrival, keeps_up=lag.keeps_up)
            late_s = lag.measure(stamp_s, arrival, waited_s)

            if lag.falls_behind:
                raise SourceError(
                    f"{self.where} is decoded slower than it comes: {late_s:.1f} s behind; "
                    "it is opened again.",
                    _LAG_HINT,
                )
            yield Frame(stamp_s, arrival - late_s, image)
