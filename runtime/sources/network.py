"""Network cameras: RTSP, or HTTP with MJPEG, MPEG-TS or HLS."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import unquote, urlsplit

import av

from gasmcast.errors import SourceError
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.service.secrets import fill_secrets, hide, redact
from gasmcast.runtime.sources.capture import TIMEOUT_S, Capture, CapturedFrame, read_capture
from gasmcast.runtime.sources.connection import (
    FIRST_PICTURE_S,
    LONGEST_OPEN_S,
    NoVideoError,
    connect,
)
from gasmcast.runtime.sources.connection_settings import ConnectionSettings
from gasmcast.runtime.sources.diagnose import diagnose
from gasmcast.runtime.sources.host_resolver import HostResolver
from gasmcast.runtime.sources.lag import DecodeLag
from gasmcast.runtime.sources.stamps import ConnectBacklog, LiveStamps

__all__ = ["NetworkSource"]

_RETRY_HINT = "It is tried again, less and less often."
_LAG_HINT = (
    "Take its sub-stream or a lower resolution; max_fps does not help, for every picture has to be "
    "decoded."
)
_MAX_LATE_S = 10.0  # of a playlist's picture
_MAX_EARLY_S = 2.0  # a longer step in a playlist's stamps is a jump of its clock
_UNKNOWN_RATE_S = 10.0  # read timeout while the camera's rate is not known
# Some cameras take the password in the path: /user=admin_password=..._channel=1.
_SECRET_IN_PATH = re.compile(r"(?i)(?:pass(?:word)?|pwd|token|secret|key)=([^&/_?]+)")
_resolver = HostResolver()


def _open(url: str, settings: ConnectionSettings, read_s: float, where: str) -> Capture:
    """Open a URL with FFmpeg.

    Raises:
        SourceError: it cannot be opened, with the reason.
    """
    failure = _resolver.failure(urlsplit(url).hostname or "")
    if failure is None:
        try:
            return connect(url, settings, read_s, where)
        except NoVideoError:
            failure = "it sends no video, or of an unknown format."
        except (av.FFmpegError, ValueError) as error:
            failure = diagnose(url, settings, error)
    raise SourceError(f"{where} cannot be opened: {failure}", _RETRY_HINT)


class NetworkSource:
    """Frames of a URL, with stamps on the axis of this machine's monotonic clock.

    The URL keeps its `${NAME}`s until it is opened, so a printed object never shows a secret.

    Args:
        url: RTSP or HTTP.
        name: name of the camera.
        settings: transport, certificates and decoder; None: the defaults.
        max_fps: pictures beyond this rate are skipped.
        clock: monotonic seconds.
        sleep: pauses the thread; plays playlists at their own pace.
        opener: opens a URL, given the settings, the read timeout and the URL without secrets.
    """

    live = reconnects = True

    def __init__(
        self,
        url: str,
        name: str,
        *,
        settings: ConnectionSettings | None = None,
        max_fps: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        opener: Callable[[str, ConnectionSettings, float, str], Capture] = _open,
    ) -> None:
        self.name = name
        password = urlsplit(url).password
        if password and "${" not in password:
            hide(unquote(password))
        for match in _SECRET_IN_PATH.finditer(urlsplit(url).path):
            if "${" not in match.group(1):
                hide(match.group(1))
        # Errors and logs show this text, never the URL itself.
        self.where = redact(url)
        self.gap_s = TIMEOUT_S
        """Seconds without a picture that are no fault."""
        self._url, self._settings = url, settings or ConnectionSettings()
        self._max_fps, self._opener = max_fps, opener
        self._clock, self._sleep = clock, sleep
        self._period_s: float | None = None  # between two pictures; kept for the next connection
        self._waits_for_first = True

    @property
    def patience_s(self) -> float:
        """Seconds that the reader may need at present until the next picture, or an error."""
        if self._waits_for_first:
            return LONGEST_OPEN_S + FIRST_PICTURE_S + self._read_timeout_s()
        return self._read_timeout_s() + 1.0

    def _read_timeout_s(self) -> float:
        """Return the longest time without a packet."""
        usual_s = _UNKNOWN_RATE_S if self._period_s is None else 2.0 * self._period_s
        return max(TIMEOUT_S, self.gap_s, usual_s)

    def frames(self) -> Iterator[Frame]:
        """Open the URL and yield its frames until it sends nothing any more.

        Raises:
            SourceError: it cannot be opened or read, with what the other side reports.
            UsageError: a secret in the URL is not set.
        """
        url = fill_secrets(self._url)
        self._waits_for_first = True
        capture = self._opener(url, self._settings, self._read_timeout_s(), self.where)

        stamps = LiveStamps(trusted=getattr(capture, "has_stamps", True))
        playlist = urlsplit(url).path.endswith(".m3u8")
        captured = read_capture(
            capture, self.where, max_fps=self._max_fps, bursts=playlist, clock=self._clock
        )
        # Release the capture at once, not when the traceback of an error is garbage collected.
        with closing(captured):
            watched = self._watched(captured)
            if playlist:
                yield from self._paced(watched, stamps)
            else:
                yield from self._as_they_come(watched, stamps)
        raise SourceError(f"{self.where} sends nothing any more.", _RETRY_HINT)

    def _watched(self, captured: Iterator[CapturedFrame]) -> Iterator[CapturedFrame]:
        """Pass pictures on, and measure their period for timeouts."""
        last: float | None = None
        for frame in captured:
            self._waits_for_first = False
            if last is not None:
                step_s = frame.arrival - last
                # A rare picture must raise the timeout at once; frequent ones lower it slowly.
                period_s = self._period_s or step_s
                self._period_s = max(step_s, period_s + (step_s - period_s) / 8)
            last = frame.arrival
            yield frame

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
