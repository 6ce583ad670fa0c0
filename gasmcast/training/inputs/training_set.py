"""From a preset's name and a folder of data to what a run is started with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gasmcast.config import Config, TrainConfig, load_config
from gasmcast.data.annotations import Sample, has_split, read_labels, read_split, usable
from gasmcast.data.dataset import ClipDataset
from gasmcast.errors import UsageError
from gasmcast.features.feature_dataset import FeatureDataset
from gasmcast.labels import Labels
from gasmcast.spec import ClipSpec
from gasmcast.training.distributed import updates_per_epoch
from gasmcast.video.reader import duration_s

__all__ = ["Opened", "fit_epochs", "fit_window", "open_run"]


@dataclass(frozen=True)
class Opened:
    """A configuration that fits its data."""

    config: Config
    clips: ClipDataset | FeatureDataset
    validation: ClipDataset | FeatureDataset | None
    labels: Labels
    warnings: tuple[str, ...]
    """What must be said loudly before the run."""


def open_run(source: str | Path, data: Path, overrides: dict[str, Any]) -> Opened:
    """Read configuration and annotations; the number of classes is the data set's.

    Args:
        source: a preset, or a YAML file.
        data: folder of a set in Something-Something-V2's format.
        overrides: dotted settings.

    Raises:
        UsageError: no such preset, setting or set, a wrong value, or videos missing.
    """
    labels = read_labels(data)
    stated = overrides.get("model.classes")
    if stated not in (None, len(labels)):
        raise UsageError(
            f"model.classes is {stated}, but {data} has {len(labels)} classes.",
            "Leave it out: it is taken from the data.",
        )
    config = load_config(source, {**overrides, "model.classes": len(labels)})
    if config.augment.flip and (alone := labels.one_sided()):
        raise UsageError(
            f"augment.flip mirrors clips, but the class {alone[0]!r} names a side and no class is its mirror image.",
            "Use --set augment.flip=false, or add the other class.",
        )
    samples = usable(read_split(data, "train"), data)
    if config.train.fit_window and "spec.segment_s" not in overrides:
        config = config.model_copy(update={"spec": fit_window(config.spec, samples)})
    config = config.model_copy(
        update={
            "train": fit_epochs(config.train, len(samples), int(os.environ.get("WORLD_SIZE", "1")))
        }
    )
    clips = ClipDataset(
        samples, config.spec, config.augment, config.train.seed, labels.left_right_swap()
    )
    held = usable(read_split(data, "validation"), data) if has_split(data, "validation") else []
    validation = ClipDataset(held, config.spec, None, config.train.seed) if held else None
    budget = int(config.train.memory_gb * 2**30)
    if budget and clips.preload(budget) and validation is not None:
        validation.preload(budget)
    loud = []
    for name, weights in (
        ("semantic", config.model.semantic_weights),
        ("motion", config.model.motion_weights),
    ):
        if weights == "random" and config.model.freeze and config.model.streams in ("both", name):
            loud.append(
                f"WARNING: the {name} backbone is frozen with RANDOM weights: it can learn nothing. Give --{name}-weights."
            )
        elif weights == "random" and config.model.streams in ("both", name):
            loud.append(
                f"The {name} backbone starts from RANDOM weights and is trained from scratch."
            )
    if validation is None:
        loud.append(
            f"WARNING: {data} has no validation split: the last weights are the result, not the best."
        )
    return Opened(config, clips, validation, labels, tuple(loud))


def fit_window(spec: ClipSpec, samples: Sequence[Sample]) -> ClipSpec:
    """The spec with segments as long as the set needs: its window covers three quarters of the clips whole.

    A segment stays between 1/8 s, 64 frames a second at 8 a segment, and 1 s; clips that do not say how long they are do not count.
    """
    lengths = sorted(
        length
        for sample in samples
        if sample.path is not None and (length := duration_s(sample.path)) > 0
    )
    if not lengths:
        return spec
    longest = lengths[min(len(lengths) - 1, 3 * len(lengths) // 4)]
    return spec.model_copy(
        update={"segment_s": round(min(1.0, max(0.125, longest / spec.segments)), 3)}
    )


def fit_epochs(train: TrainConfig, clips: int, world: int) -> TrainConfig:
    """The settings with as many epochs as make `min_updates` weight updates, where their own are fewer.

    What a head needs is updates, and an epoch of a hundred clips has seven.
    """
    steps = max(1, updates_per_epoch(clips, train, world))
    return train.model_copy(update={"epochs": max(train.epochs, -(-train.min_updates // steps))})
