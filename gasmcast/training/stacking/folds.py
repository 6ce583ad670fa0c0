"""Cross-validation folds of the training set, on which the stream weights are fitted.

A stream that has memorized the training footage looks best on it, so the stream weights cannot be
learned from the clips that train the model. Each fold trains on the others and scores its own
clips; clips cut from the same footage stay together. No validation clip is used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gasmcast.config import Config
from gasmcast.data.clip_set import ClipSet, TrainingClips
from gasmcast.data.source_folds import split_folds
from gasmcast.errors import UsageError
from gasmcast.evaluation.out_of_fold import write_out_of_fold
from gasmcast.evaluation.predict import check_finite, predict
from gasmcast.files import read_json, write_atomic
from gasmcast.labels import Labels
from gasmcast.models.checkpoint import load_checkpoint
from gasmcast.progress import Progress, silent
from gasmcast.training.clip_targets import ClipTargets
from gasmcast.training.distributed import Distributed
from gasmcast.training.inputs.training_set import TrainingSet
from gasmcast.training.loop import train
from gasmcast.training.stacking.clip_subset import ClipSubset, NumberedClips
from gasmcast.training.stacking.stream_weights import fit_stream_weights, pool_out_of_fold

__all__ = [
    "READ_OUTS",
    "FittedConfig",
    "FoldRuns",
    "crossfit_stream_weights",
    "describe_stream_weights",
    "fits_stream_weights",
    "score_read_outs",
    "train_folds",
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
    out_of_fold_top1: float | None = None
    """Top-1 on clips of folds that neither trained nor fitted it; None without folds."""


class FoldRuns(NamedTuple):
    """Logits of the fold models for the clips that are held out from them."""

    logits: list[NDArray[np.float32]]
    """`(R, N, classes)` logits of the R read-outs, by fold."""
    clips: list[NDArray[np.int64]]
    """`(N,)` positions of the clips that decode, by fold."""
    stopped: str
    """Name of the signal that stopped a fold, or empty."""


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


def describe_stream_weights(config: Config) -> str:
    """Return the fitted stream weights as a sentence; empty if the run does not fit them."""
    if not fits_stream_weights(config):
        return ""
    weights = ", ".join(
        f"{name} {weight:.2f}"
        for name, weight in zip(READ_OUTS, config.model.stream_weights, strict=True)
    )
    folds = config.train.stream_weight_folds
    return f"Stream weights, fitted on {folds} folds of the training clips: {weights}."


def fits_stream_weights(config: Config) -> bool:
    """Return whether the run has stream weights and asks to fit them."""
    is_guarded = config.model.read_out == "guarded" and config.model.streams == "both"
    return is_guarded and config.train.stream_weight_folds > 0


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


def train_folds(
    config: Config,
    clips: TrainingClips,
    plain: TrainingClips,
    *,
    groups: Sequence[str],
    videos: Sequence[Path | None] | None = None,
    folds: int,
    labels: Labels,
    folder: Path,
    resume: bool = False,
    clip_targets: ClipTargets | None = None,
    progress: Progress = silent,
) -> FoldRuns:
    """Train a model for each fold on the other folds, and score the clips of the fold with it.

    A fold that is finished is not trained again.

    Args:
        config: configuration of the run.
        clips: augmented training clips.
        plain: the same clips without augmentation.
        groups: source of each clip; the clip's name if it is unknown.
        videos: video of each clip. A clip without a class does not train the fold that holds out
            clips of its video; None: videos are unknown, and only its source counts.
        folds: number of folds.
        labels: class names.
        folder: the run folder.
        resume: continue with folds that exist.
        clip_targets: see `crossfit_stream_weights`.
        progress: called before each fold with a sentence.

    Raises:
        UsageError: too few groups, or what `train` raises.
    """
    # Clips without a class are in no fold.
    without = frozenset[str]() if clip_targets is None else clip_targets.no_class
    judged = [i for i, name in enumerate(clips.ids) if name not in without]
    fold = np.full(len(clips), -1)
    fold[judged] = split_folds(
        [clips.labels[i] for i in judged],
        [groups[i] for i in judged],
        folds,
        config.train.seed,
    )

    runs = FoldRuns([], [], "")
    for k in range(folds):
        place = folder / FOLDER / f"fold{k}"
        chosen = np.flatnonzero(fold == k)
        sources = len({groups[i] for i in chosen.tolist()})
        progress(f"Fold {k + 1} of {folds}: {len(chosen)} clips of {sources} sources are held out.")
        others = ClipSubset(clips, _clips_of_other_recordings(fold, k, groups, videos))
        summary = train(
            config, others, None, labels, place, resume=resume, clip_targets=clip_targets
        )
        if summary["stopped"]:
            return runs._replace(stopped=str(summary["stopped"]))

        # Numbers in place of labels say which clips decode.
        held_out = NumberedClips(plain, chosen)
        scores, numbers = score_read_outs(place / str(summary["checkpoint"]), held_out, config)
        runs.logits.append(scores)
        runs.clips.append(chosen[numbers])
        check_finite(scores.transpose(1, 0, 2).reshape(len(numbers), -1), str(place))
    return runs


def _clips_of_other_recordings(
    fold: NDArray[np.int64], k: int, groups: Sequence[str], videos: Sequence[Path | None] | None
) -> NDArray[np.int64]:
    """Return the positions of the clips that train fold `k`.

    Clips without a class, such as background, are in no fold (-1). Those of a recording that is
    held out would show the model its place and light.
    """
    held_out = np.flatnonzero(fold == k).tolist()
    sources = {groups[i] for i in held_out}
    files = set() if videos is None else {videos[i] for i in held_out} - {None}
    others = []
    for i in np.flatnonzero(fold != k).tolist():
        is_known = groups[i] in sources or (videos is not None and videos[i] in files)
        if fold[i] >= 0 or not is_known:
            others.append(i)
    return np.array(others, np.int64)


def _is_share(value: object) -> bool:
    """Return whether a value is a finite number that is not negative."""
    return isinstance(value, int | float) and 0 <= value < float("inf")


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

    A model whose stream weights are fitted has a read-out for each stream and one for both; of any
    other model its answer is taken.

    Args:
        checkpoint: file of a model.
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
            if not fits_stream_weights(config):
                return np.asarray(model.classify(features).float().cpu().numpy(), np.float32)
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
