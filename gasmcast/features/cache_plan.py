"""Plan a cache of backbone taps: its content and its key, before anything is encoded.

A cache is a folder `<split>-<key>` of shards, each a safetensors file with a digest inside, and
`index.json`, which is written last. The key is a SHA-256 over the frozen weights, the normalization
of pixels, the configuration of the backbones, the clip spec, the augmentation of the views, the
number type and the clips themselves (ids, labels, sizes and ends of the files). Another model or a
changed set has another key, so a stale cache is never opened.

Complete shards are reused when an interrupted run continues. The seed of a training run is not in
the key, and a cache of both streams serves a model of one of them, so that the runs of a study
share as much as possible.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from gasmcast.config import Config
from gasmcast.data.annotations import Sample
from gasmcast.errors import UsageError
from gasmcast.features.cache_index import facts_key, read_index
from gasmcast.features.fingerprints import clips_sha, weights_sha
from gasmcast.models.model import GasmCast

__all__ = ["FORMAT", "CachePlan", "Encoder", "Precision", "plan_cache"]

FORMAT = "gasmcast features 5"
SHARD_ROWS = 16
"""Rows per shard, which an interrupted run loses: a minute or two of encoding on two CPU cores."""
MAX_SHARDS = 4096
"""Above 65,536 rows, shards grow instead of their number."""
Precision = Literal["float16", "float32"]
Encoder = Literal["torch", "openvino"]

# Settings of each stream's backbone that change what it computes.
_SETTINGS = {
    "semantic": ("layers", "semantic_backbone", "semantic_taps", "semantic_tokens"),
    "motion": ("layers", "motion_backbone", "motion_taps", "motion_context", "motion_pool"),
}


class Columns(NamedTuple):
    """Half-open range of numbers in a stored row."""

    start: int
    stop: int


@dataclass(frozen=True)
class CachePlan:
    """Content of the cache of one split, known before anything is encoded."""

    folder: Path
    key: str
    """SHA-256 of `facts`."""
    facts: dict[str, Any]
    """Everything that the content depends on."""
    clips: int
    """Number of clips."""
    views: int
    """Views per clip; the first is the one of evaluation."""
    width: int
    """Numbers per stored row."""
    columns: Columns
    """Part of a row that belongs to the model."""
    dtype: Precision
    """Number type of the stored rows."""
    encoder: Encoder
    """What computes the rows on a CPU."""
    shard_rows: int
    """Rows per shard; the last shard may have fewer."""

    @property
    def rows(self) -> int:
        """Number of rows; row `view * clips + clip` is a view of a clip."""
        return self.clips * self.views

    @property
    def shared(self) -> bool:
        """True for a cache of both streams that serves a model of one."""
        return self.columns != (0, self.width)

    @property
    def bytes(self) -> int:
        """Size on disk in bytes."""
        return self.rows * self.width * int(getattr(torch, self.dtype).itemsize)

    @property
    def shards(self) -> list[Path]:
        """Paths of the shards, in order."""
        return [self.shard(i) for i in range(-(-self.rows // self.shard_rows))]

    def shard(self, number: int) -> Path:
        """Return the path of a shard."""
        return self.folder / f"shard-{number:05d}.safetensors"

    def shard_range(self, number: int) -> range:
        """Return the rows of a shard."""
        first = number * self.shard_rows
        return range(first, min(first + self.shard_rows, self.rows))


def plan_cache(
    model: GasmCast,
    config: Config,
    samples: Sequence[Sample],
    out: Path,
    split: str,
    *,
    views: int = 1,
    dtype: Precision = "float16",
    encoder: Encoder | None = None,
) -> CachePlan:
    """Plan the cache of `samples`.

    For a model of one stream, a finished cache of both streams is used if there is one.

    Args:
        model: with its weights; the backbones frozen.
        config: the model's; `augment` matters from the second view on.
        samples: the clips.
        out: folder of caches.
        split: name of the split, the first part of the cache's name.
        views: views per clip. The first is the one of evaluation; the others are drawn as training
            draws in epochs 1, 2, ...
        dtype: number type of the stored rows.
        encoder: what computes the rows on a CPU; None: `train.cache_encoder`, or PyTorch where
            OpenVINO cannot, because the motion backbone sees the whole clip at once.

    Raises:
        UsageError: the backbones train, or there are no views or no clips.
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

    # A finished cache of both streams saves encoding one of them again.
    if encoder is None:
        encoder = config.train.cache_encoder
    if config.model.motion_context == "clip":
        encoder = "torch"
    facts = _facts(model, config, samples, views=views, dtype=dtype, encoder=encoder)
    both = _find_both_streams(out, split, facts)
    if both is None:
        columns = Columns(0, _width(facts))
    else:
        facts, columns = both

    key = facts_key(facts)
    # Small shards lose little to an interruption; a large cache gets larger ones, not more.
    rows = len(samples) * views
    return CachePlan(
        folder=out / f"{split}-{key[:16]}",
        key=key,
        facts=facts,
        clips=len(samples),
        views=views,
        width=_width(facts),
        columns=columns,
        dtype=dtype,
        encoder=encoder,
        shard_rows=min(rows, max(SHARD_ROWS, -(-rows // MAX_SHARDS))),
    )


def _facts(
    model: GasmCast,
    config: Config,
    samples: Sequence[Sample],
    *,
    views: int,
    dtype: Precision,
    encoder: Encoder,
) -> dict[str, Any]:
    """Return everything that the content of a cache depends on, as JSON types."""
    # One view draws nothing, so augmentation is no fact of it. Mixing happens after the cache.
    drawn: list[Any] = [views]
    if views > 1:
        drawn.append(config.augment.model_dump(mode="json", exclude={"mixup", "cutmix"}))

    facts = {
        "format": FORMAT,
        **_stream_facts(model, config),
        "spec": config.spec.model_dump(mode="json"),
        "views": drawn,
        "dtype": dtype,
        "set": clips_sha(samples),
    }
    # Caches that were filled before there was a choice keep their keys.
    if encoder != "torch":
        facts["encoder"] = encoder
    return facts


def _stream_facts(model: GasmCast, config: Config) -> dict[str, Any]:
    """Return the facts of each stream: weights, normalization, settings, numbers per row."""
    settings = config.model.model_dump(mode="json")
    encoder = model.encoder
    backbones = (encoder.semantic, encoder.motion)

    facts: dict[str, Any] = {}
    for stream, backbone, shapes in zip(_SETTINGS, backbones, encoder.tap_shapes(), strict=True):
        if backbone is None:
            continue
        facts[f"{stream} weights"] = weights_sha(backbone)
        # Normalization is not in the weights: its buffers are not persistent.
        facts[f"{stream} pixels"] = [
            values.tolist()
            for name, values in backbone.named_buffers()
            if name.startswith("normalize.")
        ]
        facts[f"{stream} backbone"] = {name: settings[name] for name in _SETTINGS[stream]}
        facts[f"{stream} width"] = sum(math.prod(shape) for shape in shapes)
    return facts


def _width(facts: dict[str, Any]) -> int:
    """Return the numbers per row of all streams together."""
    return sum(int(facts.get(f"{stream} width", 0)) for stream in _SETTINGS)


def _find_both_streams(
    out: Path, split: str, facts: dict[str, Any]
) -> tuple[dict[str, Any], Columns] | None:
    """Return the facts of a finished cache with one more stream, and the columns of this one."""
    ours = json.loads(json.dumps(facts))  # lists in place of tuples, as in the index
    if all(f"{stream} width" in ours for stream in _SETTINGS):
        return None

    # Everything that matters for this stream must agree; the other stream may be anything.
    for index in sorted(out.glob(f"{split}-*/index.json")):
        theirs = read_index(index).facts
        has_ours = all(theirs.get(name) == value for name, value in ours.items())
        has_ours = has_ours and theirs.get("encoder") == ours.get("encoder")
        if has_ours and _width(theirs) > _width(ours):
            semantic = int(theirs["semantic width"])
            if "semantic width" in ours:
                return theirs, Columns(0, semantic)
            return theirs, Columns(semantic, _width(theirs))
    return None
