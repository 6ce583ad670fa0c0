"""A whole video in memory, its frames made small: what an epoch that decodes nothing reads."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.spec import ClipSpec
from gasmcast.video.clip import fit_frame
from gasmcast.video.reader import Frame, duration_s, read_frames

__all__ = ["SmallVideo", "read_small"]

SPARE = 1.3  # how much larger than a clip's frames they are kept, where crops are drawn from them


class SmallVideo(NamedTuple):
    """All frames of a video, small."""

    stamps: NDArray[np.float64]
    """`(n,)` seconds."""
    frames: NDArray[np.uint8]
    """`(n, h, w, 3)` RGB."""
    length_s: float


def read_small(path: Path, spec: ClipSpec, *, crops: bool) -> SmallVideo:
    """Decode a video whole.

    Args:
        path: the video.
        spec: says how large a clip is.
        crops: they will be drawn from it, so keep the whole frame and somewhat larger; else it is kept as evaluation sees it.

    Raises:
        SourceError: it does not decode.
    """
    stamps: list[float] = []
    frames: list[Frame] = []
    for stamp, frame in read_frames(path, threads=1):
        small = (
            _shrink(frame, SPARE * spec.pixels)
            if crops
            else fit_frame(frame, spec.pixels, spec.fit)
        )
        if frames and small.shape != frames[0].shape:  # the video changes its size
            small = np.asarray(
                cv2.resize(small, frames[0].shape[1::-1], interpolation=cv2.INTER_AREA), np.uint8
            )
        stamps.append(stamp)
        frames.append(small)
    return SmallVideo(np.array(stamps), np.stack(frames), duration_s(path))


def _shrink(frame: Frame, short: float) -> Frame:
    """With its short side so long, if it is longer."""
    height, width = frame.shape[:2]
    scale = short / min(height, width)
    if scale >= 1:
        return frame
    return np.asarray(
        cv2.resize(
            frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA
        ),
        np.uint8,
    )
