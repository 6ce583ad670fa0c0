"""Logits of a whole set, each clip exactly once, from whatever runs a batch: a model, a bundle's engine, several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.clip_set import ClipSet
from gasmcast.data.data_workers import worker_deaths
from gasmcast.data.loader import Batch, ClipLoader
from gasmcast.data.sampler import shard
from gasmcast.errors import UsageError
from gasmcast.evaluation.metrics import log_softmax

__all__ = ["Processes", "average_views", "predict"]

UNREADABLE = -2
Run = Callable[[Any], NDArray[np.floating]]
Load = Callable[[Sequence[list[int]]], Iterator[Batch]]
T = TypeVar("T")


class Processes(Protocol):
    """Processes that evaluate one set together."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""

    @property
    def world(self) -> int:
        """Number of processes."""

    def gather(self, part: T) -> list[T]:
        """Return the parts of all processes, ordered by rank."""


@worker_deaths()
def predict(
    run: Run,
    dataset: ClipSet,
    *,
    batch_size: int = 8,
    workers: int = 0,
    load: Load | None = None,
    processes: Processes | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits and labels of every clip of a set, in its order.

    Of several `processes` each runs every `world`-th clip and all of them return the whole. Shards are padded to the same number
    of batches, as FSDP needs, and each clip's row is placed by its number: padding never counts twice, a missing clip is an error.

    A clip that does not decode, which the set marks in `failed`, is left out.

    Args:
        run: batch `(B, 1+S, F, H, W, 3)` uint8 -> logits `(B, classes)`.
        dataset: the clips.
        batch_size: clips a call of `run`; the last may be smaller.
        workers: processes that decode.
        load: gives the batches of the set by their indices, from workers that run already.
        processes: those that share the work, in a distributed training; None: this one alone.
        on_batch: called with clips done and all clips of this process.

    Returns:
        `(N, classes)` and `(N,)`, N the clips that decode.

    Raises:
        UsageError: the set is empty, or a clip has no label.
        MachineError: a worker died.
    """
    count = len(dataset)
    if count == 0:
        raise UsageError("There are no clips to evaluate.", "Check --data and --split.")
    rank, world = (0, 1) if processes is None else (processes.rank, processes.world)
    own = shard(count, rank, world)
    padded = (
        np.append(own, np.full(-(-count // world) - len(own), rank % count)).astype(int).tolist()
    )
    if load is None:
        load = ClipLoader(dataset, workers=workers).batches
    found: list[tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]] = []
    done = 0
    for batch in load(
        [padded[first : first + batch_size] for first in range(0, len(padded), batch_size)]
    ):
        logits = run(batch.clips.numpy())
        found.append((batch.indices.numpy(), np.asarray(logits, np.float32), batch.labels.numpy()))
        done += len(batch.indices)
        if on_batch is not None:
            on_batch(done, len(padded))
    indices, rows, targets = (np.concatenate([columns[i] for columns in found]) for i in range(3))
    failed = getattr(
        dataset, "failed", None
    )  # read now: a part of a set gives the marks as they are when it is asked
    bad = np.zeros(len(indices), bool) if failed is None else np.asarray(failed)[indices] > 0
    part = (indices, rows, np.where(bad, UNREADABLE, targets))
    parts = [part] if processes is None else processes.gather(part)
    return _merge(parts, count)


def _merge(parts: list[Any], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows by clip number; every clip must be there."""
    indices, rows, targets = (np.concatenate([part[i] for part in parts]) for i in range(3))
    logits = np.zeros((count, rows.shape[1]), np.float32)
    labels = np.full(count, -1, np.int64)
    seen = np.zeros(count, bool)
    logits[indices], labels[indices], seen[indices] = rows, targets, True
    if not seen.all():
        raise UsageError(
            f"Clip {int(np.flatnonzero(~seen)[0])} of {count} was not evaluated.",
            "The set gives other clips than it was asked for.",
        )
    good = labels != UNREADABLE
    if not good.any():
        raise UsageError(f"None of the {count} clips decodes.", "Check the videos.")
    if (labels[good] < 0).any():
        raise UsageError(
            f"Clip {int(np.flatnonzero(labels < 0)[0])} has no label.",
            "Evaluate a split that is annotated.",
        )
    return logits[good], labels[good]


def average_views(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """`(N, V, classes)` logits of V views -> `(N, classes)`: the logarithm of the mean softmax, itself fit to be softmaxed."""
    return np.asarray(np.log(np.exp(log_softmax(logits)).mean(1) + 1e-30), np.float32)
