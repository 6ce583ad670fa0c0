"""One run over the inputs of an archive: what is missing in the output folder is labeled."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from gasmcast.archive.label_task import Labeled, LabelTask, write_failure
from gasmcast.archive.local_workers import LocalWorkers
from gasmcast.archive.output_folder import OutputFolder
from gasmcast.archive.ray_workers import RayWorkers
from gasmcast.archive.work_pool import Workers, WorkFactory, run_items
from gasmcast.archive.worker_plan import WorkerPlan
from gasmcast.progress import Progress

__all__ = ["Totals", "label_videos", "start_workers", "unfinished"]

STAGE = "labeling"


@dataclass
class Totals:
    """Counts of one run."""

    labeled: int = 0
    failed: int = 0
    video_s: float = 0.0


def unfinished(folder: OutputFolder, videos: Sequence[str], *, retry: bool) -> list[str]:
    """Return the videos without records; with `retry` also those that failed before."""
    missing = []
    for video in videos:
        state = folder.state(video)
        if state == "failed" and retry:
            folder.forget_failure(video)
            state = "missing"
        if state == "missing":
            missing.append(video)
    return missing


def start_workers(
    factory: WorkFactory, plan: WorkerPlan, items: int, ray: str | None
) -> tuple[Workers, int]:
    """Return workers of this machine or of a cluster, and how many of them to start.

    Args:
        factory: opens what a worker needs.
        plan: number and size of the workers.
        items: number of items; more workers would have nothing to do.
        ray: address of a Ray cluster, or `local`; None: processes of this machine.

    Raises:
        MachineError: Ray is not installed, or the cluster cannot be reached.
        UsageError: the cluster has no node that is large enough for a worker.
    """
    if ray is None:
        return LocalWorkers(factory, plan.slots), min(plan.workers or 1, items)

    workers = RayWorkers(
        ray,
        factory,
        plan.slots,
        cores=plan.threads,
        gpus=plan.gpus,
        count=min(plan.workers or 1, items),
    )
    return workers, min(plan.workers or workers.capacity, items)


def label_videos(
    task: LabelTask,
    plan: WorkerPlan,
    folder: OutputFolder,
    videos: Sequence[str],
    *,
    present: int,
    ray: str | None,
    progress: Progress,
) -> Totals:
    """Label videos in workers; each has a complete record file when this returns.

    Args:
        task: work of a worker.
        plan: number and size of the workers.
        folder: opened output folder.
        videos: videos without records.
        present: videos that are done already, for the progress.
        ray: as for `start_workers`.
        progress: called after each video.

    Raises:
        GasmcastError: a reason that holds for all workers; what is written stays.
    """
    totals = Totals()
    if not videos:
        return totals

    done, total = present, present + len(videos)
    progress("starting workers")
    workers, count = start_workers(task, plan, len(videos), ray)
    progress(STAGE, done, total)

    # Closed at once after an error or a signal, so that no worker outlives the run.
    with closing(run_items(workers, videos, count)) as finished:
        for one in finished:
            outcome = one.result
            if outcome is None:
                outcome = Labeled(0.0, 0, 0, one.reason)
                write_failure(folder, one.item, one.reason)

            totals.labeled += not outcome.reason
            totals.failed += bool(outcome.reason)
            totals.video_s += outcome.video_s
            done += 1
            progress(STAGE, done, total)
    return totals
