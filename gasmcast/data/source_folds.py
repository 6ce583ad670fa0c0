"""Cross-validation folds that keep the clips of one source together.

Clips of one source share its background, camera and people. A classifier that has seen a source
recognizes its other clips by these, so a fair test holds out whole sources.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import UsageError

__all__ = ["split_folds"]


def split_folds(
    labels: Sequence[int], groups: Sequence[str], folds: int, seed: int = 0
) -> NDArray[np.int64]:
    """Return the fold `(N,)` of each clip.

    Groups stay together; classes and sizes are as even as that allows. Groups are assigned
    greedily, the largest first.

    Args:
        labels: class of each clip.
        groups: source of each clip.
        folds: number of folds.
        seed: order of groups of the same size.

    Raises:
        UsageError: fewer groups than folds.
    """
    members: dict[str, list[int]] = {}
    for clip, group in enumerate(groups):
        members.setdefault(group, []).append(clip)

    if len(members) < folds:
        raise UsageError(
            f"The clips come from {len(members)} sources: not enough for {folds} folds.",
            "Use fewer folds, or add clips of other footage. Stream weights can do without: "
            "--set train.stream_weight_folds=0.",
        )

    # The largest group first, groups of the same size in random order.
    names = sorted(members)
    random.Random(seed).shuffle(names)
    names.sort(key=lambda name: -len(members[name]))

    # Each group goes where the sum of the squared class counts grows least; of equals, to the fold
    # with the fewest clips.
    classes = max(labels) + 1
    counts = np.zeros((folds, classes))
    fold = np.zeros(len(labels), np.int64)
    for name in names:
        added = np.bincount([labels[clip] for clip in members[name]], minlength=classes)
        growth = ((counts + added) ** 2).sum(1) - (counts**2).sum(1)
        chosen = min(range(folds), key=lambda k: (growth[k], counts[k].sum()))

        counts[chosen] += added
        fold[members[name]] = chosen
    return fold
