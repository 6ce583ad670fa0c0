"""Decode whole videos into memory with small frames, so that epochs cost no decoding."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.data.clip_reader import clip_frames, clip_length_s
from gasmcast.data.sample import Sample
from gasmcast.errors import SourceError
from gasmcast.progress import Progress
from gasmcast.spec import ClipSpec
from gasmcast.video.clip import fit_frame
from gasmcast.video.reader import Frame

__all__ = ["SmallVideo", "preload_videos", "read_small"]

SPARE = 1.3
"""Size of stored frames relative to a clip's, when crops are drawn from them."""


class SmallVideo(NamedTuple):
    """All frames of a video, downscaled."""

    stamps: NDArray[np.float64]
    """`(n,)` time stamps in seconds."""
    frames: NDArray[np.uint8]
    """`(n, h, w, 3)` RGB."""
    length_s: float
    """Length of the video in seconds."""


def preload_videos(
    decode: Callable[[int], SmallVideo | None],
    count: int,
    budget_bytes: int,
    *,
    threads: int,
    progress: Progress,
) -> dict[int, SmallVideo] | None:
    """Decode all videos of a set, or stop as soon as they are sure to need too much memory.

    Args:
        decode: returns video `index`, or None if it does not decode.
        count: number of videos.
        budget_bytes: most memory that all of them may take.
        threads: number of threads that decode.
        progress: called after each video.

    Returns:
        The videos by index, or None when the budget is too small.
    """
    videos: dict[int, SmallVideo] = {}
    used = 0
    block = 4 * threads
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, count, block):
            indices = range(first, min(first + block, count))
            for index, video in zip(indices, pool.map(decode, indices), strict=True):
                if video is not None:
                    videos[index] = video
                    used += video.frames.nbytes
                progress("preloading clips", index + 1, count)

            # The mean so far predicts the whole, long before the budget is used up.
            mean = used / max(1, len(videos))
            if mean * count > budget_bytes:
                return None
    return videos


def read_small(sample: Sample, spec: ClipSpec, *, crops: bool) -> SmallVideo:
    """Decode a whole clip.

    Args:
        sample: the clip.
        spec: gives the size of a clip.
        crops: keep the whole frame and somewhat larger, because crops are drawn from it; otherwise
            frames are kept as evaluation sees them.

    Raises:
        SourceError: the video does not decode.
    """
    stamps: list[float] = []
    frames: list[Frame] = []
    for stamp, frame in clip_frames(sample, threads=1):
        if crops:
            small = _shrink(frame, SPARE * spec.pixels)
        else:
            small = fit_frame(frame, spec.pixels, spec.fit)

        # A video may change its size; the first frame decides.
        if frames and small.shape != frames[0].shape:
            small = _resize(small, frames[0].shape[1], frames[0].shape[0])
        stamps.append(stamp)
        frames.append(small)
    if not frames:
        raise SourceError(
            f"{sample.video} has no frame in the annotated span {sample.id}.",
            "Check that the times count in seconds and belong to this file.",
        )
    return SmallVideo(np.array(stamps), np.stack(frames), clip_length_s(sample))


def _shrink(frame: Frame, short: float) -> Frame:
    """Downscale so that the short side is at most `short` pixels; never upscale."""
    height, width = frame.shape[:2]
    scale = short / min(height, width)
    if scale >= 1:
        return frame
    return _resize(frame, round(width * scale), round(height * scale))


def _resize(frame: Frame, width: int, height: int) -> Frame:
    """Resize by averaging areas."""
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
