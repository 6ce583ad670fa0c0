"""The segment clock: cuts a stream of frames into segments on the fixed time grid of the clip spec.

The streaming twin of `gasmcast.spec.nearest_frames`: slot `n` is at `n / fps` seconds after the first frame and takes the frame
whose stamp is nearest, the earlier of two equally near. It decides a slot as soon as a frame at or after it has come, so it
holds one frame only, and fits a frame to the network's size only when a slot takes it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.frames import Frame
from gasmcast.spec import ClipSpec

__all__ = ["Segment", "SegmentClock"]


@dataclass(frozen=True)
class Segment:
    """A complete segment with its predecessor, ready for the encoder."""

    run: int
    """Counts the unbroken stretches of a source; no window holds segments of two runs."""
    index: int
    """Position in its run, from 0."""
    start_s: float
    """Seconds after the source's first frame."""
    end_s: float
    pair: NDArray[np.uint8]
    """`(2, F, H, W, 3)`: the predecessor (for the first one its first frame, repeated) and this segment, RGB."""
    stamps: tuple[float, ...]
    """Stamp of the frame in each slot, as the source gave it."""
    arrival: float
    """When the last of its frames came, monotonic seconds."""

    @property
    def distinct(self) -> int:
        """How many different frames it holds; less than all slots when the source is slower than the grid."""
        return len(set(self.stamps))


class SegmentClock:
    """Frames in, segments out.

    Args:
        spec: the clip spec.
        fit: makes `(H, W, 3)` of any size `(pixels, pixels, 3)`.
        gap_s: a jump of the stamps by more than this, or (where `live`) backwards, begins a new run.
        live: of a source that is not live, a frame whose stamp is not after its predecessor's is left out instead.
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
        self._time = 0.0  # of the last frame, seconds after the source's first
        self._arrival: float | None = None  # of the last frame
        self._start_run(0.0)

    def _start_run(self, base_s: float) -> None:
        self._base_s = base_s  # time of the run's first frame
        self._first: float | None = None  # its stamp
        self._held: tuple[float, Frame] | None = (
            None  # the last frame: (seconds after the run's first, frame)
        )
        self._slot = 0  # the next slot to fill
        self._pair: NDArray[np.uint8] | None = None
        self._stamps: list[float] = []
        self._fitted: tuple[Frame, NDArray[np.uint8]] | None = None

    @property
    def time_s(self) -> float:
        """Time of the last frame, seconds after the source's first."""
        return self._time

    @property
    def empty(self) -> bool:
        """No frame has come since the start or the last gap."""
        return self._held is None

    def gap(self) -> None:
        """Forget the unfinished segment: the next frame begins a new run."""
        if self._held is not None:
            self.run += 1
        self._start_run(self._time)

    def emptied(self) -> SegmentClock:
        """One that holds no picture, at the same time; this one may still be in use by a thread that was given up."""
        empty = copy.copy(self)
        empty.gap()
        return empty

    def push(self, frame: Frame) -> Iterator[Segment]:
        """Take a frame; give the segments that it completes. The iterator must be used up before the next frame."""
        stamp, step = _stamp(frame), 0.0
        if self._first is not None and self._held is not None:
            step = stamp - self._first - self._held[0]
            if step < 0 and not self._live:
                self.disordered += 1
                return
            if step < 0 or step > self._gap_s:
                self.gap()
        if self._first is None:
            if (
                self._arrival is not None
            ):  # a camera's stamps may begin anew: the clock on the wall does not. A file's are all there is
                self._base_s = self._time + (
                    max(0.0, frame.arrival - self._arrival) if self._live else step
                )
            self._first = stamp
        now = stamp - self._first
        self._time, self._arrival = self._base_s + now, frame.arrival
        before, self._held = self._held, (now, frame)
        while (slot_s := self._slot / self.spec.fps) <= now:
            nearer = (
                before[1] if before is not None and slot_s - before[0] <= now - slot_s else frame
            )
            segment = self._fill(nearer)
            if segment is not None:
                yield segment

    def finish(self) -> Iterator[Segment]:
        """The end of a file: the last frame fills the segment that has begun, and a first window that was not reached."""
        if self._held is None:
            return
        per_window = self.spec.segments * self.spec.motion_frames
        while self._slot % self.spec.motion_frames or (self.run == 0 and self._slot < per_window):
            segment = self._fill(self._held[1])
            if segment is not None:
                yield segment

    def _fill(self, frame: Frame) -> Segment | None:
        """Put a frame into the next slot; the segment, when that was its last."""
        if self._fitted is None or self._fitted[0] is not frame:
            self._fitted = (frame, self._fit(frame.image))
        image = self._fitted[1]
        place = self._slot % self.spec.motion_frames
        if self._pair is None:
            self._pair = np.empty(self.spec.pair_shape, np.uint8)
            self._pair[0] = image  # the lead-in of a run is its first frame, repeated
        self._pair[1, place] = image
        self._stamps.append(_stamp(frame))
        self._slot += 1
        if place + 1 < self.spec.motion_frames:
            return None
        index = self._slot // self.spec.motion_frames - 1
        start_s = self._base_s + index * self.spec.segment_s
        segment = Segment(
            self.run,
            index,
            start_s,
            start_s + self.spec.segment_s,
            self._pair,
            tuple(self._stamps),
            frame.arrival,
        )
        self._pair = np.empty_like(segment.pair)
        self._pair[0] = segment.pair[1]
        self._stamps = []
        return segment


def _stamp(frame: Frame) -> float:
    return frame.arrival if frame.stamp_s is None else frame.stamp_s
