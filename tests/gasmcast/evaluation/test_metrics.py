import numpy as np
import pytest

from gasmcast.evaluation import metrics


def _case(seed: int = 0, clips: int = 400, classes: int = 7):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, clips)
    logits = rng.normal(size=(clips, classes)).astype(np.float32)
    logits[np.arange(clips), labels] += 1.5
    return logits, labels


def test_top_k_equals_a_sort():
    logits, labels = _case()
    for k in (1, 2, 5):
        brute = np.mean(
            [label in np.argsort(-row)[:k] for row, label in zip(logits, labels, strict=True)]
        )
        assert metrics.top_k(logits, labels, k) == pytest.approx(brute)
    assert metrics.top_k(logits, labels, 50) == 1.0


def test_a_constant_or_broken_output_scores_nothing():
    labels = np.zeros(4, int)
    assert metrics.top_k(np.zeros((4, 3)), labels) == 0.0
    assert metrics.top_k(np.full((4, 3), np.nan), labels) == 0.0


def test_mean_class_weighs_classes_not_clips():
    logits = np.eye(3)[[0, 0, 0, 0, 1]]
    labels = np.array([0, 0, 0, 1, 1])
    assert metrics.top_k(logits, labels) == pytest.approx(0.8)
    assert metrics.mean_class(logits, labels) == pytest.approx(
        (1 + 0.5) / 2
    )  # class 2 does not occur


def test_intervals_hold_the_figure_and_shrink_with_clips():
    widths = []
    for clips in (100, 10_000):
        logits, labels = _case(1, clips)
        hits = metrics.hits(logits, labels)
        low, high = metrics.bootstrap_interval(hits)
        assert low < hits.mean() < high
        expected = 2 * 1.96 * np.sqrt(hits.mean() * (1 - hits.mean()) / clips)
        assert high - low == pytest.approx(expected, rel=0.2)
        widths.append(high - low)
        low, high = metrics.mean_class_interval(hits, labels)
        assert low < metrics.mean_class(logits, labels) < high
    assert widths[1] < widths[0] / 5


def test_a_sharpened_network_gets_its_temperature_back():
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(20_000, 5)) * 2
    probabilities = np.exp(metrics.log_softmax(honest))
    labels = (probabilities.cumsum(1) > rng.random((20_000, 1))).argmax(1)
    assert metrics.ece(honest, labels) < 0.02
    assert metrics.fit_temperature(3.0 * honest, labels) == pytest.approx(3.0, rel=0.05)
    assert metrics.ece(3.0 * honest, labels) > 0.1
    assert metrics.ece(3.0 * honest, labels, temperature=3.0) < 0.02


def test_reliability_and_confusion_count_everything_once():
    logits, labels = _case()
    assert metrics.reliability(logits, labels)[:, 2].sum() == pytest.approx(1.0)
    counts = metrics.confusion(logits, labels)
    assert counts.sum() == len(labels)
    assert counts.trace() / counts.sum() == pytest.approx(metrics.top_k(logits, labels))
    assert (counts.sum(1) == np.bincount(labels, minlength=7)).all()


def test_nothing_to_judge():
    empty = np.zeros((0, 3))
    none = np.zeros(0, int)
    assert metrics.top_k(empty, none) == 0.0
    assert metrics.mean_class(empty, none) == 0.0
    assert metrics.bootstrap_interval(none) == (0.0, 0.0)
    assert metrics.fit_temperature(empty, none) == 1.0
