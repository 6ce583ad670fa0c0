"""Times of all frames of a video file, without decoding it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gasmcast.video.container import open_file
from gasmcast.video.packets import packet_times_s

__all__ = ["frame_times_s"]


def frame_times_s(path: str | Path) -> NDArray[np.float64]:
    """Return the times of all frames in seconds after the first one, ascending.

    They come from the packets of the file, so that variable frame rates are exact.

    Args:
        path: a local video file.

    Raises:
        SourceError: the file is missing, empty, encrypted or has no video stream.
    """
    with open_file(path, threads=1) as (container, stream):
        times = np.unique(np.asarray(packet_times_s(container, stream), np.float64))
    return times - times[0] if len(times) else times
