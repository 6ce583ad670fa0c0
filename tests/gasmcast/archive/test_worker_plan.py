"""Cores are split among workers."""

from __future__ import annotations

import pytest

from gasmcast.archive.worker_plan import plan_workers
from gasmcast.errors import UsageError

TABLE = [
    # cores, workers, threads, on_gpu, on_cluster -> workers, threads, slots, batch, gpus
    ((2, None, None, False, False), (1, 2, 2, 1, 0)),
    ((16, None, None, False, False), (4, 4, 2, 1, 0)),
    ((16, None, 8, False, False), (2, 8, 2, 1, 0)),
    ((16, 3, None, False, False), (3, 5, 2, 1, 0)),
    ((2, 4, None, False, False), (4, 1, 2, 1, 0)),
    ((16, None, None, True, False), (1, 16, 8, 4, 0)),
    ((2, None, None, False, True), (None, 2, 2, 1, 0)),
    ((2, None, 8, False, True), (None, 8, 2, 1, 0)),
    ((8, None, None, True, True), (None, 4, 8, 4, 1)),
]


@pytest.mark.parametrize(("given", "expected"), TABLE)
def test_cores_are_split(given, expected):
    cores, workers, threads, on_gpu, on_cluster = given
    plan = plan_workers(
        cores=cores, on_gpu=on_gpu, batch=4, workers=workers, threads=threads, on_cluster=on_cluster
    )
    assert (plan.workers, plan.threads, plan.slots, plan.batch, plan.gpus) == expected


def test_more_threads_than_cores_are_refused():
    with pytest.raises(UsageError, match="more than the 2 cores"):
        plan_workers(cores=2, on_gpu=False, batch=4, threads=8)
