"""The scheduler finishes every item once, whatever dies."""

from __future__ import annotations

from collections import Counter

import pytest

from gasmcast.archive.work_pool import Died, Done, Ready, run_items
from gasmcast.errors import MachineError


class FakeWorkers:
    """Workers in memory; `deadly(item, how often it was given)` says whether an item kills."""

    def __init__(self, deadly, slots=2):
        self.slots, self.deadly = slots, deadly
        self.added, self.closed = 0, False
        self.happenings, self.given = [], Counter()
        self.alive = {}

    def add(self):
        self.alive[self.added] = []
        self.happenings.append(Ready(self.added))
        self.added += 1
        return self.added - 1

    def give(self, worker, item):
        assert len(self.alive[worker]) < self.slots
        self.given[item] += 1
        self.alive[worker].append(item)

    def wait(self, timeout_s):
        happenings, self.happenings = self.happenings, []
        for worker, items in list(self.alive.items()):
            for item in list(items):
                if self.deadly(item, self.given[item]):
                    del self.alive[worker]
                    happenings.append(Died(worker, "killed"))
                    break
                items.remove(item)
                happenings.append(Done(worker, item, item * 10))
        return happenings

    def close(self):
        self.closed = True


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("slots", [1, 2])
def test_every_item_is_finished_once_though_workers_die(count, slots):
    workers = FakeWorkers(lambda item, times: item % 7 == 3 and times == 1, slots)
    done = list(run_items(workers, range(50), count))
    assert sorted(one.item for one in done) == list(range(50))
    assert all(one.result == one.item * 10 and not one.reason for one in done)
    assert workers.added > count
    assert workers.closed


def test_an_item_that_always_kills_is_given_up_with_its_reason():
    workers = FakeWorkers(lambda item, _: item == 5, slots=1)
    done = {one.item: one for one in run_items(workers, range(10), 2)}
    assert sorted(done) == list(range(10))
    assert done[5].result is None
    assert "3 workers died of it (killed)" in done[5].reason
    assert workers.given[5] == 3


def test_workers_that_all_die_end_the_run():
    workers = FakeWorkers(lambda *_: True)
    with pytest.raises(MachineError, match="died one after another"):
        list(run_items(workers, range(100), 2))
    assert workers.closed


def test_many_workers_may_disappear_at_once():
    """Two spot machines with four workers each are taken away before anything is finished."""
    workers = FakeWorkers(lambda item, times: item < 8 and times == 1, slots=1)
    done = list(run_items(workers, range(20), 8))
    assert sorted(one.item for one in done) == list(range(20))
    assert not any(one.reason for one in done)


def test_a_run_that_is_left_closes_its_workers():
    workers = FakeWorkers(lambda *_: False)
    run = run_items(workers, range(10), 2)
    next(run)
    run.close()
    assert workers.closed
