"""Protocols of the sets of clips that training and evaluation read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

__all__ = ["ClipSet", "TrainingClips", "set_sha"]


class ClipSet(Protocol):
    """Clips by index: `(clip uint8 (1+S, F, H, W, 3), label, index)`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]: ...


class TrainingClips(ClipSet, Protocol):
    """A set that knows labels and names without decoding, with other draws in each epoch."""

    @property
    def labels(self) -> Sequence[int]:
        """Class of each clip."""

    @property
    def ids(self) -> Sequence[str]:
        """Name of each clip."""

    def set_epoch(self, epoch: int) -> None:
        """Use the draws of `epoch` from now on, in running workers too.

        The augmentation of a clip depends on seed, epoch and clip alone.
        """


def set_sha(*sets: Any) -> str:  # noqa: ANN401 - callers hold their sets as plain ClipSet
    """Return the SHA-256 of the names and classes of all clips, in their order.

    Args:
        sets: sets with `ids` and `labels`; None for one that a run does not have.
    """
    digest = hashlib.sha256()
    for clips in sets:
        rows = []
        if clips is not None:
            for name, label in zip(clips.ids, clips.labels, strict=True):
                rows.append([name, int(label)])
        digest.update(json.dumps(rows).encode())
    return digest.hexdigest()
