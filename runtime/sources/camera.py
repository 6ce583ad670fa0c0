"""One source under supervision: its thread, its state, and its retries.

The reading thread may hang in native code for ever and cannot be killed. It is then abandoned: it
loses its turn, so that what it still delivers is discarded, and a new thread takes over. All policy
is in `tick`, which a supervisor calls a few times per second, and a test with its own clock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from gasmcast.errors import GasmcastError, SourceError
from gasmcast.runtime.frames import Frame, FrameListener, Source
from gasmcast.runtime.service.backoff import Backoff
from gasmcast.runtime.service.secrets import redact
from gasmcast.runtime.service.threads import start_daemon
from gasmcast.runtime.sources.camera_state import CameraCounts, State
from gasmcast.runtime.sources.continuity import Continuity
from gasmcast.runtime.sources.webcam import AbsentError

__all__ = ["Camera"]

_log = logging.getLogger(__name__)


class Camera:
    """Read a source on its own thread and call a listener, one call at a time.

    Args:
        source: opened by `frames()` at every attempt.
        listener: receives frames, gaps, states and the end.
        backoff: pauses between attempts.
        stall_s: the camera is `stalled` without a frame for this long, or for two of its frame
            periods if that is longer.
        hang_s: a thread is abandoned if native code does not return for this long.
        max_hung: abandoned threads that may be stuck at once; then there is no further attempt
            until one returns.
        gap_s: no window may span a longer step in the stamps of a live source.
        clock: monotonic seconds.
        spawn: starts a thread.
    """

    def __init__(
        self,
        source: Source,
        listener: FrameListener,
        *,
        backoff: Backoff | None = None,
        stall_s: float = 2.0,
        hang_s: float = 10.0,
        max_hung: int = 3,
        gap_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        spawn: Callable[[Callable[[], None], str], None] = start_daemon,
    ) -> None:
        self.source = source
        self.state = State.CONNECTING
        self.detail = ""
        self.counts = CameraCounts()
        self._listener, self._clock, self._spawn = listener, clock, spawn
        self._hang_s, self._max_hung = hang_s, max_hung
        self._backoff = backoff or Backoff()

        # Guards running threads; never held while the listener is called.
        self._idle = threading.Condition()
        self._running: set[int] = set()  # turns whose threads have not returned

        # Held by whoever calls the listener or changes the fields below.
        self._calls = threading.RLock()
        self._turn = 0
        self._over = False
        self._end_reported = False
        self._retry_at: float | None = None
        # When the reader entered native code; None while it is with the listener.
        self._native_since: float | None = None
        self._continuity = Continuity(live=source.live, gap_s=gap_s, stall_s=stall_s)

    @property
    def name(self) -> str:
        """Name of the source."""
        return self.source.name

    @property
    def over(self) -> bool:
        """True when no further frame will come."""
        return self._over

    @property
    def threads(self) -> int:
        """Number of threads that have not returned, abandoned ones included."""
        return len(self._running)

    def start(self) -> None:
        """Make the first attempt."""
        with self._calls:
            if not self._over:
                self._report(State.CONNECTING)
                self._attempt()

    def tick(self) -> None:
        """Detect a stall, abandon a hanging thread, retry when it is time. Never blocks."""
        if not self._calls.acquire(blocking=False):
            return  # the listener is busy with a frame of this camera, so all is well
        try:
            now = self._clock()
            if self._over:
                return

            if self._retry_at is not None:
                if now >= self._retry_at and len(self._running) < self._max_hung:
                    self._retry_at = None
                    self._attempt()
            elif self._hangs(now):
                self.counts.hangs += 1
                what = f"{self.name} hangs: no sign of life for {self._hang_s:.0f} s."
                self._finish(self._turn, SourceError(what))
            elif self.state is State.LIVE and self.source.live and self._continuity.stalled(now):
                self.counts.stalls += 1
                silence_s = self._continuity.silence_s(now)
                self._report(State.STALLED, f"no picture for {silence_s:.1f} s")
        finally:
            self._calls.release()

    def stop(self, timeout_s: float = 3.0) -> bool:
        """Stop reading, wait for the thread, report the end.

        Returns:
            False if the thread still hangs after `timeout_s`.
        """
        # Written without the lock: the reader may hold it while its listener blocks. `_over` ends
        # an attempt that takes a later turn meanwhile.
        self._over, self._turn = True, self._turn + 1
        returned = self.join(timeout_s)

        # A hanging reader may hold the lock for ever; the end must be reported all the same.
        locked = self._calls.acquire(timeout=timeout_s if returned else 0.1)
        try:
            self._end(State.ENDED, "stopped", None)
        finally:
            if locked:
                self._calls.release()
        return returned

    def join(self, timeout_s: float) -> bool:
        """Wait until no thread of this camera runs; returns False on timeout."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._running, timeout_s)

    def _attempt(self) -> None:
        self._turn += 1
        turn = self._turn
        with self._idle:
            self._running.add(turn)

        self._native_since = self._clock()
        self._spawn(lambda: self._read(turn), f"camera-{self.name}")

    def _read(self, turn: int) -> None:
        """Read all frames of one connection; runs on the camera's thread."""
        error: GasmcastError | None = None
        try:
            self._read_frames(turn)
        except GasmcastError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001 - a bug in one camera must not stop the others
            _log.exception("camera %s: unexpected error in its reader", self.name)
            error = SourceError(
                f"{self.name}: its reader broke ({type(failure).__name__}: {redact(failure)})."
            )
        finally:
            # First the policy, then the thread: `join` must not return before the end is reported.
            with self._calls:
                self._finish(turn, error)
            with self._idle:
                self._running.discard(turn)
                self._idle.notify_all()

    def _read_frames(self, turn: int) -> None:
        frames = self.source.frames()
        try:
            for frame in frames:
                if not self._deliver(turn, frame):
                    break
        finally:
            # Release the camera now, not when the generator is garbage collected.
            close = getattr(frames, "close", None)
            if close is not None:
                close()

    def _deliver(self, turn: int, frame: Frame) -> bool:
        """Pass a frame to the listener; returns False when this thread has lost its turn."""
        with self._calls:
            if turn != self._turn or self._over:
                return False
            self._native_since = None
            now = self._clock()

            # The listener must know of a gap before the frame that follows it.
            gap = self._continuity.add(frame, now)
            if gap is not None:
                self._listener.on_gap(gap)
            if self.state is not State.LIVE:
                height, width = frame.image.shape[:2]
                self._report(State.LIVE, f"{width} x {height}")

            self.counts.frames += 1
            self._backoff.good(now)
            self._listener.on_frame(frame)
            self._native_since = self._clock()
            return turn == self._turn and not self._over

    def _finish(self, turn: int, error: GasmcastError | None) -> None:
        """End a connection, for good or until the next attempt."""
        if turn != self._turn or self._over:
            return
        self._turn += 1
        self._native_since = None

        # Only an outage is retried; a wrong setting or a missing device is not.
        outage = error is None or (
            isinstance(error, SourceError) and not isinstance(error, AbsentError)
        )

        if not (self.source.reconnects and outage):
            self._over = True
            state = State.ENDED if error is None else State.FAILED
            self._end(state, redact(error or ""), error)
            return

        now = self._clock()
        wait_s = self._backoff.bad(now)
        self._retry_at = now + wait_s
        self.counts.reconnects += 1
        self._continuity.disconnected()

        why = redact(error.what if error else f"the stream of {self.name} ended.")
        state = State.FAILED if self._backoff.hopeless else State.RECONNECTING
        self._report(state, f"{why} Next attempt in {wait_s:.1f} s.")

    def _end(self, state: State, detail: str, error: GasmcastError | None) -> None:
        if not self._end_reported:
            self._end_reported = True
            self._retry_at = None
            self._report(state, detail)
            self._listener.on_end(error)

    def _hangs(self, now: float) -> bool:
        # Only a source that reconnects can be abandoned: a file may take long to its first frame,
        # and in real time it sleeps between frames.
        return (
            self.source.reconnects
            and self._native_since is not None
            and now - self._native_since > self._hang_s
        )

    def _report(self, state: State, detail: str = "") -> None:
        self.state, self.detail = state, detail
        self._listener.on_state(state.value, detail)
