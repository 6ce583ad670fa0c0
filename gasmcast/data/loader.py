"""Batches of clips from persistent worker processes, in memory that is reused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from gasmcast.data.clip_set import ClipSet
from gasmcast.data.data_workers import iterate_loader, start_worker
from gasmcast.data.shared_memory import share

__all__ = ["Batch", "ClipLoader"]

AHEAD = 2
"""Batches that each worker makes in advance."""
BUFFERS = AHEAD + 2
"""Buffers per worker: those in advance, the one in use, one to spare."""


class Batch(NamedTuple):
    """A batch of clips, or of rows of a feature cache."""

    clips: Tensor
    """`(B, 1+S, F, H, W, 3)` uint8, or rows `(B, X)`."""
    labels: Tensor
    """`(B,)` class of each clip."""
    indices: Tensor
    """`(B,)` index of each clip in its set."""


class BufferId(NamedTuple):
    """Address of a reusable buffer."""

    worker: int
    number: int


@runtime_checkable
class _Writing(Protocol):
    """A set that writes its clips into the memory of a batch, which saves a copy."""

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """Shape of every clip."""

    def write(self, index: int, out: Tensor) -> tuple[int, int]:
        """Write clip `index` into `out`, uint8; return its label and index."""


class ClipLoader:
    """Batches of one or several sets of clips.

    Workers are started at the first batch and serve all sets and epochs: starting them again costs
    a small set more than its epoch. The memory of a batch is reused once the next one is requested,
    because fresh pages cost more than what is written into them (measured: 12 ms a clip of 10.8 MB
    against 2). Copy a batch to keep it.
    """

    def __init__(self, *sets: ClipSet, workers: int = 0, pin: bool = False) -> None:
        """Make a loader; nothing is started yet.

        Args:
            sets: the clips. Workers see later changes only in shared memory (as by `set_epoch`).
            workers: number of worker processes; 0 reads in this process.
            pin: copy batches into pinned memory, for a GPU.
        """
        # Worker processes get copies of these objects; what they share is inside `_Buffers`.
        self._order = _Order()
        self._buffers = _Buffers(workers)
        self._loader: DataLoader[Any] = DataLoader(
            _JoinedSets(sets),
            batch_sampler=self._order,
            num_workers=workers,
            collate_fn=self._buffers,
            worker_init_fn=start_worker,
            persistent_workers=workers > 0,
            prefetch_factor=AHEAD if workers else None,
            pin_memory=pin,
            # A generator of its own: starting workers must not draw from the model's.
            generator=torch.Generator(),
        )

    def batches(self, order: Iterable[list[int]], of: int = 0) -> Iterator[Batch]:
        """Yield the batches of clips that `order` lists, each valid until the next is requested.

        Args:
            order: indices of each batch.
            of: number of the set.

        Raises:
            MachineError: a worker process died.
            SourceError: too many clips do not decode.
        """
        self._order.keys = [[(of, index) for index in batch] for batch in order]
        for batch, buffer in iterate_loader(self._loader):
            try:
                yield batch
            finally:
                self._buffers.release(buffer, batch.clips)


class _Order:
    """The sampler of the loader; `keys` are the current batches of (set, index)."""

    def __init__(self) -> None:
        self.keys: list[list[tuple[int, int]]] = []

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.keys)


class _JoinedSets(Dataset[tuple[ClipSet, int]]):
    """Several sets as one, by (set, index); `_Buffers` reads the clips when it makes a batch."""

    def __init__(self, sets: Sequence[ClipSet]) -> None:
        self.sets = sets

    def __getitem__(self, key: tuple[int, int]) -> tuple[ClipSet, int]:
        return self.sets[key[0]], key[1]


class _Buffers:
    """Make batches in reusable buffers, a few per worker.

    `in_use`, `(workers, BUFFERS)`, tells a worker which of its buffers the main process still
    reads.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.in_use = share(torch.zeros((max(1, workers), BUFFERS), dtype=torch.uint8))
        # Iterating that stops early is cleaned up at any moment, also while PyTorch traces a model,
        # when no tensor may be changed. So the main process writes through an array.
        self._flags = self.in_use.numpy()
        self._buffers: dict[int, Tensor] = {}
        self._mapped: dict[BufferId, Tensor] = {}

    def __call__(self, items: list[tuple[ClipSet, int]]) -> tuple[Batch, BufferId | None]:
        """Make the batch of these clips of one set.

        Returns:
            The batch and its buffer; None when all buffers are in use and it has new memory.
        """
        info = get_worker_info()
        worker = 0 if info is None else info.id
        clips, indices = items[0][0], [index for _, index in items]

        free = (self.in_use[worker] == 0).nonzero()[:, 0].tolist()
        if not free:
            return self._batch(clips, indices, None), None
        batch = self._batch(clips, indices, free[0])
        self.in_use[worker, free[0]] = 1
        return batch, BufferId(worker, free[0])

    def release(self, buffer: BufferId | None, clips: Tensor) -> None:
        """Mark the buffer of a batch as free."""
        if buffer is None:
            return
        # Holding the tensor keeps the worker's memory mapped in this process, so that the next
        # batch in this buffer costs no page faults.
        self._mapped[buffer] = clips
        self._flags[buffer] = 0

    def _batch(self, clips: ClipSet, indices: list[int], number: int | None) -> Batch:
        """Read clips into buffer `number`, or into new memory."""
        if isinstance(clips, _Writing):
            out = self._room(number, len(indices), clips.clip_shape, torch.uint8)
            marks = [clips.write(index, out[i]) for i, index in enumerate(indices)]
        else:
            items = [clips[index] for index in indices]
            out = self._room(number, len(items), items[0][0].shape, items[0][0].dtype)
            torch.stack([item[0] for item in items], out=out)
            marks = [item[1:] for item in items]

        # In training the index differs from the requested one for a clip that was replaced.
        labels, read = zip(*marks, strict=True)
        return Batch(out, torch.tensor(labels), torch.tensor(read))

    def _room(
        self, number: int | None, count: int, shape: tuple[int, ...], dtype: torch.dtype
    ) -> Tensor:
        """Return memory for `count` clips: a part of buffer `number`, or new memory if None."""
        if number is None:
            return torch.empty((count, *shape), dtype=dtype)

        # Sets of one loader may differ in shape; the buffer follows the latest batch.
        buffer = self._buffers.get(number)
        fits = buffer is not None and buffer.shape[1:] == shape and buffer.dtype == dtype
        if buffer is None or not fits or len(buffer) < count:
            buffer = torch.empty((count, *shape), dtype=dtype)
            if self.workers:
                buffer = share(buffer)
            self._buffers[number] = buffer
        return buffer[:count]
