"""Read clips on the grid of the clip spec from a video file.

Training, evaluation and calibration all choose their frames here, by the rule of the runtime's
segment clock, and fit them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import SourceError
from gasmcast.spec import ClipSpec, nearest_frames
from gasmcast.video.reader import Frame, FrameTimes
from gasmcast.video.span import WHOLE, Span, decode_span

__all__ = ["fit_frame", "pick_frames", "read_clip", "read_slots"]

Picked = TypeVar("Picked")
_TOLERANCE_S = 1e-6


def pick_frames(
    frames: Iterable[tuple[float, Picked]], slots_s: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.int64], Picked]]:
    """Yield the frame nearest each slot, by the rule of `nearest_frames`.

    No more than two frames are in memory at a time.

    Args:
        frames: `(stamp_s, frame)` ascending, as `read_frames` yields them; read no further than the
            last slot needs.
        slots_s: `(m,)` wanted times in seconds, ascending. Slots before the first frame get the
            first, those after the last get the last.

    Yields:
        `(slots, frame)`: the indices into `slots_s` that take this frame. Each index occurs exactly
        once, none when there are no frames.
    """
    done, last = 0, None
    for stamp, frame in frames:
        # Slots up to this stamp lie between the last frame and this one: one of the two is nearest.
        reached = int(np.searchsorted(slots_s, stamp, side="right"))
        if reached > done:
            stamps = np.array([stamp] if last is None else [last[0], stamp])
            choice = nearest_frames(stamps, slots_s[done:reached])
            slots = np.arange(done, reached)
            takes_this = choice == len(stamps) - 1
            if last is not None and not takes_this.all():
                yield slots[~takes_this], last[1]
            if takes_this.any():
                yield slots[takes_this], frame
            done = reached

        last = (stamp, frame)
        if done == len(slots_s):
            return

    if last is not None:
        yield np.arange(done, len(slots_s)), last[1]


def read_slots(
    path: str | Path,
    slots_s: NDArray[np.float64],
    make: Callable[[Frame], Frame],
    *,
    threads: int | None = None,
    out: NDArray[np.uint8] | None = None,
    span: Span = WHOLE,
) -> NDArray[np.uint8]:
    """Read the frames nearest the given times.

    A frame is converted once, however many slots take it.

    Args:
        path: a local video file.
        slots_s: `(m,)` seconds after the first frame, ascending.
        make: converts a decoded frame to `(h, w, 3)` uint8 RGB of a fixed size.
        threads: number of decoder threads; None lets FFmpeg choose.
        out: `(m, h, w, 3)` uint8 to write to; None: new memory.
        span: part of the file that frames may come from; slots before or after it get its first
            or last frame, as those of a whole file do.

    Returns:
        `(m, h, w, 3)` uint8 RGB: `out`, if it was given.

    Raises:
        SourceError: as `read_frames`, or the file has no frame in `span`.
    """
    # First decode only frames expected to be nearest a slot. If irregular timestamps make one
    # missing, decode again with every frame.
    for wanted in (_near(slots_s), None):
        decoded = decode_span(path, threads, span, wanted)
        frames = _try_read_slots(decoded, slots_s, make, out)
        if frames is not None:
            return frames
    raise SourceError(
        f"{path} has no frame between {span.start_s:g} and {span.end_s:g} s.",
        "Check the times of the annotated span.",
    )


def _try_read_slots(
    decoded: Iterable[tuple[float, Frame | None]],
    slots_s: NDArray[np.float64],
    make: Callable[[Frame], Frame],
    out: NDArray[np.uint8] | None,
) -> NDArray[np.uint8] | None:
    """Read slots from decoded images; None when a slot needs one that was not wanted."""
    last: Frame | None = None
    count = 0
    for slots, picture in pick_frames(decoded, slots_s):
        if picture is None:
            return None
        # The slots before and after a frame's stamp come separately.
        if picture is not last:
            last, image = picture, make(picture)
        if out is None:
            out = np.empty((len(slots_s), *image.shape), np.uint8)
        out[slots] = image
        count += len(slots)
    return out if count else None


def _near(slots_s: NDArray[np.float64]) -> Callable[[FrameTimes], bool]:
    """Return a predicate for frames that will be nearest some slot.

    It assumes that the next frame comes when it is expected; in doubt it returns True.
    """

    def is_near(times: FrameTimes) -> bool:
        middle = (times.previous_s + times.stamp_s) / 2
        step = times.next_s - times.stamp_s

        # The last frame is held for all slots after it.
        if times.next_s + step / 2 > times.end_s:
            return bool(slots_s[-1] > middle)

        # A little more than half a step, because steps vary.
        first, behind = np.searchsorted(
            slots_s, (middle - _TOLERANCE_S, times.stamp_s + 0.6 * step)
        )
        return bool(behind > first)

    return is_near


def read_clip(path: str | Path, spec: ClipSpec, start_s: float = 0.0) -> NDArray[np.uint8]:
    """Read one clip: the lead-in and the window that starts at `start_s`.

    Args:
        path: a local video file.
        spec: the sampling contract.
        start_s: start of the window in seconds after the first frame. Before the start of the video
            the first frame repeats, after its end the last.

    Returns:
        `(1+S, F, H, W, 3)` uint8 RGB (`spec.clip_shape`).

    Raises:
        SourceError: as `read_frames`.
    """
    frames = read_slots(
        path,
        spec.slot_times(start_s),
        lambda frame: fit_frame(frame, spec.pixels, spec.fit),
    )
    return frames.reshape(spec.clip_shape)


def fit_frame(frame: Frame, pixels: int, fit: Literal["crop", "squash"]) -> Frame:
    """Fit a frame into a square.

    Args:
        frame: `(H, W, 3)` uint8.
        pixels: side of the square.
        fit: the clip spec's `fit`. `crop` keeps the center of the long side, `squash` distorts the
            whole frame.

    Returns:
        `(pixels, pixels, 3)` uint8: halved by area averaging as long as the short side has twice
        the pixels, then resized bilinearly; by area averaging if the long side still has twice.
    """
    if fit == "crop":
        height, width = frame.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        frame = frame[top : top + side, left : left + side]
    if frame.shape[:2] == (pixels, pixels):
        return np.ascontiguousarray(frame)

    # Area averaging is fast only for a factor of two. Below two, bilinear skips no pixel and is
    # faster; a long side that is squashed by two or more would lose pixels and is averaged.
    while min(frame.shape[:2]) >= 2 * pixels:
        height, width = frame.shape[0] // 2, frame.shape[1] // 2
        even = frame[: 2 * height, : 2 * width]
        halved = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
        frame = np.asarray(halved, np.uint8)

    method = cv2.INTER_AREA if max(frame.shape[:2]) >= 2 * pixels else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, (pixels, pixels), interpolation=method), np.uint8)
