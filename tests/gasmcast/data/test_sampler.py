import numpy as np

from gasmcast.data.sampler import RankBatches, epoch_order, shard


def test_an_epoch_has_every_clip_once_and_differs_from_the_next():
    labels = np.zeros(101, int)
    first, second = epoch_order(labels, 3, 0), epoch_order(labels, 3, 1)
    assert sorted(first) == list(range(101))
    assert (first != second).any()
    assert (first == epoch_order(labels, 3, 0)).all()


def test_two_processes_see_what_one_with_twice_the_batch_sees():
    order = epoch_order(np.zeros(50, int), 0, 0)
    whole = list(RankBatches(order, 8))
    halves = [list(RankBatches(order, 4, rank, 2)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole
    assert len(whole) == 6


def test_a_started_epoch_goes_on_where_it_stopped():
    order = epoch_order(np.zeros(50, int), 0, 0)
    whole = list(RankBatches(order, 4, 1, 2))
    rest = RankBatches(order, 4, 1, 2, start=2)
    assert list(rest) == whole[2:]
    assert len(rest) == len(whole) - 2


def test_balanced_draws_give_every_class_its_share():
    rng = np.random.default_rng(0)
    labels = rng.choice(5, 1000, p=[0.6, 0.2, 0.1, 0.08, 0.02])
    drawn = np.bincount(labels[epoch_order(labels, 0, 0, balanced=True)], minlength=5)
    assert drawn.sum() == 1000
    assert drawn.max() - drawn.min() <= 1
    rare = np.flatnonzero(labels == 4)
    counts = np.bincount(epoch_order(labels, 0, 0, balanced=True), minlength=1000)[rare]
    assert counts.max() - counts.min() <= 1  # no clip again before every other of its class


def test_shards_part_the_clips():
    for count in (1, 7, 24):
        for world in (1, 2, 5):
            parts = [shard(count, rank, world) for rank in range(world)]
            assert sorted(np.concatenate(parts)) == list(range(count))
