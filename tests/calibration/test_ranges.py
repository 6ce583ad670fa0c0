import numpy as np
import pytest

from gasmcast.calibration.policy import candidates
from gasmcast.calibration.ranges import collect_statistics, threshold
from gasmcast.calibration.tensor_stats import TensorStats
from gasmcast.errors import UsageError


def filled(*batches, channels=-1):
    stats = TensorStats("t", channels)
    for batch in batches:
        stats.update(np.asarray(batch, np.float32))
    return stats


def test_the_range_grows_and_loses_no_count():
    rng = np.random.default_rng(0)
    stats = filled(rng.normal(size=(50, 8)), 100 * rng.normal(size=(50, 8)), [[1e4] * 8])
    assert stats.counts.sum() == 50 * 8 * 2 + 8
    assert stats.top == 1e4
    assert stats.limit > 1e4


def test_percentiles_follow_the_data():
    stats = filled(np.random.default_rng(0).normal(size=(4000, 16)))
    assert stats.percentile(0.5) == pytest.approx(0.6745, rel=0.05)
    assert stats.percentile(0.99) == pytest.approx(2.576, rel=0.05)
    assert stats.percentile(1.0) <= stats.top


def test_memory_does_not_grow_with_runs():
    stats = TensorStats("t", -1)
    rng = np.random.default_rng(0)
    for _ in range(50):
        stats.update(rng.normal(size=(100, 8)).astype(np.float32))
    assert stats.counts.nbytes + stats.channel_top.nbytes < 20_000
    assert not stats.rows


def test_an_outlier_channel_is_named():
    x = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    x[:, 5] *= 300
    tree = filled(x).to_json()
    assert tree["outlier_ratio"] > 100
    assert tree["outlier_channels"] == [5]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_numbers_are_refused(bad):
    with pytest.raises(UsageError, match="not numbers"):
        filled([[1.0, bad]])


@pytest.mark.parametrize("method", ["max", "percentile", "entropy"])
def test_a_constant_zero_has_no_range(method):
    assert threshold(filled(np.zeros((4, 4))), method) == 0.0


def test_percentile_and_entropy_cut_a_tail_that_max_keeps():
    x = np.random.default_rng(0).normal(size=(20000, 4)).astype(np.float32)
    x[0, 0] = 200.0
    stats = filled(x)
    assert threshold(stats, "max") == 200.0
    assert threshold(stats, "percentile", 0.999) < 10
    assert threshold(stats, "entropy") < 40


def test_an_outlier_among_few_does_not_divide_by_zero():
    assert threshold(filled([[0.0, 1.0]]), "entropy") == 1.0


def test_collect_watches_what_the_operators_read(vit_block):
    model, feeds = vit_block
    found = list(candidates(model.graph))
    seen, kept = [], []
    stats = collect_statistics(
        model,
        found,
        iter(feeds),
        progress=lambda stage, done, total: seen.append(done),
        keep=lambda i, values: kept.append((i, set(values))),
        threads=1,
    )
    assert set(stats) == {c.activation for c in found}
    assert seen == list(range(1, len(feeds) + 1))
    assert kept[0] == (0, {"y"})


def test_no_clips_is_a_sentence(vit_block):
    model, _ = vit_block
    with pytest.raises(UsageError, match="no calibration clips"):
        collect_statistics(model, list(candidates(model.graph)), iter(()))
