"""Token counts of the fusion head, derived from the clip spec, and the tensors that it reads.

The module imports without torch, so that `gasmcast inspect` can describe a bundle in the base
install.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gasmcast.config import ModelConfig
from gasmcast.spec import ClipSpec

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CELL", "PATCH", "Features", "HeadShape"]

PATCH = 16
"""Side of a semantic token in pixels of the clip, whatever the patch size of the backbone."""
CELL = 32
"""Side of a motion cell in pixels of the clip."""


class Features(NamedTuple):
    """Projected taps of `n` segments: the only input of the fusion head.

    A model with one stream has a tensor without elements for the other one.
    """

    semantic: Tensor
    """`(B, n, L, f, P, D)`: L layers, f semantic frames per segment, P patches."""
    motion: Tensor
    """`(B, n, L, C, D)`: L layers, C motion cells."""


@dataclass(frozen=True)
class HeadShape:
    """Tokens of a window: `frames * patches` semantic and `segments * motion_tokens` motion."""

    segments: int
    """Segments per window."""
    frames: int
    """Semantic frames per window."""
    grid: int
    """Semantic tokens per side of a frame: 16 px patches, or one per motion cell."""
    cells: int
    """Motion tokens per side of a segment; 1 when pooled."""

    @classmethod
    def of(cls, model: ModelConfig, spec: ClipSpec) -> HeadShape:
        """Return the token counts of a model configuration on a clip spec."""
        token_px = CELL if model.semantic_tokens == "cell" else PATCH
        return cls(
            segments=spec.segments,
            frames=spec.segments * spec.semantic_frames,
            grid=spec.pixels // token_px,
            cells=1 if model.motion_pool == "pooled" else spec.pixels // CELL,
        )

    @property
    def patches(self) -> int:
        """Semantic tokens per frame."""
        return self.grid * self.grid

    @property
    def motion_tokens(self) -> int:
        """Motion tokens per segment."""
        return self.cells * self.cells
