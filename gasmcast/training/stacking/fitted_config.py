"""Configuration with stream weights that are fitted on folds of the training set.

A stream that has memorized the training footage looks best on it, so the stream weights cannot be
learned from the clips that train the model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gasmcast.config import Config
from gasmcast.data.clip_set import TrainingClips
from gasmcast.errors import UsageError
from gasmcast.evaluation.out_of_fold import write_out_of_fold
from gasmcast.files import read_json, write_atomic
from gasmcast.labels import Labels
from gasmcast.progress import Progress, silent
from gasmcast.training.clip_targets import ClipTargets
from gasmcast.training.inputs.training_set import TrainingSet
from gasmcast.training.stacking.folds import FOLDER, train_folds
from gasmcast.training.stacking.stream_weights import (
    READ_OUTS,
    fit_stream_weights,
    fits_stream_weights,
    pool_out_of_fold,
)

__all__ = ["FittedConfig", "crossfit_stream_weights", "with_stream_weights"]

RESULT = "stream_weights.json"


@dataclass(frozen=True)
class FittedConfig:
    """Configuration with fitted stream weights."""

    config: Config
    stopped: str
    """Name of the signal that stopped a fold, or empty; then nothing was fitted."""
    out_of_fold_top1: float | None = None
    """Top-1 on clips of folds that neither trained nor fitted it; None without folds."""


def with_stream_weights(
    training_set: TrainingSet, folder: Path, *, resume: bool, progress: Progress = silent
) -> FittedConfig:
    """Return the configuration to train with, with its stream weights fitted if it asks for it.

    Args:
        training_set: data set and configuration.
        folder: the run folder.
        resume: continue with folds that exist, and take weights that have been fitted.
        progress: called before each fold with a sentence.

    Raises:
        UsageError: too few sources, or what `train` raises.
    """
    config = training_set.config
    if not fits_stream_weights(config):
        return FittedConfig(config, "")

    # Clips of one source stay together; a clip of unknown source is a source of its own.
    groups = [sample.source or sample.id for sample in training_set.clips.samples]
    return crossfit_stream_weights(
        config,
        training_set.clips,
        training_set.clips.plain(),
        groups=groups,
        videos=[sample.path for sample in training_set.clips.samples],
        labels=training_set.labels,
        folder=folder,
        resume=resume,
        clip_targets=training_set.clip_targets,
        progress=progress,
    )


def crossfit_stream_weights(
    config: Config,
    clips: TrainingClips,
    plain: TrainingClips,
    *,
    groups: Sequence[str],
    videos: Sequence[Path | None] | None = None,
    labels: Labels,
    folder: Path,
    resume: bool = False,
    clip_targets: ClipTargets | None = None,
    progress: Progress = silent,
) -> FittedConfig:
    """Train the folds, fit the stream weights and write them to `folds/stream_weights.json`.

    Args:
        config: configuration of the run; `train.stream_weight_folds` is the number of folds.
        clips: augmented training clips.
        plain: the same clips without augmentation.
        groups: source of each clip; the clip's name if it is unknown.
        videos: see `train_folds`.
        labels: class names.
        folder: the run folder.
        resume: continue with folds that exist, and take weights that have been fitted.
        clip_targets: targets of clips that differ from their class. Clips without a class train
            every fold that holds out none of their recording, and are scored in none.
        progress: called before each fold with a sentence.

    Raises:
        UsageError: too few groups, or what `train` raises.
    """
    result = folder / FOLDER / RESULT
    if resume and result.is_file():
        stored = read_json(result, dict, "stream_weights")
        weights, out_of_fold = stored["stream_weights"], stored.get("out_of_fold_top1")
        is_weights = isinstance(weights, list) and all(_is_share(w) for w in weights)
        if not is_weights or not (out_of_fold is None or _is_share(out_of_fold)):
            raise UsageError(f"{result} is damaged.", "Remove it; the folds are scored again.")
        return FittedConfig(_set_stream_weights(config, weights), "", out_of_fold)

    # Each fold is scored by a model that was trained on the other folds.
    runs = train_folds(
        config,
        clips,
        plain,
        groups=groups,
        videos=videos,
        folds=config.train.stream_weight_folds,
        labels=labels,
        folder=folder,
        resume=resume,
        clip_targets=clip_targets,
        progress=progress,
    )
    if runs.stopped:
        return FittedConfig(config, runs.stopped)
    parts = list(runs.logits)
    truths = [np.asarray(clips.labels, np.int64)[chosen] for chosen in runs.clips]

    # The clips of all folds together fit the weights.
    scores, truth = np.concatenate(parts, 1), np.concatenate(truths)  # (R, N, classes), (N,)
    weights = fit_stream_weights(scores, truth).tolist()
    pooled = pool_out_of_fold(parts, truths)
    out_of_fold = float((np.concatenate(pooled).argmax(-1) == truth).mean())
    write_out_of_fold(folder, runs.clips, pooled, clips, groups=groups, names=labels.names)

    # The result is kept, so that a resumed run takes the same weights.
    accuracy = {
        name: float((part.argmax(-1) == truth).mean())
        for name, part in zip(READ_OUTS, scores, strict=False)
    }
    content = {
        "stream_weights": weights,
        "held_out_top1": accuracy,
        "out_of_fold_top1": out_of_fold,
        "clips": len(truth),
    }
    write_atomic(result, json.dumps(content, indent=1))
    return FittedConfig(_set_stream_weights(config, weights), "", out_of_fold)


def _is_share(value: object) -> bool:
    """Return whether a value is a finite number that is not negative."""
    return isinstance(value, int | float) and 0 <= value < float("inf")


def _set_stream_weights(config: Config, weights: list[float]) -> Config:
    """Return the configuration with these weights; missing ones are 0."""
    padded = (*weights, 0.0, 0.0)[: len(READ_OUTS)]
    return config.model_copy(
        update={"model": config.model.model_copy(update={"stream_weights": padded})}
    )
