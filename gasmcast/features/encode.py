"""Filling a feature cache: clips through the frozen backbones, a shard at a time, going on where an earlier run stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gasmcast.config import Config
from gasmcast.data.annotations import Sample
from gasmcast.data.clip_set import batches, worker_deaths
from gasmcast.data.dataset import ClipDataset
from gasmcast.data.malloc import keep_memory
from gasmcast.errors import MachineError, UsageError
from gasmcast.features.cache_plan import FORMAT, CachePlan
from gasmcast.files import write_atomic
from gasmcast.models.model import GasmCast
from gasmcast.tensorfile import TornFileError, read_tensors, write_tensors

__all__ = ["fill_cache", "missing_shards"]


def missing_shards(plan: CachePlan) -> list[int]:
    """Numbers of the shards that are not there, or not whole, or of another cache: all are read and compared with their digests."""
    return [i for i, path in enumerate(plan.shards) if not _is_whole(path, plan)]


@worker_deaths("what is encoded is kept, so the same command goes on")
def fill_cache(
    plan: CachePlan,
    model: GasmCast,
    config: Config,
    samples: Sequence[Sample],
    swap: Mapping[int, int],
    *,
    batch_size: int = 4,
    workers: int = 0,
    device: str = "cpu",
    on_rows: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Encode what is missing and write the index.

    Args:
        plan: from `plan_cache`, of the same model, configuration and samples.
        model: its backbones encode.
        config: the model's.
        samples: the clips.
        swap: classes that a mirrored clip changes to.
        batch_size: clips encoded at once.
        workers: processes that decode.
        device: where to encode.
        on_rows: called with rows done and all rows, first with those that are there.

    Returns:
        The names of the clips that did not decode; they are left out.

    Raises:
        MachineError: the disk is too small, or a worker died.
        SourceError: more than 1 % of the clips do not decode.
        UsageError: a value that float16 cannot hold; a cache of both streams that lacks something, and a model of one.
    """
    missing = missing_shards(plan)
    if missing and plan.shared:
        raise UsageError(
            f"{plan.folder} holds both streams, and {plan.shard(missing[0]).name} is damaged or gone.",
            "Encode with the model of both again, or remove the folder.",
        )
    needed = len(missing) * plan.shard_rows * plan.bytes // plan.rows
    plan.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(plan.folder).free
    if needed > free:
        raise MachineError(
            f"The cache needs {needed / 1e9:.1f} GB, {plan.folder} has {free / 1e9:.1f} GB.",
            "Free some, or use --set model.semantic_tokens=cell.",
        )
    if device == "cpu":
        keep_memory()
    views = _Views(plan, samples, config, swap)
    model = model.to(device).eval()
    done = plan.rows - sum(len(_rows(plan, number)) for number in missing)
    if on_rows is not None:
        on_rows(done, plan.rows)
    # No batch is of two shards; one loader for all of them, so that workers do not wait at every end.
    order = [
        list(rows[i : i + batch_size])
        for rows in (_rows(plan, number) for number in missing)
        for i in range(0, len(rows), batch_size)
    ]
    loader: DataLoader[Any] = DataLoader(
        views, batch_sampler=order, num_workers=workers if missing else 0
    )
    values: list[Tensor] = []
    marks: list[Tensor] = []
    for clips, found, rows in batches(loader):
        values.append(_encode(model, clips.to(device), plan))
        marks.append(found)
        done += len(clips)
        if on_rows is not None:
            on_rows(done, plan.rows)
        number, last = divmod(int(rows[-1]), plan.shard_rows)
        if last + 1 == len(_rows(plan, number)):
            texts = {"key": plan.key, "format": FORMAT}
            write_tensors(
                plan.shard(number), {"rows": torch.cat(values), "labels": torch.cat(marks)}, texts
            )
            values, marks = [], []
    labels = [label for shard in plan.shards for label in _labels(shard)]
    write_atomic(
        plan.folder / "index.json",
        json.dumps({"key": plan.key, "facts": plan.facts, "labels": labels}),
    )
    return sorted({samples[i % plan.clips].id for i, label in enumerate(labels) if label < 0})


class _Views(Dataset[tuple[Tensor, int, int]]):
    """The rows of a cache as clips: `(clip, label, row)`, label -1 where the clip did not decode."""

    def __init__(
        self, plan: CachePlan, samples: Sequence[Sample], config: Config, swap: Mapping[int, int]
    ) -> None:
        self.clips = plan.clips
        self.plain = ClipDataset(samples, config.spec)
        self.drawn = ClipDataset(samples, config.spec, config.augment, swap=swap)

    def __getitem__(self, row: int) -> tuple[Tensor, int, int]:
        view, index = divmod(row, self.clips)
        source = self.drawn if view else self.plain
        clip, label, found = source.draw(index, view)
        return clip, -1 if source.failed[index] or found != index else label, row


def _rows(plan: CachePlan, shard: int) -> range:
    return range(shard * plan.shard_rows, min((shard + 1) * plan.shard_rows, plan.rows))


def _labels(shard: Path) -> list[int]:
    """Of a shard that is whole: `missing_shards` has looked, or it was written just now."""
    with safe_open(shard, framework="pt") as stream:
        return [int(label) for label in stream.get_tensor("labels")]


def _encode(model: GasmCast, clips: Tensor, plan: CachePlan) -> Tensor:
    rows = model.backbone_taps(clips)
    if rows.shape[1] != plan.width:
        what = f"These backbones give {rows.shape[1]} numbers a clip, not the {plan.width} that their shapes promise"
        raise UsageError(f"{what}: they cannot be cached.")
    kept = rows.to(getattr(torch, plan.dtype)).cpu()
    if not kept.isfinite().all():
        raise UsageError(f"A tap is too large for {plan.dtype}.", "Use --dtype float32.")
    return kept


def _is_whole(path: Path, plan: CachePlan) -> bool:
    try:
        return path.is_file() and read_tensors(path)[1].get("key") == plan.key
    except TornFileError:
        return False
