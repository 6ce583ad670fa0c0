"""Sampling contract that training, export and runtime share.

Sampling uses a fixed time grid. Slot `k` of segment `j` is at `(j * motion_frames + k) / fps`
seconds after the first frame of the source, and takes the frame with the nearest timestamp.
Segment -1, the first lead-in, repeats the first frame of the source.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gasmcast.schema import Frozen

__all__ = ["ClipSpec", "nearest_frames"]


class ClipSpec(Frozen):
    """Shape and timing of a clip: a window of segments and the lead-in segment before it.

    Example:
        >>> ClipSpec().clip_shape
        (9, 8, 224, 224, 3)
    """

    segments: int = Field(default=8, ge=1, description="segments per window")
    segment_s: float = Field(default=0.5, ge=0.001, le=3600, description="seconds per segment")
    motion_frames: int = Field(default=8, ge=1, description="motion frames per segment")
    semantic_frames: int = Field(
        default=2, ge=1, description="motion frames per segment that the semantic stream sees"
    )
    pixels: int = Field(default=224, ge=32, description="height and width of a frame")
    fit: Literal["crop", "squash"] = Field(
        default="crop", description="crop the center square, or squash the frame to a square"
    )

    @model_validator(mode="after")
    def _check(self) -> ClipSpec:
        if self.semantic_frames > self.motion_frames:
            raise ValueError(
                f"semantic_frames {self.semantic_frames} > motion_frames {self.motion_frames}"
            )
        if self.pixels % 32:
            raise ValueError(f"pixels {self.pixels} is not a multiple of 32")
        return self

    @property
    def fps(self) -> float:
        """Slots of the time grid per second."""
        return self.motion_frames / self.segment_s

    @property
    def window_s(self) -> float:
        """Duration of a window in seconds, without the lead-in."""
        return self.segments * self.segment_s

    @property
    def semantic_indices(self) -> tuple[int, ...]:
        """Indices of the semantic frames in a segment: centers of equal parts (2 and 6 of 8)."""
        return tuple(
            (2 * i + 1) * self.motion_frames // (2 * self.semantic_frames)
            for i in range(self.semantic_frames)
        )

    @property
    def clip_shape(self) -> tuple[int, int, int, int, int]:
        """`(1 + segments, motion_frames, pixels, pixels, 3)`: lead-in and window, uint8 RGB."""
        return (1 + self.segments, self.motion_frames, self.pixels, self.pixels, 3)

    @property
    def pair_shape(self) -> tuple[int, int, int, int, int]:
        """`(2, motion_frames, pixels, pixels, 3)`: previous and current segment, uint8 RGB."""
        return (2, *self.clip_shape[1:])

    def at_tempo(self, tempo: float) -> ClipSpec:
        """Return the spec for actions that are `tempo` times as fast as those it was made for.

        Example:
            >>> ClipSpec(segment_s=0.5).at_tempo(2).segment_s
            0.25
        """
        return self.model_copy(update={"segment_s": self.segment_s / tempo})

    def centered_start(self, length_s: float) -> float:
        """Return the start of the centered window in a video of `length_s` seconds.

        The start is 0 where the video is shorter than the window.
        """
        return max(0.0, (length_s - self.window_s) / 2)

    def slot_times(self, start_s: float = 0.0) -> NDArray[np.float64]:
        """Return the times of all slots of lead-in and window.

        Args:
            start_s: start of the window without its lead-in, in seconds after the first frame.

        Returns:
            `((1 + segments) * motion_frames,)` seconds, ascending; the lead-in is before
            `start_s`.
        """
        slots = np.arange(-self.motion_frames, self.segments * self.motion_frames)
        return start_s + slots / self.fps


def nearest_frames(
    stamps_s: NDArray[np.float64], slots_s: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the frame nearest to each slot; the earlier one of two at equal distance.

    Slots before the first or after the last frame repeat that frame.

    Args:
        stamps_s: `(n,)` ascending timestamps of the available frames, `n >= 1`.
        slots_s: `(m,)` wanted times.

    Returns:
        `(m,)` indices into `stamps_s`.

    Raises:
        ValueError: no frames.
    """
    if len(stamps_s) == 0:
        raise ValueError("no frames to choose from")

    # Compare the neighbors on both sides of each slot.
    after = np.searchsorted(stamps_s, slots_s, side="left").clip(0, len(stamps_s) - 1)
    before = (after - 1).clip(0)
    take_before = slots_s - stamps_s[before] <= stamps_s[after] - slots_s
    return np.where(take_before, before, after).astype(np.int64)
