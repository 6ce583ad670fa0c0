"""Fill the feature caches of a data set, with a progress bar per split."""

from __future__ import annotations

from functools import partial

import torch
from rich.console import Console

from gasmcast.features.encode import fill_cache
from gasmcast.labels import Labels
from gasmcast.progress import silent
from gasmcast.report.progress_bars import progress_bars
from gasmcast.training.inputs.feature_caches import FeatureCaches
from gasmcast.training.inputs.forecast import Forecast

__all__ = ["fill_caches"]


def fill_caches(
    caches: FeatureCaches,
    labels: Labels,
    *,
    batch_size: int = 2,
    workers: int = 0,
    then_s: float | None = None,
) -> list[str]:
    """Encode what the caches lack; shards that are complete are kept.

    Args:
        caches: caches from `plan_caches`.
        labels: classes of the data set; mirrored clips change theirs.
        batch_size: clips that are encoded at once.
        workers: processes that decode.
        then_s: seconds of the training that follows; the time of both is printed after the first
            rows. None: no training follows.

    Returns:
        Names of the clips that did not decode; they are left out.

    Raises:
        MachineError: not enough space on the disk, or a worker died.
        SourceError: too many clips do not decode.
    """
    # One process encodes, so the first GPU is enough.
    device = "cuda" if torch.cuda.is_available() else "cpu"
    undecodable: list[str] = []

    # One bar per split; rows that are stored already count as done.
    console = Console(stderr=True)
    forecast = Forecast(
        sum(part.plan.rows for part in caches.parts.values()),
        then_s or 0.0,
        silent if then_s is None else partial(console.print, highlight=False, soft_wrap=True),
    )
    before = 0
    with progress_bars() as bars:
        for split, part in caches.parts.items():
            rows, stage = part.plan.rows, f"encoding {split}"

            def show(
                _: str,
                done: int = 0,
                __: int = 0,
                *,
                stage: str = stage,
                rows: int = rows,
                before: int = before,
            ) -> None:
                bars(stage, done, rows)
                forecast.update(before + done)

            undecodable += fill_cache(
                part.plan,
                caches.model,
                caches.config,
                part.samples,
                labels.left_right_swap(),
                batch_size=batch_size,
                workers=workers,
                device=device,
                progress=show,
            )
            before += rows
    return undecodable
