"""Planted truths: wrong labels are found, flat and rising curves are told apart, forecasts hold."""

from __future__ import annotations

import numpy as np
import pytest

from gasmcast.errors import UsageError
from gasmcast.features.ridge import gram_matrix
from gasmcast.studies.enough.enough_answer import Enough, study_features
from gasmcast.studies.enough.harm import rank_harm

NAMES = [f"class {label}" for label in range(5)]
CLIPS = 4


def made_up(seed: int, sources: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return features `(N, 32)`, labels and sources; the last two classes have eight styles."""
    rng = np.random.default_rng(0)
    classes, styles = rng.normal(size=(5, 32)), 1.5 * rng.normal(size=(5, 8, 32))
    rng = np.random.default_rng(1 + seed)
    rows, labels, names = [], [], []
    for label in range(5):
        for source in range(sources):
            style = styles[label, rng.integers(8)] if label > 2 else classes[label]
            own = style + 0.5 * rng.normal(size=32)
            rows += [own + 0.7 * rng.normal(size=32) for _ in range(CLIPS)]
            labels += [label] * CLIPS
            names += [f"{label}-{source}"] * CLIPS
    return np.array(rows), np.array(labels), names


def study(seed: int, sources: int) -> Enough:
    features, labels, names = made_up(seed, sources)
    return study_features([features], labels, names, NAMES, draws=4)


def test_wrong_labels_come_first() -> None:
    features, labels, sources = made_up(0, 10)
    wrong = np.random.default_rng(0).choice(len(labels), 10, replace=False)
    labels[wrong] = (labels[wrong] + 1) % 5
    groups = np.unique(sources, return_inverse=True)[1]
    ranked = rank_harm(gram_matrix([features]), labels, groups, 5)

    # Five percent are wrong: among the first ten percent are at least nine of these ten.
    first = {clip.clip for clip in ranked[:20]}
    assert len(first & set(wrong.tolist())) >= 9
    assert ranked[0].likely == "wrong label"
    assert ranked[0].effect > 0
    assert ranked[-1].likely == ""


@pytest.mark.parametrize("seed", range(3))
def test_a_rising_class_is_told_from_a_flat_one(seed: int) -> None:
    result = study(seed, 6)
    trends = [curve.trend for curve in result.classes]
    assert trends[:3] == ["flat"] * 3
    assert "rising" in trends[3:]
    assert result.next_class in NAMES[3:]


def test_a_class_that_is_not_learned_is_not_called_flat() -> None:
    # Labels that say nothing: the curve is level at chance.
    features, labels, sources = made_up(0, 6)
    noise = np.random.default_rng(0)
    result = study_features([noise.normal(size=features.shape)], labels, sources, NAMES, draws=2)
    assert "flat" not in [curve.trend for curve in result.classes]


def test_forecasts_cover_what_twice_the_sources_reach() -> None:
    hits = []
    for seed in range(6):
        small, large = study(seed, 4), study(100 + seed, 8)
        for before, after in zip(small.classes, large.classes, strict=True):
            low, high = before.twice.interval
            hits.append(low <= after.accuracy[-1] <= high)
    assert np.mean(hits) >= 0.8


def test_classes_of_one_source_are_refused_and_one_among_others_comes_next() -> None:
    features, labels, sources = made_up(0, 4)
    first = np.array([name.endswith("-0") for name in sources])
    with pytest.raises(UsageError, match="Every class comes from one source"):
        study_features([features[first]], labels[first], np.array(sources)[first].tolist(), NAMES)

    keep = first | (labels != 1)
    names = np.array(sources)[keep].tolist()
    assert (
        study_features([features[keep]], labels[keep], names, NAMES, draws=2).next_class
        == (NAMES[1])
    )


@pytest.mark.parametrize(
    ("keep", "sentence"),
    [(slice(0, 8), "1 classes and 2 sources"), (slice(8, 16), "2 classes and 2 sources")],
)
def test_too_little_is_one_sentence(keep: slice, sentence: str) -> None:
    features, labels, sources = made_up(0, 3)
    with pytest.raises(UsageError, match=sentence):
        study_features([features[keep]], labels[keep], sources[keep], NAMES)
