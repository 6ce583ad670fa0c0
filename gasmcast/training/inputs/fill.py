"""Encode first, then train: for small sets and frozen backbones, whose every further epoch would only repeat the encoding."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gasmcast.config import load_config
from gasmcast.features.encode import fill_cache
from gasmcast.training.inputs.cached import Cached, open_any, open_cached
from gasmcast.training.inputs.training_set import Opened

__all__ = ["encode_parts", "open_best", "open_prefilled"]


def open_best(
    source: str | Path, data: Path, overrides: dict[str, Any], caches: Path | None, run: Path
) -> Opened:
    """A run from the caches given; else from one filled in `run`, where `train.cache_views` asks for it; else from clips.

    Several processes do not fill a cache together: there it is clips, or `gasmcast cache` beforehand.

    Raises:
        UsageError: as `open_any`.
        MachineError: as `open_any`.
    """
    views = load_config(source, overrides).train.cache_views
    if views and caches is None and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return open_prefilled(source, data, overrides, run / "features", views)
    return open_any(source, data, overrides, caches)


def open_prefilled(
    source: str | Path, data: Path, overrides: dict[str, Any], caches: Path, views: int
) -> Opened:
    """A run on features that are encoded here and now, as far as they are not in `caches` already.

    Args:
        source: a preset, or a YAML file.
        data: folder of a set in Something-Something-V2's format.
        overrides: dotted settings.
        caches: folder of caches, in the run folder.
        views: of each training clip: the first as in evaluation, the others augmented.

    Raises:
        UsageError: as `open_cached`, and a set that does not decode.
        MachineError: the disk is too small; weights that are not there.
    """
    cached = open_cached(source, data, overrides, caches, views=views, run_folder=caches.parent)
    if any(not (plan.folder / "index.json").is_file() for _, plan in cached.parts):
        Console().print(f"Encoding first: {cached.size()}", highlight=False, soft_wrap=True)
    encode_parts(cached, batch_size=2, workers=min(1, cached.config.train.workers))
    return cached.opened(verify=False)


def encode_parts(cached: Cached, *, batch_size: int, workers: int) -> list[str]:
    """Fill the caches of a run as far as they are not there, with a bar for each.

    Args:
        cached: what they are of.
        batch_size: clips encoded at once.
        workers: processes that decode.

    Returns:
        The names of the clips that did not decode; they are left out.

    Raises:
        MachineError: the disk is too small.
        SourceError: too many clips do not decode.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bad: list[str] = []
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    ) as progress:
        for samples, plan in cached.parts:
            task = progress.add_task(
                f"encoding {plan.folder.name.rsplit('-', 1)[0]}", total=plan.rows
            )
            bad += fill_cache(
                plan,
                cached.model,
                cached.config,
                samples,
                cached.labels.left_right_swap(),
                batch_size=batch_size,
                workers=workers,
                device=device,
                progress=lambda _, done=0, __=0, task=task: progress.update(task, completed=done),
            )
    return bad
