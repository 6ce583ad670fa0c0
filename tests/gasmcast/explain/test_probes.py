import numpy as np
import pytest

from gasmcast.errors import UsageError
from gasmcast.explain.probes import cka, group_folds, project, run_probe

pytest.importorskip("sklearn")


def make_vectors(by_source):
    """Return vectors of two classes and six sources that cluster by one of them."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 30)
    sources = [f"film {label}{i % 3}" for label in (0, 1) for i in range(30)]
    centers = rng.normal(0, 5, (6 if by_source else 2, 16))
    groups = np.unique(sources, return_inverse=True)[1] if by_source else labels
    return centers[groups] + rng.normal(0, 1, (60, 16)), labels, sources


def test_folds_keep_sources_together():
    _, labels, sources = make_vectors(by_source=False)
    for train, test in group_folds(labels, sources):
        assert not {sources[i] for i in train} & {sources[i] for i in test}


def test_a_probe_finds_classes_and_the_silhouette_what_clusters():
    vectors, labels, sources = make_vectors(by_source=False)
    probe = run_probe("tap", vectors, labels, sources, group_folds(labels, sources))
    assert probe.ridge == 1.0
    assert probe.neighbors == 1.0
    assert probe.by_class > probe.by_source

    vectors, labels, sources = make_vectors(by_source=True)
    probe = run_probe("tap", vectors, labels, sources, group_folds(labels, sources))
    assert probe.by_source > probe.by_class


def test_a_class_with_one_source_is_refused():
    with pytest.raises(UsageError, match="one source only"):
        group_folds(np.array([0, 0, 1, 1]), ["a", "b", "c", "c"])


def test_cka_ignores_rotation_and_scale_and_is_small_for_noise():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 8))
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    assert cka(x, 3 * x @ rotation) == pytest.approx(1)
    assert cka(x, rng.normal(size=(200, 8))) < 0.2
    assert cka(x, np.zeros((200, 4))) == 0


def test_a_map_has_two_dimensions():
    vectors, _, _ = make_vectors(by_source=False)
    assert project(vectors).shape == (60, 2)
