"""Find properties of the files that alone predict the class: a model may learn them instead.

A small decision tree is trained on each property and on all of them, and judged on sources that it
has not seen. A class of one source is judged on other clips of that source. Where the tree beats
the most frequent class, the label can be read off the files, for example because each class was
recorded on another day with another camera (Geirhos et al. 2020, Shortcut learning in deep neural
networks).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.source_interval import source_interval
from gasmcast.video.file_facts import FileFacts

__all__ = ["LEAST_CLIPS", "PROPERTIES", "Shortcut", "find_shortcuts"]

DEPTH = 3
FOLDS = 5
LEAST_CLIPS = 20
LEAST_GAIN = 0.1
"""Accuracy above chance from which a property is called a shortcut."""
PROPERTIES = (
    "file size",
    "bytes per second",
    "resolution",
    "frame rate",
    "duration",
    "codec",
    "encoder",
)


@dataclass(frozen=True)
class Shortcut:
    """Accuracy of a tree that sees only properties of the files."""

    name: str
    """Property, or "all together"."""
    accuracy: float
    """Share of clips of unseen sources (of `one_source`: of unseen clips) with the right class."""
    chance: float
    """Share of the most frequent class."""
    is_shortcut: bool
    """Whether the accuracy is well above chance, beyond its 95 % interval over sources."""
    one_source: tuple[str, ...] = ()
    """Classes of a single source: their clips were judged by other clips of that source."""


def find_shortcuts(
    facts: Sequence[FileFacts],
    seconds: Sequence[float],
    labels: Sequence[str],
    sources: Sequence[str],
) -> list[Shortcut]:
    """Return how well each property of the files predicts the class, the best first.

    Args:
        facts: of the file of each clip.
        seconds: duration of each clip.
        labels: class of each clip.
        sources: source of each clip; trees are judged on other sources than they were trained on,
            except for classes of a single source.

    Returns:
        No entries if there are fewer than `LEAST_CLIPS` clips, or one class only.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    from sklearn.model_selection import (  # noqa: PLC0415 - an extra
        StratifiedGroupKFold,
        cross_val_predict,
    )
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415 - an extra

    per_class = {label: set() for label in labels}  # type: dict[str, set[str]]
    for label, source in zip(labels, sources, strict=True):
        per_class[label].add(source)
    if len(labels) < LEAST_CLIPS or len(per_class) < 2:
        return []

    # A class of one source cannot be judged on another one. That its files differ from those of
    # the other classes is the commonest shortcut, so its clips are judged one by one.
    one_source = tuple(sorted(name for name, found in per_class.items() if len(found) == 1))
    units = [
        f"{source}#{number}" if label in one_source else source
        for number, (label, source) in enumerate(zip(labels, sources, strict=True))
    ]
    per_label = {label: set() for label in labels}  # type: dict[str, set[str]]
    for label, unit in zip(labels, units, strict=True):
        per_label[label].add(unit)
    folds = max(2, min(FOLDS, *(len(found) for found in per_label.values())))

    targets = np.unique(np.asarray(labels), return_inverse=True)[1]
    groups = np.unique(np.asarray(units), return_inverse=True)[1]
    columns = _columns(facts, seconds)
    chance = max(Counter(labels).values()) / len(labels)
    results = []
    for name in (*PROPERTIES, "all together"):
        table = columns if name == "all together" else {name: columns[name]}
        features = np.column_stack([column for part in table.values() for column in part])
        tree = DecisionTreeClassifier(max_depth=DEPTH, min_samples_leaf=3, random_state=0)
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
        with warnings.catch_warnings():
            # Few sources make uneven folds; the interval below takes care of few clips.
            warnings.simplefilter("ignore")
            found = cross_val_predict(tree, features, targets, groups=groups, cv=splitter)
        correct = found == targets
        accuracy = float(correct.mean())

        # Clips of one source are right or wrong together. A few sources that are all right leave
        # the bootstrap without a width, so they are also counted as that many single trials.
        low = min(source_interval(correct, units)[0], _lower_bound(accuracy, len(set(units))))
        is_shortcut = accuracy > chance + LEAST_GAIN and low > chance
        results.append(Shortcut(name, accuracy, chance, is_shortcut, one_source))
    return sorted(results, key=lambda one: -one.accuracy)


def _columns(
    facts: Sequence[FileFacts], seconds: Sequence[float]
) -> dict[str, list[NDArray[np.float64]]]:
    """Return the numbers of each property, one array per number."""
    rates = [fact.size_bytes / max(fact.seconds, 0.1) for fact in facts]
    return {
        "file size": [np.log(np.maximum([fact.size_bytes for fact in facts], 1.0))],
        "bytes per second": [np.log(np.maximum(rates, 1.0))],
        "resolution": [
            np.array([fact.width for fact in facts], np.float64),
            np.array([fact.height for fact in facts], np.float64),
        ],
        "frame rate": [np.array([fact.fps for fact in facts], np.float64)],
        "duration": [np.array(seconds, np.float64)],
        "codec": _one_hot([fact.codec for fact in facts]),
        "encoder": _one_hot([fact.encoder for fact in facts]),
    }


def _one_hot(names: Sequence[str]) -> list[NDArray[np.float64]]:
    array = np.asarray(names)
    return [(array == name).astype(np.float64) for name in sorted(set(names))]


def _lower_bound(share: float, count: int) -> float:
    """Return the lower end of Wilson's 95 % interval of a share."""
    z = 1.96
    middle = share + z * z / (2 * count)
    spread = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - spread) / (1 + z * z / count)
