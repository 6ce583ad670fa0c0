"""Timestamps of decoded frames in seconds after the first one, strictly ascending."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av import VideoFrame

__all__ = ["StampClock", "UnreliableSeekError"]


class UnreliableSeekError(Exception):
    """Raised when frames after a jump cannot be given the times that they have from the start."""


class StampClock:
    """Timestamps of frames in seconds after the first one, strictly ascending.

    Presentation times of some containers (H.264 with B-frames in AVI) are wrong. As FFmpeg's
    `guess_correct_pts` (libavcodec/decode.c), this follows the decoding times once they are out of
    order less often.
    """

    def __init__(self, step_s: float) -> None:
        self.last_s = -math.inf
        """Timestamp of the last frame; -inf before the first."""
        self.pace_s = step_s
        """Time from the last frame but one to the last one."""
        self.origin_s = 0.0
        """Time of the first frame in the file's own timestamps."""
        self._step_s = step_s
        self._has_jumped = False
        self._last = {"pts": -math.inf, "dts": -math.inf}
        self._faults = {"pts": 0, "dts": 0}

    def jump(self) -> None:
        """Continue at another place of the file, from which every frame must have a time."""
        self.last_s = -math.inf
        self._last = {"pts": -math.inf, "dts": -math.inf}
        self._has_jumped = True

    def stamp(self, frame: VideoFrame) -> float:
        """Return the timestamp of the next frame.

        Raises:
            UnreliableSeekError: after a jump, the frame has no time later than the last one's.
        """
        time_s = self._best_time(frame)
        if self._has_jumped:
            if time_s is None or time_s - self.origin_s <= self.last_s:
                raise UnreliableSeekError("frames without ascending times")
            stamp = time_s - self.origin_s
            if self.last_s != -math.inf:
                self.pace_s = stamp - self.last_s
        elif self.last_s == -math.inf:
            self.origin_s = time_s or 0.0
            stamp = 0.0
        elif time_s is not None and time_s - self.origin_s > self.last_s:
            stamp = time_s - self.origin_s
            self.pace_s = stamp - self.last_s
        else:  # missing or out of order
            stamp = self.last_s + self._step_s
            self.pace_s = self._step_s

        self.last_s = stamp
        return stamp

    def _best_time(self, frame: VideoFrame) -> float | None:
        times = {"pts": frame.pts, "dts": frame.dts}
        for name, ticks in times.items():
            if ticks is not None:
                self._faults[name] += ticks <= self._last[name]
                self._last[name] = ticks

        trusted = "pts" if self._faults["pts"] <= self._faults["dts"] else "dts"
        ticks = times[trusted] if times[trusted] is not None else times["pts"]
        if ticks is None or frame.time_base is None:
            return None
        return float(ticks * frame.time_base)
