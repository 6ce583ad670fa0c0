"""Cross-validation of a training set by source: `gasmcast train --folds`.

A guarded model trains on folds anyway, to fit its stream weights; the same folds then serve both.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from gasmcast.errors import UsageError
from gasmcast.evaluation.out_of_fold import read_out_of_fold, write_out_of_fold
from gasmcast.progress import Progress, silent
from gasmcast.training.inputs.training_set import TrainingSet
from gasmcast.training.stacking.fitted_config import FittedConfig, with_stream_weights
from gasmcast.training.stacking.folds import train_folds
from gasmcast.training.stacking.stream_weights import fits_stream_weights

__all__ = ["cross_validate", "lone_classes", "warn_of_lone_classes"]


def cross_validate(
    training_set: TrainingSet,
    folder: Path,
    folds: int,
    *,
    resume: bool,
    progress: Progress = silent,
) -> FittedConfig:
    """Train and judge a model for each fold, and return the configuration to train all clips with.

    The result is `folds/out_of_fold.json`. A fold that is finished is not trained again.

    Args:
        training_set: data set and configuration.
        folder: the run folder.
        folds: number of folds, at least 2; 0: only those that a guarded model needs.
        resume: continue with folds that exist.
        progress: called before each fold with a sentence.

    Raises:
        UsageError: fewer sources than folds, every class comes from one source, the run has another
            number of folds, or what `train` raises.
    """
    if not folds:
        return with_stream_weights(training_set, folder, resume=resume, progress=progress)

    # Folds divide sources. Clips without a class train in every fold and are scored in none.
    config, clips = training_set.config, training_set.clips
    groups = [sample.source or sample.id for sample in clips.samples]
    without = training_set.without_class()
    judged = [sample for sample in clips.samples if sample.id not in without]
    count = len({sample.source or sample.id for sample in judged})
    if not 2 <= folds <= count:
        raise UsageError(
            f"--folds {folds}: the training clips come from {count} sources, so 2 to {count} folds"
            " are possible.",
            "Name the source of each clip if clips of one video differ in it, or use fewer folds."
            if folds >= 2
            else "Use --folds 5, or leave it out.",
        )

    # A class is judged by models that saw it in another source.
    lone = lone_classes(training_set)
    if len(lone) == len(training_set.labels):
        raise UsageError(
            "Every class comes from a single source, so no fold can be judged.",
            "Record each class a second time, or train without --folds.",
        )

    # A result of other folds cannot be continued.
    stored = read_out_of_fold(folder) if resume else None
    if stored is not None and stored.folds != folds:
        raise UsageError(
            f"{folder} has the result of {stored.folds} folds.",
            f"Use --folds {stored.folds}, or another --out.",
        )

    # A guarded model trains on folds anyway: the same folds fit its stream weights.
    if fits_stream_weights(config):
        train = config.train.model_copy(update={"stream_weight_folds": folds})
        config = config.model_copy(update={"train": train})
        return with_stream_weights(
            replace(training_set, config=config), folder, resume=resume, progress=progress
        )

    # Finished before; otherwise every fold that is not finished is trained.
    if stored is not None:
        return FittedConfig(config, "", stored.top1)

    runs = train_folds(
        config,
        clips,
        clips.plain(),
        groups=groups,
        videos=[sample.path for sample in clips.samples],
        folds=folds,
        labels=training_set.labels,
        folder=folder,
        resume=resume,
        clip_targets=training_set.clip_targets,
        progress=progress,
    )
    if runs.stopped:
        return FittedConfig(config, runs.stopped)

    logits = [np.asarray(part[0]) for part in runs.logits]
    names = training_set.labels.names
    result = write_out_of_fold(folder, runs.clips, logits, clips, groups=groups, names=names)
    return FittedConfig(config, "", result.top1)


def lone_classes(training_set: TrainingSet) -> list[str]:
    """Return the classes whose training clips come from one source.

    The model of their fold has not seen the class, so their clips count as mistakes.
    """
    sources: dict[int, set[str]] = defaultdict(set)
    without = training_set.without_class()
    for sample in training_set.clips.samples:
        if sample.label is not None and sample.id not in without:
            sources[sample.label].add(sample.source or sample.id)
    names = training_set.labels.names
    return [names[label] for label, own in sorted(sources.items()) if len(own) == 1]


def warn_of_lone_classes(training_set: TrainingSet, folds: int) -> TrainingSet:
    """Return the set with a warning of classes that its folds cannot judge, if there are any."""
    lone = lone_classes(training_set) if folds else []
    if not lone:
        return training_set
    shown = ", ".join(lone[:3]) + (", ..." if len(lone) > 3 else "")
    noun = "class comes" if len(lone) == 1 else "classes each come"
    warning = (
        f"WARNING: {len(lone)} {noun} from one source ({shown}): no other fold knows them, so"
        " their clips count as mistakes out of fold."
    )
    return replace(training_set, warnings=(*training_set.warnings, warning))
