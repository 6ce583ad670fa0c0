"""What a cache of backbone taps holds and which one it is, known before anything is encoded.

A cache is a folder `<split>-<key>` of shards, each a safetensors file with a digest inside, and `index.json`, written last.
The key is a SHA-256 over the frozen weights, the configuration of the backbones, the clip spec, the augmentation of the
views, the number type and the clips themselves (ids, labels, file sizes): another model or a changed set has another key,
so a stale cache is never opened. Shards that are whole are kept when an interrupted run goes on.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from gasmcast.config import Config
from gasmcast.data.annotations import Sample
from gasmcast.errors import UsageError
from gasmcast.models.model import GasmCast

__all__ = ["FORMAT", "CachePlan", "plan_cache", "pool", "unpool", "weights_sha"]

FORMAT = "gasmcast features 1"
SHARD_BYTES = 256 << 20
_BACKBONES = ("streams", "semantic_backbone", "semantic_taps", "motion_backbone", "motion_taps", "motion_context", "motion_pool", "layers")
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
    pooled: bool
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
        count = -(-self.rows // self.shard_rows)
        return [self.folder / f"shard-{i:05d}.safetensors" for i in range(count)]


def plan_cache(
    model: GasmCast,
    config: Config,
    samples: Sequence[Sample],
    out: Path,
    split: str,
    *,
    views: int = 1,
    dtype: Precision = "float16",
    pooled: bool = False,
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
        pooled: keep the mean of 2 x 2 semantic patches, a quarter of the size; training then sees it in all four places.

    Raises:
        UsageError: the backbones train, no view, no clips, or a grid of patches that cannot be pooled.
    """
    if not config.model.freeze:
        raise UsageError(
            "The backbones of this model train: what they give changes with every step.", "Cache a model with model.freeze=true."
        )
    if views < 1 or not samples:
        raise UsageError(f"A cache of {views} views of {len(samples)} clips is empty.", "Use --views 1 or more.")
    semantic, motion = model.encoder.tap_shapes()
    if pooled and (config.model.streams == "motion" or _side(semantic[0]) % 2):
        raise UsageError("There is no even grid of semantic patches to pool.", "Leave out --pool.")
    width = sum(int(np.prod(shape)) // (4 if pooled else 1) for shape in semantic) + sum(int(np.prod(shape)) for shape in motion)
    settings = config.model.model_dump(mode="json")
    facts = {
        "format": FORMAT,
        "weights": weights_sha(model.encoder.backbones()),
        "backbones": {name: settings[name] for name in _BACKBONES},
        "spec": config.spec.model_dump(mode="json"),
        "views": [views, config.augment.model_dump(mode="json", exclude={"mixup", "cutmix"}), config.train.seed] if views > 1 else [1],
        "dtype": dtype,
        "pooled": pooled,
        "set": _set_sha(samples),
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    rows = max(1, SHARD_BYTES // (width * getattr(torch, dtype).itemsize))
    return CachePlan(out / f"{split}-{key[:16]}", key, facts, len(samples), views, width, dtype, pooled, min(rows, len(samples) * views))


def pool(rows: Tensor, semantic: Sequence[tuple[int, ...]]) -> Tensor:
    """Rows `(B, X)` with each semantic tap's patches averaged 2 x 2."""
    return torch.cat(
        [
            x.reshape(len(rows), n * f, side // 2, 2, side // 2, 2, channels).mean((3, 5)).reshape(len(rows), -1)
            for x, (n, f, side, channels) in _semantic_parts(rows, semantic, 1)
        ]
        + [rows[:, sum(int(np.prod(shape)) for shape in semantic) :]],
        1,
    )


def unpool(row: Tensor, semantic: Sequence[tuple[int, ...]]) -> Tensor:
    """A pooled row `(X',)` in the full row's form, each mean in all four places."""
    full = [
        x.reshape(n * f, side // 2, 1, side // 2, 1, channels).expand(-1, -1, 2, -1, 2, -1).reshape(-1)
        for x, (n, f, side, channels) in _semantic_parts(row[None], semantic, 4)
    ]
    return torch.cat([*full, row[sum(int(np.prod(shape)) // 4 for shape in semantic) :]])


def _semantic_parts(rows: Tensor, semantic: Sequence[tuple[int, ...]], shrunk: int) -> list[tuple[Tensor, tuple[int, int, int, int]]]:
    at, parts = 0, []
    for shape in semantic:
        size = int(np.prod(shape)) // shrunk
        parts.append((rows[:, at : at + size], (shape[0], shape[1], _side(shape), shape[3])))
        at += size
    return parts


def _side(shape: tuple[int, ...]) -> int:
    return math.isqrt(shape[2])


def weights_sha(backbones: Sequence[nn.Module]) -> str:
    """SHA-256 of all parameters and buffers of the backbones."""
    digest = hashlib.sha256()
    for backbone in backbones:
        for name, tensor in sorted(backbone.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _set_sha(samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        size = sample.path.stat().st_size if sample.path is not None and sample.path.is_file() else -1
        digest.update(f"{sample.id} {sample.label} {size}\n".encode())
    return digest.hexdigest()
