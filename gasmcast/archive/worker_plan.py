"""Split the cores of a machine, or of each node of a cluster, among workers."""

from __future__ import annotations

import os
from dataclasses import dataclass

from gasmcast.errors import UsageError

__all__ = ["WorkerPlan", "available_cores", "plan_workers"]

_THREADS = 4
"""CPU threads of one worker. More workers with fewer threads would need more memory."""
_FILES_AT_ONCE = 2
"""Files of one worker: while one is opened or ends, the other feeds the encoder."""


@dataclass(frozen=True)
class WorkerPlan:
    """Number and size of the workers."""

    workers: int | None
    """None: as many as the cluster has room for."""
    threads: int
    """CPU threads of one worker."""
    slots: int
    """Files that one worker reads at once."""
    batch: int
    """Segments in one encoder batch."""
    gpus: int = 0
    """GPUs of one worker."""


def available_cores() -> int:
    """Return how many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def plan_workers(
    *,
    cores: int,
    on_gpu: bool,
    batch: int,
    workers: int | None = None,
    threads: int | None = None,
    on_cluster: bool = False,
) -> WorkerPlan:
    """Split cores among workers; each worker has one engine.

    On a CPU a batch of several segments takes as long as they take one by one, so there is no
    batch, and the records do not depend on which files are labeled together.

    Args:
        cores: CPU cores of this machine.
        on_gpu: a worker has a GPU of its own, and batches of segments.
        batch: segments of one batch on a GPU.
        workers: number of workers; None: derived.
        threads: CPU threads of one worker; None: derived.
        on_cluster: workers are placed by a cluster, whose nodes may differ from this machine.

    Raises:
        UsageError: more threads than cores.
    """
    if not on_cluster and threads is not None and threads > cores:
        raise UsageError(
            f"--threads {threads} is more than the {cores} cores of this machine.",
            "Give fewer threads.",
        )

    # A GPU is one device: one process feeds it best.
    count = workers
    if count is None and not on_cluster:
        count = 1 if on_gpu else max(1, cores // (threads or _THREADS))
    if threads is None:
        threads = min(_THREADS, cores) if count is None else max(1, cores // count)
    return WorkerPlan(
        workers=count,
        threads=threads,
        slots=_FILES_AT_ONCE * batch if on_gpu else _FILES_AT_ONCE,
        batch=batch if on_gpu else 1,
        gpus=1 if on_gpu and on_cluster else 0,
    )
