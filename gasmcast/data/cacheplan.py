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

import torch
from torch import nn

from gasmcast.config import Config
from gasmcast.data.annotations import Sample
from gasmcast.errors import UsageError
from gasmcast.models.model import GasmCast

__all__ = ["FORMAT", "CachePlan", "plan_cache", "weights_sha"]

FORMAT = "gasmcast features 1"
SHARD_BYTES = 256 << 20
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
    facts = {
        "format": FORMAT,
        "weights": weights_sha(model.encoder.backbones()),
        "backbones": {name: settings[name] for name in _BACKBONES},
        "spec": config.spec.model_dump(mode="json"),
        "views": [views, config.augment.model_dump(mode="json", exclude={"mixup", "cutmix"}), config.train.seed] if views > 1 else [1],
        "dtype": dtype,
        "set": _set_sha(samples),
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    rows = max(1, SHARD_BYTES // (width * getattr(torch, dtype).itemsize))
    return CachePlan(out / f"{split}-{key[:16]}", key, facts, len(samples), views, width, dtype, min(rows, len(samples) * views))


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
