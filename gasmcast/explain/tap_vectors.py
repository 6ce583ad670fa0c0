"""Read the backbone taps of a set of clips, from the feature cache where the backbones are frozen.

Each clip becomes one vector per tap: the mean over places and time, followed by the difference
between the later and the earlier half of the window, which keeps the direction of time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gasmcast.config import Config
from gasmcast.data.annotations import Sample
from gasmcast.data.dataset import ClipDataset
from gasmcast.features.cache_plan import plan_cache
from gasmcast.features.encode import fill_cache
from gasmcast.features.feature_dataset import FeatureDataset
from gasmcast.models.model import GasmCast
from gasmcast.progress import Progress, silent

__all__ = ["TapVectors", "read_taps"]

BATCH = 4
MAPS = 4
"""Clips whose token maps are kept for pictures."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TapVectors:
    """Taps of a set of clips."""

    vectors: Mapping[str, Floats]
    """Name of a tap -> `(N, 2 * channels)`: mean, and later minus earlier half."""
    maps: Mapping[str, Floats]
    """Name of a tap -> `(m, rows, cols, channels)`: tokens of the middle of some clips."""
    samples: tuple[Sample, ...]
    """The N clips that decode."""
    cached: bool
    """Whether the feature cache was used."""


def read_taps(
    model: GasmCast,
    config: Config,
    samples: Sequence[Sample],
    cache: Path,
    split: str,
    *,
    progress: Progress = silent,
) -> TapVectors:
    """Return one vector per clip and tap.

    Args:
        model: its backbones encode, in eval mode.
        config: the model's.
        samples: clips with videos.
        cache: folder of feature caches; used where the backbones are frozen, and filled if needed.
        split: name of the split, a part of the cache's name.
        progress: called as clips are done.

    Raises:
        MachineError: no space left for the cache.
        SourceError: more than 1 % of the clips do not decode.
    """
    vectors: dict[str, list[Floats]] = {}
    maps: dict[str, list[Floats]] = {}
    names = _names(config)
    kept: list[Sample] = []

    frozen = config.model.freeze
    if frozen:
        plan = plan_cache(model, config, samples, cache, split)
        fill_cache(plan, model, config, samples, {}, progress=progress)
        dataset = FeatureDataset(plan, samples, verify=False)
        rows = _cached_rows(dataset)
        kept = list(dataset.samples)
    else:
        rows = _encoded_rows(model, config, samples, kept, progress)

    for number, row in enumerate(rows):
        for name, tap in zip(names, _cut(model, row), strict=True):
            vectors.setdefault(name, []).append(_pool(tap))
            if number < MAPS:
                maps.setdefault(name, []).append(_tokens(tap))
    return TapVectors(
        vectors={name: np.stack(values) for name, values in vectors.items()},
        maps={name: np.stack(values) for name, values in maps.items()},
        samples=tuple(kept),
        cached=frozen,
    )


def _names(config: Config) -> list[str]:
    """Return a name for each stored tap, in the order of a row."""
    model = config.model
    names = []
    if model.streams != "motion":
        # A block may be tapped for several layers, and its values are stored once for each.
        for i, block in enumerate(model.semantic_taps):
            twice = block in model.semantic_taps[:i]
            names.append(f"semantic block {block}" + (f", tap {i + 1}" if twice else ""))
    if model.streams != "semantic":
        stages = dict.fromkeys(model.motion_taps)
        names += [f"motion {stage}" for stage in stages]
    return names


def _cached_rows(dataset: FeatureDataset) -> Iterator[Tensor]:
    for index in range(len(dataset)):
        yield dataset[index][0].float()


def _encoded_rows(
    model: GasmCast,
    config: Config,
    samples: Sequence[Sample],
    kept: list[Sample],
    progress: Progress,
) -> Iterator[Tensor]:
    """Encode clips without a cache: backbones that trained are of this checkpoint alone."""
    clips = ClipDataset(samples, config.spec)
    for first in range(0, len(samples), BATCH):
        chosen = range(first, min(first + BATCH, len(samples)))
        drawn = [clips.draw(index, 0)[0] for index in chosen]

        # A clip that does not decode is replaced by another one, which must not count twice.
        whole = [i for i in chosen if not clips.failed[i]]
        rows = model.backbone_taps(torch.stack(drawn))
        for i in whole:
            kept.append(samples[i])
            yield rows[i - first]
        progress("encoding clips", chosen.stop, len(samples))


def _cut(model: GasmCast, row: Tensor) -> Iterator[Floats]:
    """Yield the taps of one row as `(time, rows, cols, channels)`."""
    shapes = model.encoder.tap_shapes()
    start = 0
    for shape in (*shapes.semantic, *shapes.motion):
        size = int(np.prod(shape))
        tap = row[start : start + size].numpy().reshape(shape)
        start += size

        # Semantic taps are (S, f, P, channels), motion taps (S, h, w, channels).
        if shape in shapes.semantic:
            side = round(shape[2] ** 0.5)
            tap = tap.reshape(shape[0] * shape[1], side, side, shape[3])
        yield tap


def _pool(tap: Floats) -> Floats:
    """Return mean, and later minus earlier half, of `(time, rows, cols, channels)`."""
    over_time = tap.mean((1, 2))
    half = len(over_time) // 2
    change = over_time[-half:].mean(0) - over_time[:half].mean(0) if half else 0 * over_time[0]
    return np.concatenate([over_time.mean(0), change])


def _tokens(tap: Floats) -> Floats:
    return np.asarray(tap[len(tap) // 2])
