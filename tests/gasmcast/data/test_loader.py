"""Batches are the same from any number of workers; workers and memory are reused."""

import os
from functools import partial

import pytest
import torch

from gasmcast.data.loader import BUFFERS, ClipLoader, _Buffers


class Numbers:
    """Clip `i` is `(10 * epoch + i)`, its label the process that made it."""

    def __init__(self, count: int, first: int = 0) -> None:
        self.count, self.first = count, first
        self.epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        return (
            torch.full((2, 3), float(self.first + 10 * int(self.epoch) + index)),
            os.getpid(),
            index,
        )


class Writing(Numbers):
    """The same numbers, uint8, written into the memory of the batch."""

    clip_shape = (2, 3)

    def __init__(self, first: int = 0) -> None:
        super().__init__(6, first)

    def write(self, index: int, out: torch.Tensor) -> tuple[int, int]:
        out.copy_(self[index][0])
        return os.getpid(), index


ORDER = [[0, 3], [2, 1], [4, 4], [3, 0], [1, 2], [0, 1], [5]]


def _read(loader: ClipLoader, of: int = 0) -> tuple[list[list[float]], set[int]]:
    rows, makers = [], set()
    for clips, makers_of, indices in loader.batches(ORDER, of):
        assert clips.shape == (len(indices), 2, 3)
        assert (clips == clips[:, :1, :1]).all()
        rows.append(clips[:, 0, 0].tolist())
        makers |= set(makers_of.tolist())
        assert len(rows) <= len(ORDER)
        assert indices.tolist() == ORDER[len(rows) - 1]
    return rows, makers


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_are_the_same_from_any_number_of_workers_who_stay(workers):
    numbers, others = Numbers(6), Numbers(6, 100)
    loader = ClipLoader(numbers, others, workers=workers)
    first, makers = _read(loader)
    assert first == [[float(i) for i in batch] for batch in ORDER]
    numbers.epoch.fill_(1)
    again, same = _read(loader)
    assert again == [[10.0 + i for i in batch] for batch in ORDER]
    assert _read(loader, of=1)[0] == [[100.0 + i for i in batch] for batch in ORDER]
    assert makers == same
    assert (os.getpid() in makers) == (workers == 0)
    assert len(makers) == max(1, workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_set_that_writes_its_clips_where_they_are_wanted_gives_the_same_batches(workers):
    loader = ClipLoader(Numbers(6), Writing(), workers=workers)
    assert _read(loader, of=1)[0] == _read(loader, of=0)[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_that_was_left_halfway_disturbs_nothing(workers):
    loader = ClipLoader(Numbers(6), workers=workers)
    for _ in range(3):
        stream = loader.batches(ORDER)
        next(stream)
        del stream
    assert _read(loader)[0] == [[float(i) for i in batch] for batch in ORDER]


@pytest.mark.parametrize("writing", [False, True])
def test_memory_is_used_again_once_it_is_released_and_never_before(writing):
    buffers = _Buffers(0)
    clips = Writing if writing else partial(Numbers, 2)
    kept = []
    for i in range(BUFFERS + 2):
        batch, place = buffers([(clips(i), 0), (clips(i), 1)])
        kept.append((batch, place))
    assert [place for _, place in kept] == [(0, i) for i in range(BUFFERS)] + [None, None]
    assert [int(batch.clips[1, 0, 0]) for batch, _ in kept] == [
        i + 1 for i in range(BUFFERS + 2)
    ]  # nothing was written over
    batch, place = kept[2]
    buffers.release(place, batch.clips)
    again, there = buffers([(clips(9), 0)])
    assert there == place
    assert again.clips.data_ptr() == batch.clips.data_ptr()
    assert len(again.clips) == 1


def test_iterating_that_stops_early_may_end_while_a_model_is_traced():
    """Then no tensor may be changed; garbage is collected at any moment."""
    batches = ClipLoader(Numbers(6), workers=1).batches(ORDER)
    next(batches)
    traced = torch.func.functionalize(lambda ones: (batches.close(), ones + 1)[1])
    assert traced(torch.ones(1)) == 2
