"""What a cache of backbone taps holds and which one it is, known before anything is encoded.

A cache is a folder `<split>-<key>` of shards, each a safetensors file with a digest inside, and `index.json`, written last.
The key is a SHA-256 over the frozen weights, the pixels they get, the configuration of the backbones, the clip spec, the augmentation of
the views, the number type and the clips themselves (ids, labels, sizes and ends of the files): another model or a changed set has
another key, so a stale cache is never opened. Shards that are whole are kept when an interrupted run goes on.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from gasmcast.config import Config
from gasmcast.data.annotations import Sample
from gasmcast.errors import UsageError
from gasmcast.models.model import GasmCast

__all__ = ["FORMAT", "CachePlan", "plan_cache", "weights_sha"]

FORMAT = "gasmcast features 4"
SHARD_ROWS = 16  # what a kill loses: a minute or two of encoding on two CPU cores
MOST_SHARDS = 4096  # above 65,536 rows shards grow instead
END_BYTES = 4096
_BACKBONES = (
    "streams", "layers",
    "semantic_backbone", "semantic_taps", "semantic_tokens",
    "motion_backbone", "motion_taps", "motion_context", "motion_pool",
)  # fmt: skip
Precision = Literal["float16", "float32"]


@dataclass(frozen=True)
class CachePlan:
    """What a cache of one split will hold, known before anything is encoded."""

    folder: Path
    key: str
    facts: dict[str, Any]  # what the key is a hash of
    clips: int
    views: int
    width: int  # numbers a stored row
    dtype: Precision
    shard_rows: int

    @property
    def rows(self) -> int:
        """Views first: row `view * clips + clip`."""
        return self.clips * self.views

    @property
    def bytes(self) -> int:
        """Size on disk."""
        return self.rows * self.width * int(getattr(torch, self.dtype).itemsize)

    @property
    def shards(self) -> list[Path]:
        """The shards' paths, in order."""
        return [self.shard(i) for i in range(-(-self.rows // self.shard_rows))]

    def shard(self, number: int) -> Path:
        """The path of one of them."""
        return self.folder / f"shard-{number:05d}.safetensors"


def plan_cache(
    model: GasmCast,
    config: Config,
    samples: Sequence[Sample],
    out: Path,
    split: str,
    *,
    views: int = 1,
    dtype: Precision = "float16",
) -> CachePlan:
    """What a cache of `samples` would be, and where.

    Args:
        model: with its weights; the backbones frozen.
        config: the model's; `augment` and `train.seed` matter from the second view on.
        samples: the clips.
        out: folder of caches.
        split: names the cache.
        views: of each clip; the first is the evaluation's, the others are drawn as training draws in epochs 1, 2, ...
        dtype: of the stored numbers.

    Raises:
        UsageError: the backbones train, no view, or no clips.
    """
    if not config.model.freeze:
        raise UsageError(
            "The backbones of this model train: what they give changes with every step.", "Cache a model with model.freeze=true."
        )
    if views < 1 or not samples:
        raise UsageError(f"A cache of {views} views of {len(samples)} clips is empty.", "Use --views 1 or more.")
    semantic, motion = model.encoder.tap_shapes()
    width = sum(math.prod(shape) for shape in (*semantic, *motion))
    settings = config.model.model_dump(mode="json")
    backbones = model.encoder.backbones()
    facts = {
        "format": FORMAT,
        "weights": weights_sha(backbones),
        "pixels": [values.tolist() for part in backbones for name, values in part.named_buffers() if name.startswith("normalise.")],
        "backbones": {name: settings[name] for name in _BACKBONES},
        "spec": config.spec.model_dump(mode="json"),
        "views": [views, config.augment.model_dump(mode="json", exclude={"mixup", "cutmix"}), config.train.seed] if views > 1 else [1],
        "dtype": dtype,
        "width": width,
        "set": _set_sha(samples),
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    rows = len(samples) * views
    shard_rows = min(rows, max(SHARD_ROWS, -(-rows // MOST_SHARDS)))
    return CachePlan(out / f"{split}-{key[:16]}", key, facts, len(samples), views, width, dtype, shard_rows)


def weights_sha(backbones: Sequence[nn.Module]) -> str:
    """SHA-256 of all parameters and buffers of the backbones."""
    digest = hashlib.sha256()
    for backbone in backbones:
        for name, tensor in sorted(backbone.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _set_sha(samples: Sequence[Sample]) -> str:
    """SHA-256 of names, classes, and of each file the size, the first and the last 4 kB.

    The ends tell a video that was replaced by one of the same size. The time of change would cost less (0.01 ms a file in place of 0.04),
    but a set that is copied to another disk gets new times; more of each file would read a good part of the whole set.
    """
    digest = hashlib.sha256()
    for sample in samples:
        size, ends = -1, b""
        if sample.path is not None and sample.path.is_file():
            with sample.path.open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                ends = stream.read(END_BYTES)
                stream.seek(max(0, size - END_BYTES))
                ends += stream.read(END_BYTES)
        digest.update(f"{sample.id} {sample.label} {size}\n".encode() + ends)
    return digest.hexdigest()
