"""Sizes of the fusion head's tokens, from the clip spec."""

from __future__ import annotations

from dataclasses import dataclass

from gasmcast.config import ModelConfig
from gasmcast.spec import ClipSpec

__all__ = ["CELL", "PATCH", "HeadShape"]

PATCH = 16  # pixels of the clip a semantic token's side, whatever the backbone's own patch
CELL = 32  # pixels of the clip a motion cell's side


@dataclass(frozen=True)
class HeadShape:
    """Tokens of a window: `frames * patches` semantic ones and `segments * motion_tokens` of motion."""

    segments: int
    frames: int
    """Semantic frames a window."""
    grid: int
    """Semantic tokens a side: patches, or as many as motion cells."""
    cells: int
    """Motion tokens a side; 1 when pooled."""

    @classmethod
    def of(cls, model: ModelConfig, spec: ClipSpec) -> HeadShape:
        """For a model on a spec."""
        cells = 1 if model.motion_pool == "pooled" else spec.pixels // CELL
        side = CELL if model.semantic_tokens == "cell" else PATCH
        return cls(spec.segments, spec.segments * spec.semantic_frames, spec.pixels // side, cells)

    @property
    def patches(self) -> int:
        """Semantic tokens a frame."""
        return self.grid * self.grid

    @property
    def motion_tokens(self) -> int:
        """Motion tokens a segment."""
        return self.cells * self.cells
