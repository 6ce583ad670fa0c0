"""Write the read-out attention of a clip as a video."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gasmcast.errors import MachineError
from gasmcast.explain.attention_pictures import GAP, heat
from gasmcast.explain.subject import Clip, Explained
from gasmcast.runtime.attention_grids import read_out_grids
from gasmcast.runtime.sinks.video_writer import VideoWriter

__all__ = ["write_video"]

SIDE = 256
SLOWDOWN = 2.0
"""The video plays at half speed: a window has a few seconds only."""


def write_video(path: Path, clip: Clip, explained: Explained, fps: float) -> None:
    """Write the frames of the window, beside them one panel for each read-out.

    Args:
        path: MP4 file.
        clip: `(1 + S, F, H, W, 3)` uint8.
        explained: its maps.
        fps: frames per second of the clip.

    Raises:
        MachineError: the disk is full, or FFmpeg lacks the codec.
    """
    frames = clip[1:].reshape(-1, *clip.shape[2:])  # (S F, H, W, 3)
    panels = list(read_out_grids(explained.maps).values())
    gap = np.full((SIDE, GAP, 3), 255, np.uint8)
    nothing = np.zeros((1, 1))

    writer = VideoWriter(path)
    for number, frame in enumerate(frames):
        # Each map is shown for its share of the frames, which are spread evenly.
        shown = [heat(frame, nothing, 1.0, SIDE)]
        for grids in panels:
            grid = grids[number * len(grids) // len(frames)]
            shown += [gap, heat(frame, grid, float(grids.max()), SIDE)]
        writer.add(SLOWDOWN * number / fps, np.hstack(shown))
    if not writer.finish():
        raise MachineError(f"{path} could not be written.", "Free some disk space, or give --out.")
