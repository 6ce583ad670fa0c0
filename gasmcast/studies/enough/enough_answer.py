"""Judge from features whether a data set is large enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import UsageError
from gasmcast.evaluation.scores import ConfusedPair, confused_pairs
from gasmcast.features.ridge import gram_matrix
from gasmcast.progress import Progress, silent
from gasmcast.studies.enough.class_curve import ClassCurve, fit_curve
from gasmcast.studies.enough.curves import learning_curves
from gasmcast.studies.enough.harm import ClipHarm, rank_harm
from gasmcast.studies.enough.power_law import source_weights

__all__ = ["Enough", "study_features"]

RESAMPLES = 1000


@dataclass(frozen=True)
class Enough:
    """Answer for a data set."""

    overall: ClassCurve
    classes: tuple[ClassCurve, ...]
    confused: tuple[ConfusedPair, ...]
    next_class: str
    """Class to record next: the one that 3 more sources are expected to help most."""
    harm: tuple[ClipHarm, ...]
    """All clips, the most suspicious first."""
    draws: int
    folds: int

    @property
    def suspects(self) -> tuple[ClipHarm, ...]:
        """Clips that are given another class without their label, the most suspicious first."""
        return tuple(clip for clip in self.harm if clip.likely)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def study_features(
    blocks: Sequence[NDArray[np.floating]],
    labels: NDArray[np.int64],
    sources: Sequence[str],
    names: Sequence[str],
    *,
    draws: int = 10,
    progress: Progress = silent,
) -> Enough:
    """Return learning curves, forecasts, confusable pairs and suspicious clips.

    Args:
        blocks: `(N, X)` features, one array a tap.
        labels: `(N,)` classes.
        sources: source of each clip.
        names: class names.
        draws: random draws of sources.
        progress: called after each draw.

    Raises:
        UsageError: fewer than two classes with clips, fewer than four sources, or no class of two
            sources.
    """
    present = np.bincount(labels, minlength=len(names)) > 0
    groups = np.unique(np.asarray(sources), return_inverse=True)[1].astype(np.int64)
    if present.sum() < 2 or groups.max(initial=0) < 3:
        raise UsageError(
            f"{int(present.sum())} classes and {groups.max(initial=-1) + 1} sources: a learning"
            " curve needs two classes and four sources.",
            "Add clips of other footage; `source` in the annotations names it.",
        )

    pairs = np.unique(np.stack([labels, groups]), axis=1)
    if (np.bincount(pairs[0]) < 2).all():
        raise UsageError(
            "Every class comes from one source, so no clip can be judged by other footage.",
            "Record each class a second time, elsewhere or by other people.",
        )

    gram = gram_matrix(blocks)
    curves = learning_curves(gram, labels, groups, len(names), draws=draws, progress=progress)

    # The same resampled sources serve all classes.
    members = np.eye(groups.max() + 1)[groups]  # (N, G)
    weights = source_weights(members.shape[1], RESAMPLES)
    per_class = curves.sizes[:, present].mean(1)
    overall = fit_curve("all classes", per_class, 1 - curves.hits, members, weights)
    rows = []
    for label, name in enumerate(names):
        inside = labels == label
        if inside.any():
            wrong = (1 - curves.hits)[:, inside]
            rows.append(fit_curve(name, curves.sizes[:, label], wrong, members[inside], weights))

    counts = np.rint(curves.confusion).astype(np.int64)
    return Enough(
        overall=overall,
        classes=tuple(rows),
        confused=confused_pairs(counts, list(names), most=10),
        next_class=_next_class(rows),
        harm=tuple(rank_harm(gram, labels, groups, len(names))),
        draws=curves.draws,
        folds=curves.folds,
    )


def _next_class(rows: Sequence[ClassCurve]) -> str:
    """Return the class to record next."""
    # A class of one source cannot be held out and trained on at once: it comes first.
    single = [row for row in rows if row.sources < 2]
    if single:
        return min(single, key=lambda row: row.clips).name
    return max(rows, key=lambda row: (row.gain, -row.accuracy[-1])).name
