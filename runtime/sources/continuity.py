"""Continuity of a camera's frames: gaps that no window may span, and silence."""

from __future__ import annotations

from typing import NamedTuple

from gasmcast.runtime.frames import Frame

__all__ = ["Continuity"]


class _Delivered(NamedTuple):
    """The last frame that was delivered."""

    stamp_s: float
    at: float
    """Monotonic seconds of its delivery."""
    shape: tuple[int, ...]


class Continuity:
    """Compare each frame with the one before it.

    Args:
        live: the source is live; only then do jumps of stamps and size count as gaps.
        gap_s: longest step in the stamps of a live source that is no gap.
        stall_s: longest silence that is no stall, or two frame periods if that is longer.
    """

    def __init__(self, *, live: bool, gap_s: float, stall_s: float) -> None:
        self._live, self._gap_s, self._stall_s = live, gap_s, stall_s
        self._last: _Delivered | None = None
        self._period_s = 0.0
        self._gap: str | None = None

    def add(self, frame: Frame, now: float) -> str | None:
        """Add a frame, and return the reason of the gap before it, if there is one.

        Args:
            frame: the next frame.
            now: monotonic seconds. Not `frame.arrival`: a late frame arrived long ago, but its
                camera is not silent.
        """
        # Webcams have no stamps.
        stamp_s = frame.arrival if frame.stamp_s is None else frame.stamp_s
        last = self._last
        if last is not None and self._live and self._gap is None:
            if frame.image.shape != last.shape:
                self._gap = "size change"
            elif not -self._gap_s <= stamp_s - last.stamp_s <= self._gap_s:
                self._gap = "stall"

        # An outage says nothing about the frame rate.
        if last is not None and self._gap != "reconnect":
            step_s = now - last.at
            self._period_s += (step_s - self._period_s) / 8 if self._period_s else step_s

        self._last = _Delivered(stamp_s, now, frame.image.shape)
        gap, self._gap = self._gap, None
        return gap

    def disconnected(self) -> None:
        """Record an outage: the next frame comes after a gap."""
        if self._last is not None:
            self._gap = "reconnect"

    def silence_s(self, now: float) -> float:
        """Return the seconds since the last frame; 0 before the first."""
        return 0.0 if self._last is None else now - self._last.at

    def stalled(self, now: float) -> bool:
        """Return whether the camera has been silent for too long."""
        return self.silence_s(now) > max(self._stall_s, 2 * self._period_s)
