"""Small pictures of clips: for film strips, and to find near-duplicates by their content.

The fingerprint of a clip is a few frames of 16 x 16 gray values and the changes between them, each
as a vector of unit length. Two clips of one camera share the scene but not the changes; a copy,
also in another size, codec or brightness, shares both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.data.clip_reader import clip_length_s, read_clip_slots
from gasmcast.data.sample import Sample
from gasmcast.report.html import data_uri
from gasmcast.video.clip import fit_frame

__all__ = ["ClipPictures", "NearDuplicate", "clip_pictures", "film_strip", "near_duplicates"]

FRAMES = 6
SIDE = 96
CELLS = 16
SAME_SCENE = 0.97
"""Least similarity (cosine) of the frames of near-duplicates."""
SAME_CHANGE = 0.85
"""Least similarity (cosine) of the changes between the frames of near-duplicates."""


@dataclass(frozen=True)
class ClipPictures:
    """Frames of one clip, spread evenly over its length, and their fingerprint."""

    frames: NDArray[np.uint8]
    """`(FRAMES, SIDE, SIDE, 3)` RGB."""
    scene: NDArray[np.float32]
    """Frames as one vector of unit length."""
    change: NDArray[np.float32]
    """Changes between frames as one vector of unit length; zero for a still clip."""


class NearDuplicate(NamedTuple):
    """Clip that looks like another one."""

    clip: int
    """Position of the clip."""
    other: int
    """Position of the clip that it looks like."""
    similarity: float
    """Cosine of the two scenes, 0..1."""


def clip_pictures(sample: Sample) -> ClipPictures:
    """Return small frames of a clip and its fingerprint.

    Raises:
        SourceError: the clip does not decode.
    """
    times = (np.arange(FRAMES) + 0.5) / FRAMES * clip_length_s(sample)
    frames = read_clip_slots(sample, times, lambda frame: fit_frame(frame, SIDE, "squash"))
    gray = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    cells = np.stack(
        [cv2.resize(one, (CELLS, CELLS), interpolation=cv2.INTER_AREA) for one in gray]
    ).astype(np.float32)  # (FRAMES, CELLS, CELLS)
    cells -= cells.mean()
    return ClipPictures(frames, _unit(cells), _unit(np.diff(cells, axis=0)))


def near_duplicates(
    clips: Sequence[ClipPictures], others: Sequence[ClipPictures], may_match: NDArray[np.bool_]
) -> list[NearDuplicate]:
    """Return each clip that looks like one of the others, with the most similar one.

    Args:
        clips: pictures of N clips.
        others: pictures of M clips.
        may_match: `(N, M)`: the pairs that count.
    """
    if not clips or not others:
        return []
    scenes = np.stack([clip.scene for clip in others])  # (M, D)
    changes = np.stack([clip.change for clip in others])

    pairs = []
    for number, clip in enumerate(clips):
        scene, change = scenes @ clip.scene, changes @ clip.change
        # A still clip has no changes: its scene must be the same almost exactly.
        is_still = ~changes.any(axis=1) & ~clip.change.any()
        is_near = (scene >= SAME_SCENE) & ((change >= SAME_CHANGE) | (is_still & (scene > 0.999)))
        is_near &= may_match[number]
        if is_near.any():
            best = int(np.where(is_near, scene, -1.0).argmax())
            pairs.append(NearDuplicate(number, best, float(scene[best])))
    return pairs


def film_strip(pictures: ClipPictures) -> str:
    """Return the frames side by side as a data URI."""
    strip = cv2.cvtColor(np.hstack(list(pictures.frames)), cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, 75])
    return data_uri(content.tobytes(), "jpeg")


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = values.reshape(-1)
    length = float(np.linalg.norm(flat))
    # Changes below one gray level are noise of the codec.
    return flat / length if length > np.sqrt(flat.size) else np.zeros_like(flat)
