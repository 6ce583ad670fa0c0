"""Draw attention over the frames of a clip."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.explain.subject import Clip

__all__ = ["edge_picture", "heat", "png", "segment_frames", "strip"]

SIDE = 168
"""Width and height of a frame in a strip, in pixels."""
GAP = 4
COLORS = ((255, 176, 0), (0, 190, 255), (255, 90, 180))
"""Colors of patches and their edges, RGB."""
Picture = NDArray[np.uint8]
Grid = NDArray[np.floating]


def segment_frames(clip: Clip) -> list[Picture]:
    """Return the last frame of each segment of the window, the lead-in left out."""
    return list(clip[1:, -1])


def heat(frame: Picture, grid: Grid, peak: float, side: int = SIDE) -> Picture:
    """Return a frame with a grid over it as a heat map.

    Args:
        frame: `(H, W, 3)` uint8 RGB.
        grid: `(rows, cols)` of values >= 0.
        peak: value with the strongest color; the same for pictures that are compared.
        side: width and height of the result in pixels.
    """
    base = _fit(frame, side)
    strength = np.clip(np.asarray(grid, np.float32) / max(peak, 1e-12), 0, 1)
    smooth = np.clip(cv2.resize(strength, (side, side), interpolation=cv2.INTER_LINEAR), 0, 1)
    levels = (255 * smooth).astype(np.uint8)
    colors = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)

    # A gray frame below keeps the colors of the map readable; attention of 0 shows it alone.
    gray = cv2.cvtColor(cv2.cvtColor(base, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    alpha = 0.8 * smooth[:, :, None]
    return np.asarray(gray * (1 - alpha) + colors * alpha, np.uint8)


def strip(pictures: Sequence[Picture], side: int = SIDE) -> Picture:
    """Return pictures side by side, at most four in a row, on a white ground."""
    columns = min(4, len(pictures))
    rows = -(-len(pictures) // columns)
    height, width = rows * (side + GAP) - GAP, columns * (side + GAP) - GAP
    out = np.full((height, width, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = (side + GAP) * (i // columns), (side + GAP) * (i % columns)
        out[y : y + side, x : x + side] = _fit(picture, side)
    return out


def edge_picture(
    frame: Picture, graph: Grid, patches: Sequence[int], edges: int, side: int = 2 * SIDE
) -> Picture:
    """Return a frame with some patches and lines to the patches that they listen to most.

    Args:
        frame: `(H, W, 3)` uint8 RGB.
        graph: `(P, P)`, each row the attention of one patch.
        patches: patches to show, one color for each.
        edges: lines for each patch, the strongest first; a stronger edge has a thicker line.
        side: width and height of the result in pixels.
    """
    out = _fit(frame, side).copy()
    cols = round(len(graph) ** 0.5)
    step = side / cols

    def center(patch: int) -> tuple[int, int]:
        return round((patch % cols + 0.5) * step), round((patch // cols + 0.5) * step)

    for color, patch in zip(COLORS, patches, strict=False):
        row = graph[patch]
        for target in np.argsort(-row)[:edges]:
            width = 1 + round(4 * float(row[target] / row.max()))
            cv2.line(out, center(patch), center(int(target)), color, width, cv2.LINE_AA)
            cv2.circle(out, center(int(target)), 4, color, -1, cv2.LINE_AA)

        # The patch itself is a square, on top of the lines that leave it.
        x, y = center(patch)
        half = round(step / 2)
        cv2.rectangle(out, (x - half, y - half), (x + half, y + half), color, 2)
    return out


def png(picture: Picture) -> bytes:
    """Return a picture `(H, W, 3)` uint8 RGB as a PNG file."""
    encoded, content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert encoded  # a PNG of uint8 pixels in memory cannot fail
    return content.tobytes()


def _fit(picture: Picture, side: int) -> Picture:
    if picture.shape[:2] == (side, side):
        return picture
    smaller = picture.shape[0] > side
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (side, side), interpolation=method), np.uint8)
