"""Cut the frames of a source into segments on the fixed time grid of the clip spec.

Streaming counterpart of `gasmcast.spec.nearest_frames`: slot `n` lies `n / fps` seconds after the
first frame and takes the frame with the nearest stamp, the earlier one of two equally near. A slot
is decided as soon as a frame at or after it has arrived. So the clock holds one frame only, and
resizes a frame to the network's input only when a slot takes it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.frames import Frame
from gasmcast.spec import ClipSpec

__all__ = ["Segment", "SegmentClock"]


@dataclass(frozen=True)
class Segment:
    """Complete segment with its predecessor: one input of the encoder."""

    run: int
    """Number of the unbroken stretch of the source; no window holds segments of two runs."""
    index: int
    """Position in its run, from 0."""
    start_s: float
    """Seconds after the first frame of the source."""
    end_s: float
    pair: NDArray[np.uint8]
    """`(2, F, H, W, 3)` RGB: the predecessor and this segment. The predecessor of a run's first
    segment is its first frame, repeated."""
    stamps: tuple[float, ...]
    """Stamp of the frame in each slot, as the source gave it."""
    arrival: float
    """Monotonic seconds at which its last frame arrived."""
    completed: float
    """Monotonic seconds at which the frame arrived that made it complete. A slot is decided by the
    frame after it, so a slow camera completes a segment long after `arrival`."""

    @property
    def distinct(self) -> int:
        """Number of different frames; less than the slots if the source is slower than the grid."""
        return len(set(self.stamps))


class _PlacedFrame(NamedTuple):
    """Frame and its position in its run."""

    run_s: float
    """Seconds after the first frame of the run."""
    frame: Frame


class _FittedFrame(NamedTuple):
    """Frame and its image at the network's input size."""

    frame: Frame
    image: NDArray[np.uint8]


class SegmentClock:
    """Turn frames into segments on the time grid of a clip spec.

    Args:
        spec: the clip spec.
        fit: resizes an image `(H, W, 3)` of any size to `(pixels, pixels, 3)`.
        gap_s: a step of the stamps by more than this, or (if `live`) backwards, starts a new run.
        live: if False, a frame whose stamp is not after its predecessor's is ignored instead.
    """

    def __init__(
        self,
        spec: ClipSpec,
        fit: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
        gap_s: float = 60.0,
        live: bool = False,
    ) -> None:
        self.spec = spec
        self.run = 0
        self.disordered = 0
        self._fit = fit
        self._gap_s = gap_s
        self._live = live
        # Of the last frame: seconds after the first frame of the source, and its arrival.
        self._time_s = 0.0
        self._arrival: float | None = None
        self._start_run(0.0)

    def _start_run(self, base_s: float) -> None:
        # Of the run's first frame: its time, and its stamp once it has arrived.
        self._base_s = base_s
        self._first_stamp: float | None = None
        self._last: _PlacedFrame | None = None
        # The next slot to fill, and what the segment under construction holds so far.
        self._slot = 0
        # Seconds by which `slew` has moved the grid of this run.
        self._shift_s = 0.0
        self._pair: NDArray[np.uint8] | None = None
        self._stamps: list[float] = []
        self._fitted: _FittedFrame | None = None

    @property
    def time_s(self) -> float:
        """Time of the last frame, in seconds after the first frame of the source."""
        return self._time_s

    @property
    def empty(self) -> bool:
        """True if no frame has arrived since the start or the last gap."""
        return self._last is None

    @property
    def origin(self) -> float:
        """Monotonic seconds at which the run's grid began, as the last frame's arrival tells it."""
        if self._last is None:
            return 0.0
        return self._last.frame.arrival - self._last.run_s + self._shift_s

    def slew(self, shift_s: float) -> None:
        """Move the rest of the run's grid by `shift_s` seconds; call it between two segments.

        A live camera's phase is free (`gasmcast.runtime.camera.phases`). A file's never moves.
        """
        self._shift_s += shift_s

    def gap(self) -> None:
        """Discard the unfinished segment; the next frame starts a new run."""
        if self._last is not None:
            self.run += 1
        self._start_run(self._time_s)

    def emptied(self) -> SegmentClock:
        """Return a clock at the same time that holds no image.

        This one stays as it is: an abandoned reader thread may still use it.
        """
        empty = copy.copy(self)
        empty.gap()
        return empty

    def push(self, frame: Frame) -> Iterator[Segment]:
        """Take a frame and yield the segments that it completes.

        The iterator must be exhausted before the next frame is pushed.
        """
        stamp = _stamp(frame)
        step_s = 0.0
        if self._first_stamp is not None and self._last is not None:
            step_s = stamp - self._first_stamp - self._last.run_s
            if step_s < 0 and not self._live:
                self.disordered += 1
                return
            if step_s < 0 or step_s > self._gap_s:
                self.gap()

        if self._first_stamp is None:
            if self._arrival is not None:
                # The stamps of a camera may restart at any value, so a live run continues at the
                # time of its arrival. The stamps of a file are its only time.
                waited_s = max(0.0, frame.arrival - self._arrival)
                self._base_s = self._time_s + (waited_s if self._live else step_s)
            self._first_stamp = stamp

        run_s = stamp - self._first_stamp
        self._time_s, self._arrival = self._base_s + run_s, frame.arrival
        before, self._last = self._last, _PlacedFrame(run_s, frame)

        # Every slot up to this frame can be decided: one of the two frames around it is nearest.
        completed = frame.arrival
        while (slot_s := self._slot / self.spec.fps + self._shift_s) <= run_s:
            earlier_is_nearer = before is not None and slot_s - before.run_s <= run_s - slot_s
            nearest = before.frame if before is not None and earlier_is_nearer else frame
            segment = self._fill(nearest, completed)
            if segment is not None:
                yield segment

    def finish(self) -> Iterator[Segment]:
        """Yield the last segments of a file, padded with its last frame.

        The segment under construction is filled up, and so is the first window of a file that is
        shorter than a window.
        """
        if self._last is None:
            return
        per_segment = self.spec.motion_frames
        per_window = self.spec.segments * per_segment

        while self._slot % per_segment or (self.run == 0 and self._slot < per_window):
            segment = self._fill(self._last.frame, self._last.frame.arrival)
            if segment is not None:
                yield segment

    def _fill(self, frame: Frame, completed: float) -> Segment | None:
        """Put a frame into the next slot; return the segment if that was its last slot."""
        # Consecutive slots may take the same frame, which is resized only once.
        if self._fitted is None or self._fitted.frame is not frame:
            self._fitted = _FittedFrame(frame, self._fit(frame.image))
        image = self._fitted.image

        position = self._slot % self.spec.motion_frames
        if self._pair is None:
            # The lead-in of a run is its first frame, repeated.
            self._pair = np.empty(self.spec.pair_shape, np.uint8)  # (2, F, H, W, 3)
            self._pair[0] = image
        self._pair[1, position] = image
        self._stamps.append(_stamp(frame))
        self._slot += 1
        if position + 1 < self.spec.motion_frames:
            return None

        index = self._slot // self.spec.motion_frames - 1
        start_s = self._base_s + index * self.spec.segment_s + self._shift_s
        segment = Segment(
            run=self.run,
            index=index,
            start_s=start_s,
            end_s=start_s + self.spec.segment_s,
            pair=self._pair,
            stamps=tuple(self._stamps),
            arrival=frame.arrival,
            completed=completed,
        )

        # The next segment has this one as its predecessor.
        self._pair = np.empty_like(segment.pair)
        self._pair[0] = segment.pair[1]
        self._stamps = []
        return segment


def _stamp(frame: Frame) -> float:
    return frame.arrival if frame.stamp_s is None else frame.stamp_s
