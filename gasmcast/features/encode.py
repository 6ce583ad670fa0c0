"""Fill a feature cache: run clips through the frozen backbones, one shard at a time.

An interrupted run continues with the shards that are missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gasmcast.config import Config
from gasmcast.data.annotations import Sample
from gasmcast.data.data_workers import iterate_loader, worker_deaths
from gasmcast.data.dataset import ClipDataset
from gasmcast.data.malloc import keep_memory
from gasmcast.errors import MachineError, UsageError
from gasmcast.features.cache_index import write_index
from gasmcast.features.cache_plan import CachePlan
from gasmcast.features.openvino_taps import OpenVinoTaps
from gasmcast.features.shards import check_shard, write_shard
from gasmcast.models.model import GasmCast
from gasmcast.progress import Progress, silent
from gasmcast.tensorfile import TornFileError

__all__ = [
    "fill_cache",
    "finish_cache",
    "shard_encoder",
    "shards_to_fill",
    "undecodable_clips",
]

STAGE = "encoding clips"
TapFunction = Callable[[Tensor], Tensor]
"""Function from clips `(B, 1+S, F, H, W, 3)` uint8 to rows `(B, X)`."""


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
    progress: Progress = silent,
) -> list[str]:
    """Encode the missing shards and write the index.

    Args:
        plan: from `plan_cache`, for the same model, configuration and samples.
        model: its backbones encode.
        config: the model's.
        samples: the clips.
        swap: classes that a mirrored clip changes to.
        batch_size: clips encoded at once.
        workers: number of processes that decode.
        device: torch device that encodes.
        progress: called with completed rows and all rows, first with those of complete shards.

    Returns:
        Names of the clips that did not decode; they are left out.

    Raises:
        MachineError: the disk is too small, a worker died, or OpenVINO cannot run the backbones.
        SourceError: more than 1 % of the clips do not decode.
        UsageError: float16 cannot hold a value; or the cache holds both streams, lacks a shard, and
            the model has one stream.
    """
    missing = shards_to_fill(plan)
    if device == "cpu":
        keep_memory()

    views = _Views(plan, samples, config, swap)
    # No batch spans two shards. One loader reads all of them, so that workers never wait for the
    # end of a shard.
    order = [
        list(batch)
        for number in missing
        for batch in _batches(plan.shard_range(number), batch_size)
    ]
    loader: DataLoader[Any] = DataLoader(
        views, batch_sampler=order, num_workers=workers if missing else 0
    )
    done = plan.rows - sum(len(plan.shard_range(number)) for number in missing)
    progress(STAGE, done, plan.rows)
    if missing:
        taps = _open_taps(plan, model, device)
        encode_shards(plan, taps, loader, device=device, done=done, progress=progress)

    return undecodable_clips(plan, samples, finish_cache(plan))


def shards_to_fill(plan: CachePlan) -> list[int]:
    """Create the folder of a cache, and return the numbers of the shards that it lacks.

    Raises:
        MachineError: the disk is too small.
        UsageError: the cache holds both streams, lacks a shard, and the model has one stream.
    """
    # A model of one stream cannot repair the other half of a shared row.
    missing = missing_shards(plan)
    if missing and plan.shared:
        raise UsageError(
            f"{plan.folder} holds both streams, and {plan.shard(missing[0]).name} is damaged or"
            " gone.",
            "Encode with the model of both again, or remove the folder.",
        )
    plan.folder.mkdir(parents=True, exist_ok=True)
    check_room(plan, missing)
    return missing


def shard_encoder(
    plan: CachePlan,
    model: GasmCast,
    config: Config,
    samples: Sequence[Sample],
    swap: Mapping[int, int],
    *,
    batch_size: int,
    device: str,
) -> Callable[[int], None]:
    """Return a function that encodes one shard in this process and writes it.

    The arguments are those of `fill_cache`.
    """
    views = _Views(plan, samples, config, swap)
    taps = _open_taps(plan, model, device)

    def encode(number: int) -> None:
        order = [list(batch) for batch in _batches(plan.shard_range(number), batch_size)]
        loader: DataLoader[Any] = DataLoader(views, batch_sampler=order)
        encode_shards(plan, taps, loader, device=device, done=0, progress=silent)

    return encode


def undecodable_clips(
    plan: CachePlan, samples: Sequence[Sample], labels: Sequence[int]
) -> list[str]:
    """Return the names of the clips whose rows have the label -1.

    Args:
        plan: of the cache.
        samples: the clips.
        labels: what `finish_cache` returned.
    """
    return sorted({samples[row % plan.clips].id for row, label in enumerate(labels) if label < 0})


def missing_shards(plan: CachePlan) -> list[int]:
    """Return the numbers of shards that are missing, damaged or of another cache.

    All shards are read and compared with their digests.
    """
    return [i for i in range(len(plan.shards)) if not _is_complete(plan, i)]


def check_room(plan: CachePlan, missing: Sequence[int]) -> None:
    """Check that the disk has room for the missing shards.

    Raises:
        MachineError: it has not.
    """
    needed = len(missing) * plan.shard_rows * plan.bytes // plan.rows
    free = shutil.disk_usage(plan.folder).free
    if needed > free:
        raise MachineError(
            f"The cache needs {needed / 1e6:,.0f} MB, {plan.folder} has {free / 1e6:,.0f} MB.",
            "Free some, or use --set model.semantic_tokens=cell.",
        )


def encode_shards(
    plan: CachePlan,
    taps: TapFunction,
    loader: DataLoader[Any],
    *,
    device: str,
    done: int,
    progress: Progress,
) -> None:
    """Encode the clips of a loader and write each shard as soon as its last row is there.

    Args:
        plan: of the cache.
        taps: encodes batches on `device`.
        loader: batches `(clips, labels, rows)` in the order of the shards, none across two shards.
        device: torch device that encodes.
        done: rows that are stored already.
        progress: called after each batch.
    """
    values: list[Tensor] = []
    labels: list[Tensor] = []
    for clips, batch_labels, rows in iterate_loader(loader):
        values.append(_encode(taps, clips.to(device), plan))
        labels.append(batch_labels)
        done += len(clips)
        progress(STAGE, done, plan.rows)

        # A shard is written as a whole, and only a whole one counts after an interruption.
        last_row = int(rows[-1])
        number = last_row // plan.shard_rows
        if last_row + 1 == plan.shard_range(number).stop:
            write_shard(plan, number, torch.cat(values), torch.cat(labels))
            values, labels = [], []


def finish_cache(plan: CachePlan) -> list[int]:
    """Write the index of a complete cache.

    Returns:
        The label of each row; -1 for a clip that did not decode.
    """
    labels: list[int] = []
    for number in range(len(plan.shards)):
        labels.extend(check_shard(plan, number, verify=False).tolist())
    write_index(plan.folder, plan.facts, labels)
    return labels


class _Views(Dataset[tuple[Tensor, int, int]]):
    """Rows of a cache as clips: `(clip, label, row)`, label -1 if the clip did not decode."""

    def __init__(
        self, plan: CachePlan, samples: Sequence[Sample], config: Config, swap: Mapping[int, int]
    ) -> None:
        self.clips = plan.clips
        self.plain = ClipDataset(samples, config.spec)
        self.augmented = ClipDataset(samples, config.spec, config.augment, swap=swap)

    def __getitem__(self, row: int) -> tuple[Tensor, int, int]:
        view, index = divmod(row, self.clips)
        source = self.augmented if view else self.plain
        clip, label, drawn_index = source.draw(index, view)

        # Training would accept the replacement of a bad clip; a cache must not store it.
        replaced = bool(source.failed[index]) or drawn_index != index
        return clip, -1 if replaced else label, row


def _batches(rows: range, size: int) -> list[range]:
    """Cut rows into batches of at most `size`."""
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _open_taps(plan: CachePlan, model: GasmCast, device: str) -> TapFunction:
    """Return what encodes the cache on this machine."""
    model.to(device).eval()
    if device == "cpu" and plan.encoder == "openvino":
        return OpenVinoTaps(model)
    return model.backbone_taps


def _encode(taps: TapFunction, clips: Tensor, plan: CachePlan) -> Tensor:
    """Return the rows `(B, X)` of a batch in the number type of the cache, on the CPU."""
    rows = taps(clips)
    if rows.shape[1] != plan.width:
        raise UsageError(
            f"These backbones give {rows.shape[1]} numbers a clip, not the {plan.width} that their"
            " shapes promise: they cannot be cached."
        )
    stored = rows.to(getattr(torch, plan.dtype)).cpu()
    if not stored.isfinite().all():
        raise UsageError(f"A tap is too large for {plan.dtype}.", "Use --dtype float32.")
    return stored


def _is_complete(plan: CachePlan, number: int) -> bool:
    """Return whether a shard exists, matches its digest and belongs to this cache."""
    try:
        check_shard(plan, number)
    except TornFileError:
        return False
    return True
