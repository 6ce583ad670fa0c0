"""Fill the feature caches of a data set on a Ray cluster, one shard after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gasmcast.archive.archive_run import start_workers
from gasmcast.archive.work_pool import run_items
from gasmcast.archive.worker_plan import available_cores, plan_workers
from gasmcast.data.failures import check_failures
from gasmcast.errors import MachineError, SourceError, UsageError
from gasmcast.features.cache_plan import Precision
from gasmcast.features.encode import (
    finish_cache,
    shard_encoder,
    shards_to_fill,
    undecodable_clips,
)
from gasmcast.progress import Progress, silent
from gasmcast.training.inputs.feature_caches import FeatureCaches, plan_caches
from gasmcast.training.inputs.training_set import open_training_set

__all__ = ["CacheTask", "fill_on_ray"]

STAGE = "encoding shards"


class Shard(NamedTuple):
    """One item of work."""

    split: str
    number: int


@dataclass(frozen=True)
class CacheTask:
    """Description of the work, which travels to the workers; each opens the data set again."""

    source: str
    data: Path
    settings: Mapping[str, Any]
    out: Path
    views: int
    dtype: Precision
    batch_size: int
    keys: Mapping[str, str]
    """Key of the cache of each split, which a worker must find as well."""
    threads: int = 1

    def __call__(self) -> Callable[[Shard], None]:
        """Open the data set and the backbones on the machine of the worker.

        Raises:
            UsageError: data set or weights are not those of the main process.
        """
        torch.set_num_threads(self.threads)
        opened = open_training_set(self.source, self.data, self.settings, preload=False)
        caches = plan_caches(
            opened.config, opened.samples(), self.out, views=self.views, dtype=self.dtype
        )
        keys = {split: part.plan.key for split, part in caches.parts.items()}
        if keys != self.keys:
            raise UsageError(
                f"The data set {self.data} or the backbone weights are not those of the main "
                "process.",
                "All nodes need the same files under the same paths.",
            )

        device = "cuda" if torch.cuda.is_available() else "cpu"
        encoders = {}
        for split, part in caches.parts.items():
            encoders[split] = shard_encoder(
                part.plan,
                caches.model,
                caches.config,
                part.samples,
                opened.labels.left_right_swap(),
                batch_size=self.batch_size,
                device=device,
            )

        def work(shard: Shard) -> None:
            encoders[shard.split](shard.number)

        return work


def fill_on_ray(
    caches: FeatureCaches,
    task: CacheTask,
    ray: str,
    *,
    workers: int | None = None,
    progress: Progress = silent,
) -> list[str]:
    """Encode what the caches lack on a Ray cluster; shards that are complete are kept.

    Args:
        caches: caches from `plan_caches`.
        task: how a worker finds them.
        ray: address of a cluster, or `local`.
        workers: number of workers; None: as many as the cluster has room for.
        progress: called with the completed shards.

    Returns:
        Names of the clips that did not decode; they are left out.

    Raises:
        MachineError: the cluster cannot be reached, the disk is too small, or a shard kills every
            worker that encodes it.
        SourceError: too many clips do not decode.
        UsageError: a worker has other data, weights or another version.
    """
    shards = []
    for split, part in caches.parts.items():
        shards += [Shard(split, number) for number in shards_to_fill(part.plan)]

    if shards:
        plan = plan_workers(
            cores=available_cores(),
            on_gpu=torch.cuda.is_available(),
            batch=1,
            workers=workers,
            on_cluster=ray != "local",
        )
        # One shard at a time: its clips are a batch already.
        plan = replace(plan, slots=1)
        started, count = start_workers(replace(task, threads=plan.threads), plan, len(shards), ray)
        done = 0
        progress(STAGE, done, len(shards))
        with closing(run_items(started, shards, count)) as finished:
            for one in finished:
                if one.reason:
                    raise MachineError(
                        f"Shard {one.item.number} of {one.item.split} was not encoded: "
                        f"{one.reason}.",
                        "Check the memory of the nodes, or use a smaller --batch-size.",
                    )
                done += 1
                progress(STAGE, done, len(shards))

    # The index comes last: it says that a cache is complete.
    undecodable: list[str] = []
    for part in caches.parts.values():
        names = undecodable_clips(part.plan, part.samples, finish_cache(part.plan))
        check_failures(
            names,
            part.plan.clips,
            lambda shown: SourceError(f"Too many clips do not decode {shown}."),
        )
        undecodable += names
    return undecodable
