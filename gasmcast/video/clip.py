"""Clips on the grid of the clip spec, from a video file.

Training, evaluation and calibration all choose their frames here, by the rule of the runtime's segment clock, and fit them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.spec import ClipSpec, nearest_frames
from gasmcast.video.reader import Frame, as_rgb, decode

__all__ = ["fit_frame", "pick_frames", "read_clip", "read_slots"]

Picked = TypeVar("Picked")
_DOUBT_S = 1e-6


def pick_frames(
    frames: Iterable[tuple[float, Picked]], slots_s: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.int64], Picked]]:
    """The frame nearest each slot, by `nearest_frames`' rule, without holding more than two frames.

    Args:
        frames: `(stamp_s, frame)` ascending, as `read_frames` gives them; read no further than the last slot needs.
        slots_s: `(m,)` times wanted, ascending; those before the first frame get it, those after the last get that.

    Yields:
        `(slots, frame)`: the indices into `slots_s` that take this frame; each index exactly once, none when there are no frames.
    """
    done, last = 0, None
    for stamp, frame in frames:
        reached = int(np.searchsorted(slots_s, stamp, side="right"))
        if reached > done:
            stamps = np.array([stamp] if last is None else [last[0], stamp])
            choice = nearest_frames(stamps, slots_s[done:reached])
            slots = np.arange(done, reached)
            here = choice == len(stamps) - 1
            if last is not None and not here.all():
                yield slots[~here], last[1]
            if here.any():
                yield slots[here], frame
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
    threads: int | None = None,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The frames nearest the given times, each brought to one size once, however many slots take it.

    Args:
        path: a local video file.
        slots_s: `(m,)` seconds after the first frame, ascending.
        make: from a decoded frame to `(h, w, 3)` uint8 RGB of a fixed size. It sees channels as the decoder gives them; `as_rgb` puts
            them right, on a small frame in a tenth of the time.
        threads: decoder threads; None lets FFmpeg choose.
        out: `(m, h, w, 3)` uint8, to be written; None: new memory.

    Returns:
        `(m, h, w, 3)` uint8 RGB: `out`, where it was given.

    Raises:
        SourceError: as `read_frames`.
    """
    for taken in (
        _near(slots_s),
        None,
    ):  # where the stamps are not as even as they were taken to be, again with every frame
        last: Frame | None = None
        for slots, picture in pick_frames(decode(path, threads, taken), slots_s):
            if picture is None:
                break
            if picture is not last:  # slots before a frame's stamp and those behind it come apart
                last, image = picture, make(picture)
            if out is None:
                out = np.empty((len(slots_s), *image.shape), np.uint8)
            out[slots] = image
        else:
            break
    assert out is not None  # decode gives a frame or raises
    return out


def _near(slots_s: NDArray[np.float64]) -> Callable[[float, float, float, float], bool]:
    """Whether a frame will be the nearest of some slot, if the next one comes when it is expected; in doubt, yes."""

    def taken(before: float, stamp: float, after: float, end: float) -> bool:
        if after + (after - stamp) / 2 > end:  # the last frame is held for all slots behind it
            return bool(slots_s[-1] > (before + stamp) / 2)
        first, behind = np.searchsorted(
            slots_s, ((before + stamp) / 2 - _DOUBT_S, stamp + 0.6 * (after - stamp))
        )
        return bool(behind > first)

    return taken


def read_clip(path: str | Path, spec: ClipSpec, start_s: float = 0.0) -> NDArray[np.uint8]:
    """One clip: the lead-in and the window that begins at `start_s`.

    Args:
        path: a local video file.
        spec: the sampling contract.
        start_s: where the window begins, in seconds after the first frame; before the start of the video the first frame
            repeats, after its end the last.

    Returns:
        `spec.clip_shape` uint8 RGB.

    Raises:
        SourceError: as `read_frames`.
    """
    frames = read_slots(
        path,
        spec.slot_times(start_s),
        lambda frame: as_rgb(fit_frame(frame, spec.pixels, spec.fit)),
    )
    return frames.reshape(spec.clip_shape)


def fit_frame(frame: Frame, pixels: int, fit: Literal["crop", "squash"]) -> Frame:
    """A frame as a square: `crop` keeps the center of the long side, `squash` bends the whole frame.

    Args:
        frame: `(H, W, 3)` uint8.
        pixels: side of the square.
        fit: the clip spec's `fit`.

    Returns:
        `(pixels, pixels, 3)` uint8; halved by area averaging while it can be, then bilinear.
    """
    if fit == "crop":
        height, width = frame.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        frame = frame[top : top + side, left : left + side]
    if frame.shape[:2] == (pixels, pixels):
        return np.ascontiguousarray(frame)
    # Area averaging is quick for a factor of two only, and below it bilinear skips no pixel: together a sixth of the time.
    while min(frame.shape[:2]) >= 2 * pixels:
        height, width = frame.shape[0] // 2, frame.shape[1] // 2
        frame = np.asarray(
            cv2.resize(
                frame[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA
            ),
            np.uint8,
        )
    method = cv2.INTER_AREA if max(frame.shape[:2]) >= 2 * pixels else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, (pixels, pixels), interpolation=method), np.uint8)
