"""Measure what features carry: ridge and k-NN probes, similarity, and clusters.

Linear CKA follows Kornblith et al. 2019 (Similarity of Neural Network Representations Revisited);
the probes are scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError, UsageError
from gasmcast.missing import install_hint

__all__ = ["Probe", "cka", "group_folds", "project", "require_sklearn", "run_probe", "silhouette"]

FOLDS = 5
NEIGHBORS = 5
Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


@dataclass(frozen=True)
class Probe:
    """Accuracy of simple classifiers on the features of one tap, cross-validated by source."""

    tap: str
    ridge: float
    """Mean-class accuracy of ridge regression, 0..1."""
    neighbors: float
    """Mean-class accuracy of the 5 nearest neighbors, 0..1."""
    by_class: float | None
    """Silhouette of the classes, -1..1: how much a class forms a cluster. None: undefined."""
    by_source: float | None
    """Silhouette of the sources; larger than that of the classes: clips cluster by background."""


def require_sklearn() -> None:
    """Refuse to start without scikit-learn.

    Raises:
        MachineError: it is not installed.
    """
    try:
        import sklearn  # noqa: F401, PLC0415 - optional
    except ImportError:
        raise MachineError(
            "The maps and probes of features need the package scikit-learn.",
            install_hint("data"),
        ) from None


def group_folds(labels: Ints, sources: Sequence[str]) -> list[tuple[Ints, Ints]]:
    """Return cross-validation folds (train, test) that keep the clips of a source together.

    Raises:
        UsageError: too few sources for two folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # noqa: PLC0415 - heavy

    rarest = min(
        len({source for source, label in zip(sources, labels, strict=True) if label == each})
        for each in np.unique(labels)
    )
    folds = min(FOLDS, rarest)
    if folds < 2:
        raise UsageError(
            "A class has clips of one source only, so no probe can be tested on another source.",
            "Give a set whose classes have two sources or more.",
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    return list(splitter.split(labels, labels, sources))


def run_probe(
    tap: str, vectors: Floats, labels: Ints, sources: Sequence[str], folds: list[tuple[Ints, Ints]]
) -> Probe:
    """Cross-validate both probes on `(N, channels)` vectors of one tap."""
    from sklearn.linear_model import RidgeClassifierCV  # noqa: PLC0415 - heavy
    from sklearn.neighbors import KNeighborsClassifier  # noqa: PLC0415 - heavy
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - heavy
    from sklearn.preprocessing import Normalizer, StandardScaler  # noqa: PLC0415 - heavy

    ridge = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-1, 5, 13)))
    nearest = make_pipeline(StandardScaler(), Normalizer(), KNeighborsClassifier(NEIGHBORS))
    answers = {"ridge": np.empty_like(labels), "neighbors": np.empty_like(labels)}
    for train, test in folds:
        for name, probe in (("ridge", ridge), ("neighbors", nearest)):
            probe.fit(vectors[train], labels[train])
            answers[name][test] = probe.predict(vectors[test])

    scaled = StandardScaler().fit_transform(vectors)
    return Probe(
        tap,
        ridge=_mean_class(answers["ridge"], labels),
        neighbors=_mean_class(answers["neighbors"], labels),
        by_class=silhouette(scaled, labels),
        by_source=silhouette(scaled, np.unique(np.asarray(sources), return_inverse=True)[1]),
    )


def silhouette(vectors: Floats, groups: Ints) -> float | None:
    """Return the mean silhouette (cosine) of groups of at least two clips; None if undefined.

    Source: Rousseeuw 1987, Silhouettes.
    """
    from sklearn.metrics import silhouette_score  # noqa: PLC0415 - heavy

    # A group of one clip has no distance within.
    counts = np.bincount(groups)
    chosen = counts[groups] >= 2
    names = np.unique(groups[chosen])
    if not 2 <= len(names) < chosen.sum():
        return None
    return float(silhouette_score(vectors[chosen], groups[chosen], metric="cosine"))


def cka(first: Floats, second: Floats) -> float:
    """Return the linear CKA, 0..1, of features `(N, a)` and `(N, b)` of the same clips."""
    a = np.asarray(first - first.mean(0), np.float64)
    b = np.asarray(second - second.mean(0), np.float64)

    # Gram matrices are N x N, whatever the number of channels.
    gram_a, gram_b = a @ a.T, b @ b.T
    norm = np.linalg.norm(gram_a) * np.linalg.norm(gram_b)
    return float((gram_a * gram_b).sum() / norm) if norm > 0 else 0.0


def project(vectors: Floats) -> NDArray[np.float64]:
    """Return a 2-D map `(N, 2)` of clips by t-SNE (van der Maaten and Hinton 2008)."""
    from sklearn.decomposition import PCA  # noqa: PLC0415 - heavy
    from sklearn.manifold import TSNE  # noqa: PLC0415 - heavy
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 - heavy

    # t-SNE is slow in hundreds of dimensions, and PCA keeps what matters of the distances.
    scaled = StandardScaler().fit_transform(vectors)
    count = min(32, *scaled.shape)
    reduced = PCA(count, random_state=0).fit_transform(scaled)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    points = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(reduced)
    return np.asarray(points, np.float64)


def _mean_class(answers: Ints, labels: Ints) -> float:
    shares = [float((answers[labels == each] == each).mean()) for each in np.unique(labels)]
    return float(np.mean(shares))
