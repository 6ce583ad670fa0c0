"""Cross-validation folds of the training set, on which the stream weights are fitted.

A stream that has memorized the training footage looks best on it, so the stream weights cannot be
learned from the clips that train the model. Each fold trains on the others and scores its own
clips; clips cut from the same footage stay together. No validation clip is used.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gasmcast.config import Config
from gasmcast.data.clip_set import ClipSet, TrainingClips
from gasmcast.errors import UsageError
from gasmcast.evaluation.predict import predict
from gasmcast.files import read_json, write_atomic
from gasmcast.labels import Labels
from gasmcast.models.checkpoint import load_checkpoint
from gasmcast.training.distributed import Distributed
from gasmcast.training.inputs.training_set import TrainingSet
from gasmcast.training.loop import train
from gasmcast.training.stacking.clip_subset import ClipSubset
from gasmcast.training.stacking.stream_weights import fit_stream_weights

__all__ = [
    "READ_OUTS",
    "FittedConfig",
    "crossfit_stream_weights",
    "describe_stream_weights",
    "score_read_outs",
    "split_folds",
    "with_stream_weights",
]

READ_OUTS = ("semantic", "motion", "fused")
FOLDER = "folds"
RESULT = "stream_weights.json"


@dataclass(frozen=True)
class FittedConfig:
    """Configuration with fitted stream weights."""

    config: Config
    stopped: str
    """Name of the signal that stopped a fold, or empty; then nothing was fitted."""


def with_stream_weights(training_set: TrainingSet, folder: Path, *, resume: bool) -> FittedConfig:
    """Return the configuration to train with, with its stream weights fitted if it asks for it.

    Args:
        training_set: data set and configuration.
        folder: the run folder.
        resume: continue with folds that exist, and take weights that have been fitted.

    Raises:
        UsageError: too few sources, or what `train` raises.
    """
    config = training_set.config
    if not _wants_fit(config):
        return FittedConfig(config, "")

    # Clips of one source stay together; a clip of unknown source is a source of its own.
    groups = [sample.source or sample.id for sample in training_set.clips.samples]
    return crossfit_stream_weights(
        config,
        training_set.clips,
        training_set.clips.plain(),
        groups=groups,
        labels=training_set.labels,
        folder=folder,
        resume=resume,
    )


def describe_stream_weights(config: Config) -> str:
    """Return the fitted stream weights as a sentence; empty if the run does not fit them."""
    if not _wants_fit(config):
        return ""
    weights = ", ".join(
        f"{name} {weight:.2f}"
        for name, weight in zip(READ_OUTS, config.model.stream_weights, strict=True)
    )
    folds = config.train.stream_weight_folds
    return f"Stream weights, fitted on {folds} folds of the training clips: {weights}."


def _wants_fit(config: Config) -> bool:
    """Return whether the run has stream weights and asks to fit them."""
    is_guarded = config.model.read_out == "guarded" and config.model.streams == "both"
    return is_guarded and config.train.stream_weight_folds > 0


def split_folds(
    labels: Sequence[int], groups: Sequence[str], folds: int, seed: int = 0
) -> NDArray[np.int64]:
    """Return the fold `(N,)` of each clip.

    Groups stay together; classes and sizes are as even as that allows. Groups are assigned
    greedily, the largest first.

    Args:
        labels: class of each clip.
        groups: source of each clip.
        folds: number of folds.
        seed: order of groups of the same size.

    Raises:
        UsageError: fewer groups than folds.
    """
    members: dict[str, list[int]] = {}
    for clip, group in enumerate(groups):
        members.setdefault(group, []).append(clip)

    if len(members) < folds:
        raise UsageError(
            f"The training clips come from {len(members)} sources: not enough for {folds} folds.",
            "Use --set train.stream_weight_folds=0, or fewer.",
        )

    # The largest group first, groups of the same size in random order.
    names = sorted(members)
    random.Random(seed).shuffle(names)
    names.sort(key=lambda name: -len(members[name]))

    # Each group goes where the sum of the squared class counts grows least.
    classes = max(labels) + 1
    counts = np.zeros((folds, classes))
    fold = np.zeros(len(labels), np.int64)
    for name in names:
        added = np.bincount([labels[clip] for clip in members[name]], minlength=classes)
        growth = ((counts + added) ** 2).sum(1) - (counts**2).sum(1)
        chosen = int(growth.argmin())

        counts[chosen] += added
        fold[members[name]] = chosen
    return fold


def crossfit_stream_weights(
    config: Config,
    clips: TrainingClips,
    plain: TrainingClips,
    *,
    groups: Sequence[str],
    labels: Labels,
    folder: Path,
    resume: bool = False,
) -> FittedConfig:
    """Train the folds, fit the stream weights and write them to `folds/stream_weights.json`.

    Args:
        config: configuration of the run; `train.stream_weight_folds` is the number of folds.
        clips: augmented training clips.
        plain: the same clips without augmentation.
        groups: source of each clip; the clip's name if it is unknown.
        labels: class names.
        folder: the run folder.
        resume: continue with folds that exist, and take weights that have been fitted.

    Raises:
        UsageError: too few groups, or what `train` raises.
    """
    result = folder / FOLDER / RESULT
    if resume and result.is_file():
        stored = read_json(result, dict, "stream_weights")["stream_weights"]
        return FittedConfig(_set_stream_weights(config, stored), "")

    # Each fold is scored by a model that was trained on the other folds.
    count = config.train.stream_weight_folds
    fold = split_folds(clips.labels, groups, count, config.train.seed)
    parts: list[NDArray[np.float32]] = []
    truths: list[NDArray[np.int64]] = []
    for k in range(count):
        place = folder / FOLDER / f"fold{k}"
        others = ClipSubset(clips, np.flatnonzero(fold != k))
        summary = train(config, others, None, labels, place, resume=resume)
        if summary["stopped"]:
            return FittedConfig(config, str(summary["stopped"]))

        held_out = ClipSubset(plain, np.flatnonzero(fold == k))
        scores, truth = score_read_outs(place / str(summary["checkpoint"]), held_out, config)
        parts.append(scores)
        truths.append(truth)

    # The clips of all folds together fit the weights.
    scores, truth = np.concatenate(parts, 1), np.concatenate(truths)  # (R, N, classes), (N,)
    weights = fit_stream_weights(scores, truth).tolist()

    # The result is kept, so that a resumed run takes the same weights.
    accuracy = {
        name: float((part.argmax(-1) == truth).mean())
        for name, part in zip(READ_OUTS, scores, strict=False)
    }
    content = {"stream_weights": weights, "held_out_top1": accuracy, "clips": len(fold)}
    write_atomic(result, json.dumps(content, indent=1))
    return FittedConfig(_set_stream_weights(config, weights), "")


def _set_stream_weights(config: Config, weights: list[float]) -> Config:
    """Return the configuration with these weights; missing ones are 0."""
    padded = (*weights, 0.0, 0.0)[: len(READ_OUTS)]
    return config.model_copy(
        update={"model": config.model.model_copy(update={"stream_weights": padded})}
    )


def score_read_outs(
    checkpoint: Path, clips: ClipSet, config: Config
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return logits `(R, N, classes)` of the read-outs of a checkpoint, and labels `(N,)`.

    Args:
        checkpoint: file of a guarded model.
        clips: clips to score; those that do not decode are left out.
        config: configuration of the run.
    """
    # The weights of the fold, on the device of this process.
    model = load_checkpoint(checkpoint)[0]
    processes = Distributed()
    model.to(processes.device)
    classes = config.model.classes

    def classify(batch: Any) -> NDArray[np.float32]:  # noqa: ANN401 - pixels, or rows of a cache
        with torch.inference_mode():
            features = model.encode(torch.as_tensor(batch).to(processes.device))
            scores = model.classify_streams(features)
        present = [scores[name].float().cpu().numpy() for name in READ_OUTS if name in scores]
        return np.concatenate(present, 1)  # (B, R * classes)

    # `predict` knows rows of one width, so the read-outs lie side by side in it.
    rows, labels = predict(
        classify,
        clips,
        batch_size=config.train.batch_size,
        workers=config.train.workers,
        processes=processes,
    )
    parts = [rows[:, i : i + classes] for i in range(0, rows.shape[1], classes)]
    return np.stack(parts), labels
