"""Batches of clips, made by worker processes that stay, in memory that is used again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from gasmcast.data.clip_set import ClipSet, batches, steady_worker

__all__ = ["Batch", "ClipLoader"]

AHEAD = 2  # batches that each worker makes in advance
PIECES = AHEAD + 2  # of memory a worker: those in advance, the one in use, one to spare


class Batch(NamedTuple):
    """Clips `(B, 1+S, F, H, W, 3)` uint8 (or rows of a feature cache), labels `(B,)`, indices `(B,)`."""

    clips: Tensor
    labels: Tensor
    indices: Tensor


@runtime_checkable
class _Writing(Protocol):
    """A set that makes its clips in the memory of a batch, so that none is copied there."""

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """Of every clip."""

    def write(self, index: int, out: Tensor) -> tuple[int, int]:
        """Clip `index` into `out`, uint8; its label and index."""


class ClipLoader:
    """Batches of one or several sets of clips.

    Workers are started at the first batch and serve all sets and epochs: starting them anew costs a small set more than its epoch.
    The memory of a batch is used again once the next one is asked for, since fresh pages cost more than what is written into them
    (measured: 12 ms a clip of 10.8 MB against 2); whoever wants to keep a batch copies it.
    """

    def __init__(self, *sets: ClipSet, workers: int = 0, pin: bool = False) -> None:
        """A loader; nothing is started yet.

        Args:
            sets: the clips; what changes in them later, workers see only where it lies in shared memory (`set_epoch` does).
            workers: processes; 0: this one.
            pin: copy batches into pinned memory, for a GPU.
        """
        self._order = _Order()
        self._memory = _Memory(workers)
        self._loader: DataLoader[Any] = DataLoader(
            _Sets(sets),
            batch_sampler=self._order,
            num_workers=workers,
            collate_fn=self._memory,
            worker_init_fn=steady_worker,
            persistent_workers=workers > 0,
            prefetch_factor=AHEAD if workers else None,
            pin_memory=pin,
            generator=torch.Generator(),  # its own, so that starting workers draws nothing from the model's
        )

    def batches(self, order: Iterable[list[int]], of: int = 0) -> Iterator[Batch]:
        """The batches of clips that `order` names, each good until the next one is asked for.

        Args:
            order: indices of each batch.
            of: which of the sets.

        Raises:
            MachineError: a worker process died.
            SourceError: too many clips do not decode.
        """
        self._order.keys = [[(of, index) for index in batch] for batch in order]
        for batch, place in batches(self._loader):
            try:
                yield batch
            finally:
                self._memory.release(place, batch.clips)


class _Order:
    """What the loader's sampler gives at present."""

    def __init__(self) -> None:
        self.keys: list[list[tuple[int, int]]] = []

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.keys)


class _Sets(Dataset[tuple[ClipSet, int]]):
    """Several sets as one, by (set, index); their clips are made where the batch is put together."""

    def __init__(self, sets: Sequence[ClipSet]) -> None:
        self.sets = sets

    def __getitem__(self, key: tuple[int, int]) -> tuple[ClipSet, int]:
        return self.sets[key[0]], key[1]


class _Memory:
    """Puts batches together in pieces of memory, a few for each worker; `taken` tells workers which of theirs are still in use."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.taken = torch.zeros((max(1, workers), PIECES), dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]  # torch has no types here
        self._pieces: dict[int, Tensor] = {}
        self._mapped: dict[tuple[int, int], Tensor] = {}

    def __call__(self, asked: list[tuple[ClipSet, int]]) -> tuple[Batch, tuple[int, int] | None]:
        """The batch of these clips of one set, and its place: worker and piece; None where all are in use, and it has its own memory."""
        info = get_worker_info()
        worker = 0 if info is None else info.id
        free = (self.taken[worker] == 0).nonzero()[:, 0].tolist()
        batch = self._batch(asked[0][0], [index for _, index in asked], free[0] if free else None)
        if not free:
            return batch, None
        self.taken[worker, free[0]] = 1
        return batch, (worker, free[0])

    def _batch(self, clips: ClipSet, indices: list[int], number: int | None) -> Batch:
        if isinstance(clips, _Writing):
            out = self._room(number, len(indices), clips.clip_shape, torch.uint8)
            marks = [clips.write(index, out[i]) for i, index in enumerate(indices)]
        else:
            items = [clips[index] for index in indices]
            out = self._room(number, len(items), items[0][0].shape, items[0][0].dtype)
            torch.stack([item[0] for item in items], out=out)
            marks = [item[1:] for item in items]
        labels, found = zip(*marks, strict=True)
        return Batch(out, torch.tensor(labels), torch.tensor(found))

    def _room(
        self, number: int | None, count: int, shape: tuple[int, ...], dtype: torch.dtype
    ) -> Tensor:
        """For `count` clips: in a piece, or apart."""
        return (
            torch.empty((count, *shape), dtype=dtype)
            if number is None
            else self._piece(number, count, shape, dtype)[:count]
        )

    def _piece(self, number: int, count: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        piece = self._pieces.get(number)
        if piece is None or piece.shape[1:] != shape or piece.dtype != dtype or len(piece) < count:
            piece = torch.empty((count, *shape), dtype=dtype)
            if self.workers:
                piece = piece.share_memory_()  # type: ignore[no-untyped-call]  # nor here
            self._pieces[number] = piece
        return piece

    def release(self, place: tuple[int, int] | None, clips: Tensor) -> None:
        """The batch at a place is done with."""
        if place is None:
            return
        self._mapped[place] = (
            clips  # keeps the worker's piece mapped in this process: the next batch in it is there at once
        )
        self.taken[place] = 0
