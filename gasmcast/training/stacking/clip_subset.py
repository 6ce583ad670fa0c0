"""Select some clips of a set as a set of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.clip_set import TrainingClips

__all__ = ["ClipSubset", "NumberedClips"]


class ClipSubset:
    """Chosen clips of a set.

    Args:
        clips: the complete set.
        chosen: indices of the clips.
    """

    def __init__(self, clips: TrainingClips, chosen: NDArray[np.int64]) -> None:
        self.clips, self.chosen = clips, chosen
        self.labels = [clips.labels[i] for i in chosen]
        """Class of each clip."""
        self.ids = [clips.ids[i] for i in chosen]
        """Name of each clip."""

    @property
    def failed(self) -> Any:  # noqa: ANN401 - a tensor, or None
        """Flags of the clips that have not decoded so far; None if the set does not keep any."""
        flags = getattr(self.clips, "failed", None)
        return None if flags is None else flags[self.chosen]

    def set_epoch(self, epoch: int) -> None:
        """Draw the augmentation of another epoch."""
        self.clips.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> tuple[Any, int, int]:
        clip, label, _ = self.clips[int(self.chosen[index])]
        return clip, label, index


class NumberedClips(ClipSubset):
    """Chosen clips with their position in the subset in place of their label."""

    def __getitem__(self, index: int) -> tuple[Any, int, int]:
        clip, _, _ = super().__getitem__(index)
        return clip, index, index
