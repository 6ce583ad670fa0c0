"""Protocols of the sets of clips that training and evaluation read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

__all__ = ["ClipSet", "TrainingClips", "set_sha"]


class ClipSet(Protocol):
    """Clips by index: `(clip uint8 (1+S, F, H, W, 3), label, index)`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]: ...


class NamedClips(Protocol):
    """A set that knows the labels and names of its clips without decoding them."""

    @property
    def labels(self) -> Sequence[int]:
        """Class of each clip."""

    @property
    def ids(self) -> Sequence[str]:
        """Name of each clip."""


class TrainingClips(ClipSet, NamedClips, Protocol):
    """A set of named clips with other draws in each epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Use the draws of `epoch` from now on, in running workers too.

        The augmentation of a clip depends on seed, epoch and clip alone.
        """


def set_sha(*sets: NamedClips | None) -> str:
    """Return the SHA-256 of the names and classes of all clips, in their order.

    Args:
        sets: sets of clips; None for one that a run does not have.
    """
    digest = hashlib.sha256()
    for clips in sets:
        rows = []
        if clips is not None:
            for name, label in zip(clips.ids, clips.labels, strict=True):
                rows.append([name, int(label)])
        digest.update(json.dumps(rows).encode())
    return digest.hexdigest()
