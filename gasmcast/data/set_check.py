"""Look for faults of a data set that do not stop a training but spoil what it shows."""

from __future__ import annotations

from collections.abc import Sequence

from gasmcast.data.annotations import Sample
from gasmcast.labels import Labels

__all__ = ["describe_faults"]

SHOWN = 3


def describe_faults(
    train: Sequence[Sample], validation: Sequence[Sample], labels: Labels
) -> tuple[str, ...]:
    """Return a sentence for each fault: clips in both splits, classes without training clips.

    Args:
        train: clips of the training split.
        validation: clips of the validation split; empty without one.
        labels: classes of the set.
    """
    faults = []

    # The same clip may have two ids, as `a17` and `a17.mp4`: the file tells.
    ids = {sample.id for sample in train}
    videos = {sample.video for sample in train} - {None}
    shared = [s.id for s in validation if s.id in ids or s.video in videos]
    if shared:
        faults.append(
            f"WARNING: {len(shared)} of {len(validation)} validation clips are training clips too "
            f"({_some(shared)}): the figures of the validation flatter, and export refuses the set."
        )

    # A class without training clips can never be recognized.
    occurring = {sample.label for sample in train}
    missing = [name for index, name in enumerate(labels.names) if index not in occurring]
    if missing:
        verb = "class has" if len(missing) == 1 else "classes have"
        faults.append(
            f"WARNING: {len(missing)} of {len(labels)} {verb} no training clips ({_some(missing)}):"
            " they can never be recognized. Add clips, or remove them from labels.json."
        )
    return tuple(faults)


def _some(names: Sequence[str]) -> str:
    """Return the first names as a list."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
