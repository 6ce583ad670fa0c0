"""Order the clips of an epoch and share them out among processes.

The order is the same whatever the number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

__all__ = ["RankBatches", "epoch_order", "shard"]


def epoch_order(
    labels: NDArray[np.integer], seed: int, epoch: int, balanced: bool = False
) -> NDArray[np.int64]:
    """Return a permutation of all clips, or draws in which each class occurs equally often.

    Args:
        labels: `(N,)` class of each clip.
        seed: seed of the run.
        epoch: counted from 0; with `seed` it determines the order.
        balanced: take the classes in turn; within a class every clip occurs before any repeats.

    Returns:
        `(N,)` indices of clips.
    """
    rng = np.random.default_rng((seed, epoch, 1))
    count = len(labels)
    if not balanced:
        return rng.permutation(count)

    by_class = np.argsort(labels, kind="stable")
    members = np.split(by_class, np.flatnonzero(np.diff(labels[by_class])) + 1)
    rounds = -(-count // len(members))

    # Repeat permutations of a class until it has one clip per round.
    columns = []
    for clips in members:
        repeats = -(-rounds // len(clips))
        column = np.concatenate([rng.permutation(clips) for _ in range(repeats)])
        columns.append(column[:rounds])

    # Each round takes one clip of every class, in a random order of classes.
    by_round = np.stack(columns, axis=1)  # (rounds, classes)
    shuffled = [row[rng.permutation(len(members))] for row in by_round]
    return np.stack(shuffled).reshape(-1)[:count]


def shard(count: int, rank: int, world: int) -> NDArray[np.int64]:
    """Return every `world`-th of `count` clips from `rank` on: each in one shard, none padded."""
    return np.arange(rank, count, world)


class RankBatches(Sampler[list[int]]):
    """Batches of one process: its contiguous part of every global batch, whole batches only.

    A global batch is `world * batch_size` consecutive clips of the order, so that two processes
    together see in a step exactly what one process with twice the batch sees.
    """

    def __init__(
        self,
        order: NDArray[np.int64],
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        start: int = 0,
    ) -> None:
        """Share out an order.

        Args:
            order: `(N,)` indices of clips.
            batch_size: clips per process and step.
            rank: number of this process.
            world: number of processes.
            start: batches to skip, when an epoch is resumed.
        """
        self.order = order
        self.batch_size = batch_size
        self.rank = rank
        self.world = world
        self.start = start

    def __len__(self) -> int:
        return len(self.order) // (self.batch_size * self.world) - self.start

    def __iter__(self) -> Iterator[list[int]]:
        stride = self.batch_size * self.world
        for batch in range(self.start, self.start + len(self)):
            first = batch * stride + self.rank * self.batch_size
            yield self.order[first : first + self.batch_size].tolist()
