"""The sampling contract that training, export and runtime share.

Time runs on a fixed grid: slot `k` of segment `j` is at `(j * motion_frames + k) / fps` seconds after the source's
first frame, and takes the frame whose time stamp is nearest. Segment -1 of a source, the first lead-in, is its first
frame repeated.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gasmcast.schema import Frozen

__all__ = ["ClipSpec", "nearest_frames"]


class ClipSpec(Frozen):
    """What a clip is: a window of `segments`, each `segment_s` long, and the lead-in segment before it."""

    segments: int = Field(8, ge=1, description="segments a window")
    segment_s: float = Field(
        0.5, gt=0, description="seconds a segment; also the hop between decisions"
    )
    motion_frames: int = Field(8, ge=1, description="motion frames a segment")
    semantic_frames: int = Field(
        2, ge=1, description="of the motion frames, those that the semantic stream sees"
    )
    pixels: int = Field(224, ge=32, description="height and width of a frame")
    fit: Literal["crop", "squash"] = Field(
        "crop", description="center crop of the short side, or squash to a square"
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

    @cached_property
    def fps(self) -> float:
        """Slots of the time grid a second."""
        return self.motion_frames / self.segment_s

    @cached_property
    def window_s(self) -> float:
        """Seconds a window, without the lead-in."""
        return self.segments * self.segment_s

    @cached_property
    def semantic_indices(self) -> tuple[int, ...]:
        """Which motion frames of a segment are semantic frames: the middles of equal parts (2 and 6 of 8)."""
        return tuple(
            (2 * i + 1) * self.motion_frames // (2 * self.semantic_frames)
            for i in range(self.semantic_frames)
        )

    @cached_property
    def clip_shape(self) -> tuple[int, int, int, int, int]:
        """`(1 + segments, motion_frames, pixels, pixels, 3)`: lead-in and window, uint8 RGB."""
        return (1 + self.segments, self.motion_frames, self.pixels, self.pixels, 3)

    @cached_property
    def pair_shape(self) -> tuple[int, int, int, int, int]:
        """`(2, motion_frames, pixels, pixels, 3)`: the previous segment and the current one, uint8 RGB."""
        return (2, *self.clip_shape[1:])

    def centered_start(self, length_s: float) -> float:
        """Where the window of an evaluation begins in a video of so many seconds: in its middle, or at 0 where it is shorter."""
        return max(0.0, (length_s - self.window_s) / 2)

    def slot_times(self, start_s: float = 0.0) -> NDArray[np.float64]:
        """Times of all slots of lead-in and window.

        Args:
            start_s: where the window (not its lead-in) begins, in seconds after the source's first frame.

        Returns:
            `((1 + segments) * motion_frames,)` seconds, ascending; the lead-in's are before `start_s`.
        """
        slots = np.arange(-self.motion_frames, self.segments * self.motion_frames)
        return start_s + slots / self.fps


def nearest_frames(
    stamps_s: NDArray[np.float64], slots_s: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The frame nearest each slot; of two equally near ones the earlier; the ends repeat.

    Args:
        stamps_s: `(n,)` ascending time stamps of the frames there are, `n >= 1`.
        slots_s: `(m,)` times wanted.

    Returns:
        `(m,)` indices into `stamps_s`.
    """
    if len(stamps_s) == 0:
        raise ValueError("no frames to choose from")
    after = np.searchsorted(stamps_s, slots_s, side="left").clip(0, len(stamps_s) - 1)
    before = (after - 1).clip(0)
    take_before = slots_s - stamps_s[before] <= stamps_s[after] - slots_s
    return np.where(take_before, before, after).astype(np.int64)
