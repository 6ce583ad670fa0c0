"""Compute the logits of a whole set, each clip exactly once.

Works with anything that runs a batch: a model, the engines of a bundle, or several processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.clip_set import ClipSet
from gasmcast.data.data_workers import worker_deaths
from gasmcast.data.loader import Batch, ClipLoader
from gasmcast.data.sampler import shard
from gasmcast.errors import UsageError
from gasmcast.evaluation.metrics import log_softmax
from gasmcast.progress import Progress, silent

__all__ = ["LogitsFunction", "Processes", "average_views", "predict"]

UNREADABLE = -2
"""Label that marks a clip that does not decode, until its row is dropped."""
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


class LogitsFunction(Protocol):
    """Function from a batch of clips to logits."""

    def __call__(self, clips: Any, /) -> NDArray[np.floating]:  # noqa: ANN401 - pixels or features
        """Return `(B, classes)` logits of clips `(B, 1+S, F, H, W, 3)` uint8."""


class _Rows(NamedTuple):
    """Logits and labels of some clips, in any order."""

    indices: NDArray[np.int64]
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]


@worker_deaths()
def predict(
    run: LogitsFunction,
    dataset: ClipSet,
    *,
    batch_size: int = 8,
    workers: int = 0,
    load: Load | None = None,
    processes: Processes | None = None,
    progress: Progress = silent,
    stage: str = "evaluating",
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return logits and labels of every clip of a set, in the order of the set.

    Of several `processes` each runs every `world`-th clip, and all of them return the whole. Shards
    are padded to the same number of batches, as FSDP needs, and each clip's row is placed by its
    index: padding never counts twice, and a missing clip is an error.

    A clip that does not decode, which the set marks in `failed`, is left out.

    Args:
        run: function from a batch of clips to logits.
        dataset: the clips.
        batch_size: clips in a call of `run`; the last call may have fewer.
        workers: decoding processes; 0 decodes in this process.
        load: returns the batches of the set for lists of indices, for workers that already run.
        processes: those that share the work in distributed training; None: this one alone.
        progress: reports clips done by this process.
        stage: name of this work in the reports of progress.

    Returns:
        `(N, classes)` logits and `(N,)` labels of the N clips that decode.

    Raises:
        UsageError: the set is empty, or a clip has no label.
        MachineError: a decoding process died.
    """
    count = len(dataset)
    if count == 0:
        raise UsageError("There are no clips to evaluate.", "Check --data and --split.")
    rank, world = (0, 1) if processes is None else (processes.rank, processes.world)
    own = shard(count, rank, world)
    # Every process must run the same number of batches, so short shards repeat a clip.
    padding = np.full(-(-count // world) - len(own), rank % count)
    padded = np.append(own, padding).astype(int).tolist()
    chunks = [padded[first : first + batch_size] for first in range(0, len(padded), batch_size)]

    if load is None:
        load = ClipLoader(dataset, workers=workers).batches
    results: list[_Rows] = []
    done = 0
    for batch in load(chunks):
        logits = np.asarray(run(batch.clips.numpy()), np.float32)
        results.append(_Rows(batch.indices.numpy(), logits, batch.labels.numpy()))
        done += len(batch.indices)
        progress(stage, done, len(padded))

    # Each process knows only its own failures, so marks travel with the rows.
    part = _mark_unreadable(_concatenate(results), dataset)
    parts = [part] if processes is None else processes.gather(part)
    return _merge(parts, count)


def _concatenate(parts: Sequence[_Rows]) -> _Rows:
    return _Rows(
        indices=np.concatenate([part.indices for part in parts]),
        logits=np.concatenate([part.logits for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
    )


def _mark_unreadable(rows: _Rows, dataset: ClipSet) -> _Rows:
    """Replace the labels of clips that did not decode by `UNREADABLE`."""
    # Read only now: a subset copies the marks of its set when it is asked for them.
    failed = getattr(dataset, "failed", None)
    if failed is None:
        return rows
    unreadable = np.asarray(failed)[rows.indices] > 0
    return rows._replace(labels=np.where(unreadable, UNREADABLE, rows.labels))


def _merge(parts: Sequence[_Rows], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Order the rows of all processes by clip index and drop unreadable clips.

    Raises:
        UsageError: a clip is missing or has no label, or no clip decodes.
    """
    rows = _concatenate(parts)
    # Padding repeats clips, so rows are placed by index and not counted.
    logits = np.zeros((count, rows.logits.shape[1]), np.float32)
    labels = np.full(count, -1, np.int64)
    evaluated = np.zeros(count, bool)
    logits[rows.indices] = rows.logits
    labels[rows.indices] = rows.labels
    evaluated[rows.indices] = True

    if not evaluated.all():
        raise UsageError(
            f"Clip {int(np.flatnonzero(~evaluated)[0])} of {count} was not evaluated.",
            "The data set returned other clips than requested.",
        )
    # A clip without frames has no answer, and would count as a mistake.
    readable = labels != UNREADABLE
    if not readable.any():
        raise UsageError(f"None of the {count} clips decodes.", "Check the videos.")
    if (labels[readable] < 0).any():
        unlabeled = int(np.flatnonzero((labels < 0) & readable)[0])
        raise UsageError(f"Clip {unlabeled} has no label.", "Evaluate a split that is annotated.")
    return logits[readable], labels[readable]


def average_views(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Average the views of each clip: `(N, V, classes)` logits -> `(N, classes)`.

    The result is the logarithm of the mean softmax, whose softmax is the mean itself.
    """
    return np.asarray(np.log(np.exp(log_softmax(logits)).mean(1) + 1e-30), np.float32)
