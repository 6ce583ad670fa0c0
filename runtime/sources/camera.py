"""One source under supervision: its thread, its state, and when it is tried again.

The thread that reads may hang in native code for ever and cannot be killed. It is then abandoned: it loses its turn, so that whatever
it still delivers is thrown away, and a new thread takes over. All policy is in `tick`, which a supervisor calls a few times a second
and a test calls with a clock of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from gasmcast.errors import GasmcastError, SourceError
from gasmcast.runtime.frames import Frame, FrameListener, Source
from gasmcast.runtime.service.backoff import Backoff
from gasmcast.runtime.service.secrets import redact
from gasmcast.runtime.service.threads import start_daemon
from gasmcast.runtime.sources.webcam import AbsentError

__all__ = ["Camera", "CameraCounts", "State"]

_log = logging.getLogger(__name__)


class State(str, Enum):
    """Where a camera stands. `failed` is told after five attempts in vain; a source that reconnects is tried on even so."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    FAILED = "failed"
    ENDED = "ended"


@dataclass
class CameraCounts:
    """What happened to a camera since the start."""

    frames: int = 0
    reconnects: int = 0
    stalls: int = 0
    hangs: int = 0


class Camera:
    """Reads a source on a thread of its own and tells a listener, one call at a time.

    Args:
        source: opened anew by `frames()` at every attempt.
        listener: told of frames, gaps, states and the end.
        backoff: when to try again.
        stall_s: without a frame for this long, or for two periods of the camera if that is longer, it is `stalled`.
        hang_s: without any sign from the native code for this long its thread is abandoned.
        most_hung: abandoned threads that may be stuck at once; then none is added until one comes back.
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
        most_hung: int = 3,
        gap_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        spawn: Callable[[Callable[[], None], str], None] = start_daemon,
    ) -> None:
        self.source = source
        self.state = State.CONNECTING
        self.detail = ""
        self.counts = CameraCounts()
        self._listener, self._clock, self._spawn = listener, clock, spawn
        self._stall_s, self._hang_s, self._most_hung, self._gap_s = (
            stall_s,
            hang_s,
            most_hung,
            gap_s,
        )
        self._backoff = backoff or Backoff()
        self._calls = (
            threading.RLock()
        )  # held by whoever speaks to the listener or changes what is below
        self._idle = threading.Condition()  # guards _running
        self._running: set[int] = set()  # turns whose threads have not come back
        self._turn = 0
        self._over = False
        self._end_told = False
        self._retry_at: float | None = None
        self._waits_since: float | None = (
            None  # when the reader went into native code; None while it is with the listener
        )
        self._period_s = 0.0
        self._last: tuple[float, float, tuple[int, ...]] | None = (
            None  # (stamp, when it was handed over, shape)
        )
        self._gap: str | None = None

    @property
    def name(self) -> str:
        """The source's name."""
        return self.source.name

    @property
    def over(self) -> bool:
        """Nothing will come any more."""
        return self._over

    @property
    def threads(self) -> int:
        """Threads that have not come back, abandoned ones too."""
        return len(self._running)

    def start(self) -> None:
        """Make the first attempt."""
        with self._calls:
            if not self._over:
                self._tell(State.CONNECTING)
                self._attempt()

    def tick(self) -> None:
        """Look after the camera: note a stall, abandon a thread that hangs, try again when it is time. Never blocks."""
        if not self._calls.acquire(blocking=False):
            return  # the listener is busy with a frame of ours: all is well
        try:
            now = self._clock()
            if self._over:
                return
            if self._retry_at is not None:
                if now >= self._retry_at and len(self._running) < self._most_hung:
                    self._retry_at = None
                    self._attempt()
            elif self._hangs(now):
                self.counts.hangs += 1
                self._finish(
                    self._turn,
                    SourceError(
                        f"{self.name} hangs: no sign of life for {self._hang_s:.0f} s.", ""
                    ),
                )
            elif self.state is State.LIVE and self.source.live and self._silent(now):
                self.counts.stalls += 1
                self._tell(
                    State.STALLED,
                    f"no picture for {now - self._last[1]:.1f} s" if self._last else "",
                )
        finally:
            self._calls.release()

    def stop(self, timeout_s: float = 3.0) -> bool:
        """End it: take the turn from its thread, wait for that a while, tell the listener. False when the thread still hangs."""
        # Plain writes: the reader may hold the lock while its listener blocks. `_over` ends an attempt that takes a later turn meanwhile.
        self._over, self._turn = True, self._turn + 1
        back = self.join(timeout_s)
        with_lock = self._calls.acquire(timeout=timeout_s if back else 0.1)
        try:
            self._end(State.ENDED, "stopped", None)
        finally:
            if with_lock:
                self._calls.release()
        return back

    def join(self, timeout_s: float) -> bool:
        """Wait until no thread of this camera runs; False when that took too long."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._running, timeout_s)

    def _attempt(self) -> None:
        self._turn += 1
        turn = self._turn
        with self._idle:
            self._running.add(turn)
        self._waits_since = self._clock()
        self._spawn(lambda: self._read(turn), f"camera-{self.name}")

    def _read(self, turn: int) -> None:
        """The thread: all frames of one connection."""
        error: GasmcastError | None = None
        try:
            frames = self.source.frames()
            try:
                for frame in frames:
                    if not self._deliver(turn, frame):
                        break
            finally:
                close = getattr(
                    frames, "close", None
                )  # releases the camera at once, not when garbage is collected
                if close is not None:
                    close()
        except GasmcastError as trouble:
            error = trouble
        except Exception as trouble:  # noqa: BLE001 - one camera's bug must not take the others down
            _log.exception("camera %s: unexpected error in its reader", self.name)
            error = SourceError(
                f"{self.name}: its reader broke ({type(trouble).__name__}: {redact(trouble)})."
            )
        finally:
            with self._calls:
                self._finish(turn, error)
            with self._idle:
                self._running.discard(turn)
                self._idle.notify_all()

    def _deliver(self, turn: int, frame: Frame) -> bool:
        with self._calls:
            if turn != self._turn or self._over:
                return False
            self._waits_since = None
            now = self._clock()  # not `arrival`: of a picture that is late that is long ago, and the camera not silent
            stamp = frame.arrival if frame.stamp_s is None else frame.stamp_s
            if self._last is not None and self.source.live and self._gap is None:
                if frame.image.shape != self._last[2]:
                    self._gap = "size change"
                elif not -self._gap_s <= stamp - self._last[0] <= self._gap_s:
                    self._gap = "stall"
            if self._last is not None and self._gap != "reconnect":
                step = now - self._last[1]
                self._period_s += (step - self._period_s) / 8 if self._period_s else step
            if self._gap is not None:
                self._listener.on_gap(self._gap)
                self._gap = None
            if self.state is not State.LIVE:
                self._tell(State.LIVE, f"{frame.image.shape[1]} x {frame.image.shape[0]}")
            self._last = (stamp, now, frame.image.shape)
            self.counts.frames += 1
            self._backoff.good(now)
            self._listener.on_frame(frame)
            self._waits_since = self._clock()
            return turn == self._turn and not self._over

    def _finish(self, turn: int, error: GasmcastError | None) -> None:
        """A connection is over: for good, or until the next attempt."""
        if turn != self._turn or self._over:
            return
        self._turn += 1
        self._waits_since = None
        lost = error is None or (
            isinstance(error, SourceError) and not isinstance(error, AbsentError)
        )
        if not (self.source.reconnects and lost):
            self._over = True
            self._end(State.ENDED if error is None else State.FAILED, redact(error or ""), error)
            return
        now = self._clock()
        wait = self._backoff.bad(now)
        self._retry_at = now + wait
        self.counts.reconnects += 1
        if self._last is not None:
            self._gap = "reconnect"
        why = redact(error.what if error else f"the stream of {self.name} ended.")
        self._tell(
            State.FAILED if self._backoff.hopeless else State.RECONNECTING,
            f"{why} Next attempt in {wait:.1f} s.",
        )

    def _end(self, state: State, detail: str, error: GasmcastError | None) -> None:
        if not self._end_told:
            self._end_told = True
            self._retry_at = None
            self._tell(state, detail)
            self._listener.on_end(error)

    def _hangs(self, now: float) -> bool:
        # Only what is opened anew can be given up: a file may take long to its first frame, and at its own pace it sleeps between frames.
        return (
            self.source.reconnects
            and self._waits_since is not None
            and now - self._waits_since > self._hang_s
        )

    def _silent(self, now: float) -> bool:
        return self._last is not None and now - self._last[1] > max(
            self._stall_s, 2 * self._period_s
        )

    def _tell(self, state: State, detail: str = "") -> None:
        self.state, self.detail = state, detail
        self._listener.on_state(state.value, detail)
