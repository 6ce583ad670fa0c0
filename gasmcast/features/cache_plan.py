"""What a cache of backbone taps holds and which one it is, known before anything is encoded.

A cache is a folder `<split>-<key>` of shards, each a safetensors file with a digest inside, and `index.json`, written last.
The key is a SHA-256 over the frozen weights, the pixels they get, the configuration of the backbones, the clip spec, the augmentation of
the views, the number type and the clips themselves (ids, labels, sizes and ends of the files): another model or a changed set has
another key, so a stale cache is never opened. Shards that are whole are kept when an interrupted run goes on. The seed of a training is
not in it, and a cache of both streams serves a model of one of them: the runs of a study share what they can.
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
from gasmcast.files import read_json
from gasmcast.models.model import GasmCast

__all__ = ["FORMAT", "CachePlan", "plan_cache", "weights_sha"]

FORMAT = "gasmcast features 5"
SHARD_ROWS = 16  # what a kill loses: a minute or two of encoding on two CPU cores
MOST_SHARDS = 4096  # above 65,536 rows shards grow instead
END_BYTES = 4096
_BACKBONES = {
    "semantic": ("layers", "semantic_backbone", "semantic_taps", "semantic_tokens"),
    "motion": ("layers", "motion_backbone", "motion_taps", "motion_context", "motion_pool"),
}
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
    columns: tuple[int, int]  # which of them are this model's
    dtype: Precision
    shard_rows: int

    @property
    def rows(self) -> int:
        """Views first: row `view * clips + clip`."""
        return self.clips * self.views

    @property
    def shared(self) -> bool:
        """Whether it is a cache of both streams, for a model of one."""
        return self.columns != (0, self.width)

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
    """What a cache of `samples` would be, and where; for a model of one stream the cache of both, if there is one that holds it.

    Args:
        model: with its weights; the backbones frozen.
        config: the model's; `augment` matters from the second view on.
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
            "The backbones of this model train: what they give changes with every step.",
            "Cache a model with model.freeze=true.",
        )
    if views < 1 or not samples:
        raise UsageError(
            f"A cache of {views} views of {len(samples)} clips is empty.", "Use --views 1 or more."
        )
    facts = {
        "format": FORMAT,
        **_streams(model, config),
        "spec": config.spec.model_dump(mode="json"),
        "views": [views, config.augment.model_dump(mode="json", exclude={"mixup", "cutmix"})]
        if views > 1
        else [1],
        "dtype": dtype,
        "set": _set_sha(samples),
    }
    facts, columns = _of_both(out, split, facts) or (facts, (0, _width(facts)))
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    rows = len(samples) * views
    shard_rows = min(rows, max(SHARD_ROWS, -(-rows // MOST_SHARDS)))
    return CachePlan(
        out / f"{split}-{key[:16]}",
        key,
        facts,
        len(samples),
        views,
        _width(facts),
        columns,
        dtype,
        shard_rows,
    )


def _streams(model: GasmCast, config: Config) -> dict[str, Any]:
    """The facts of each stream there is: weights, what is done to pixels, settings, numbers a row."""
    settings = config.model.model_dump(mode="json")
    encoder = model.encoder
    facts: dict[str, Any] = {}
    for stream, backbone, shapes in zip(
        _BACKBONES, (encoder.semantic, encoder.motion), encoder.tap_shapes(), strict=True
    ):
        if backbone is not None:
            facts |= {
                f"{stream} weights": weights_sha(backbone),
                f"{stream} pixels": [
                    values.tolist()
                    for name, values in backbone.named_buffers()
                    if name.startswith("normalize.")
                ],
                f"{stream} backbone": {name: settings[name] for name in _BACKBONES[stream]},
                f"{stream} width": sum(map(math.prod, shapes)),
            }
    return facts


def _width(facts: dict[str, Any]) -> int:
    return sum(int(facts.get(f"{stream} width", 0)) for stream in _BACKBONES)


def _of_both(
    out: Path, split: str, facts: dict[str, Any]
) -> tuple[dict[str, Any], tuple[int, int]] | None:
    """The facts of a finished cache that holds another stream as well, and where in its rows this one is."""
    ours = json.loads(json.dumps(facts))
    if all(f"{stream} width" in ours for stream in _BACKBONES):
        return None
    for index in sorted(out.glob(f"{split}-*/index.json")):
        theirs = read_json(index, dict).get("facts", {})
        if _width(theirs) > _width(ours) and all(
            theirs.get(name) == value for name, value in ours.items()
        ):
            semantic = int(theirs["semantic width"])
            return theirs, (0, semantic) if "semantic width" in ours else (semantic, _width(theirs))
    return None


def weights_sha(backbone: nn.Module) -> str:
    """SHA-256 of all parameters and buffers of a backbone."""
    digest = hashlib.sha256()
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
