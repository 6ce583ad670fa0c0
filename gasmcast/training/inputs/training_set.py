"""Open a data set for training: from clips, from a feature cache, or from one that is filled first.

A configuration and a folder of data become a `TrainingSet`: settings that fit the data, training
clips, validation clips, and class names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from gasmcast.config import Config, load_config
from gasmcast.data.annotations import (
    Sample,
    has_split,
    read_labels,
    read_split,
    states_split,
    usable,
)
from gasmcast.data.clip_window import fit_window
from gasmcast.data.dataset import ClipDataset
from gasmcast.data.set_check import describe_faults
from gasmcast.errors import UsageError
from gasmcast.features.feature_dataset import FeatureDataset
from gasmcast.labels import Labels
from gasmcast.training.clip_targets import ClipTargets
from gasmcast.training.distributed import Distributed
from gasmcast.training.inputs.background_clips import add_background, find_background_clips
from gasmcast.training.inputs.feature_caches import find_caches, plan_caches
from gasmcast.training.inputs.fill import fill_caches
from gasmcast.training.inputs.fit import fit_epochs
from gasmcast.training.inputs.forecast import training_s
from gasmcast.training.inputs.teach import teach

__all__ = ["TrainingSet", "open_training_set"]

FEATURES = "features"


@dataclass(frozen=True)
class TrainingSet:
    """A data set and the configuration that fits it."""

    config: Config
    clips: ClipDataset | FeatureDataset
    """Training clips, augmented."""
    validation: ClipDataset | FeatureDataset | None
    labels: Labels
    warnings: tuple[str, ...]
    """Sentences to show before the run starts."""
    clip_targets: ClipTargets | None = None
    """Targets of training clips that differ from their class, if there are any."""

    def samples(self) -> dict[str, Sequence[Sample]]:
        """Return the annotations of the clips by split."""
        samples: dict[str, Sequence[Sample]] = {"train": self.clips.samples}
        if self.validation is not None:
            samples["validation"] = self.validation.samples
        return samples

    def without_class(self) -> frozenset[str]:
        """Return the ids of training clips that no class is known of."""
        return frozenset() if self.clip_targets is None else self.clip_targets.no_class

    def preload(self) -> None:
        """Decode the clips into memory if they fit into `train.memory_gb`."""
        budget = int(self.config.train.memory_gb * 2**30)
        for part in (self.clips, self.validation):
            if not budget or not isinstance(part, ClipDataset) or not part.preload(budget):
                return


def open_training_set(
    source: str | Path,
    data: Path,
    settings: Mapping[str, Any] | None = None,
    *,
    cache: Path | None = None,
    run_folder: Path | None = None,
    preload: bool = True,
    folds: int = 0,
) -> TrainingSet:
    """Open a data set with the settings of a run.

    The clips come from the feature caches in `cache`, if given; from features that are encoded
    into `run_folder` now, if `train.cache_views` asks for it; otherwise from the videos. Several
    processes cannot fill a cache together: fill it with `gasmcast cache` beforehand.

    Args:
        source: a preset, or the path of a YAML file.
        data: data set in any format that `gasmcast.data` reads.
        settings: dotted settings that replace those of `source`, as `{"train.epochs": 3}`.
        cache: folder of feature caches that `gasmcast cache` filled.
        run_folder: folder of the run; its `features` folder takes the encoded features, and frozen
            backbones that it stores are used again.
        preload: decode the clips into memory if they fit into `train.memory_gb`.
        folds: cross-validation folds that the run trains by itself. A set that states no split is
            then trained on as a whole, except from a `cache`, whose training clips are taken.

    Raises:
        UsageError: an unknown preset or setting, a wrong value, a missing data set or video; no
            cache fits, or several do; a teacher that does not fit.
        MachineError: pretrained weights are not available, or not enough space on the disk.
        SourceError: too many clips do not decode.
    """
    settings = settings or {}
    world = Distributed().world

    # Configuration: the data set decides the number of classes.
    config = load_config(source, dict(settings))
    labels = read_labels(data)
    if settings.get("model.classes") not in (None, len(labels)):
        raise UsageError(
            f"model.classes is {settings['model.classes']}, but {data} has {len(labels)} classes.",
            "Leave it out: it is taken from the data.",
        )
    config = _update(config, "model", classes=len(labels))
    _check_flip(config, labels)
    _check_teacher(config)

    train_samples, validation_samples = _read_clips(data, whole=folds > 0 and cache is None)

    config = _fit_spec(config, train_samples, is_given="spec.segment_s" in settings)

    # Probabilities of the teacher. Clips without a class and background join the training clips.
    annotated, lesson = train_samples, None
    if config.train.teacher and run_folder is not None:
        lesson = teach(config, train_samples, labels, run_folder, validation_samples)
        train_samples = [*train_samples, *lesson.unlabelled]
    clip_targets = None if lesson is None else lesson.targets
    if config.train.background:
        windows = find_background_clips(
            config.train.background, data, config.spec.window_s, annotated, len(labels)
        )
        train_samples = [*train_samples, *windows]
        clip_targets = add_background(clip_targets, windows, len(labels))
    train = fit_epochs(config.train, len(train_samples), world)
    config = config.model_copy(update={"train": train})

    clips = ClipDataset(
        train_samples, config.spec, config.augment, train.seed, labels.left_right_swap()
    )
    validation = None
    if validation_samples:
        validation = ClipDataset(validation_samples, config.spec, None, train.seed)
    warnings = _warnings(config, has_validation=validation is not None, data=data)
    warnings += describe_faults(annotated, validation_samples, labels)
    if lesson is not None and lesson.note:
        warnings = (*warnings, lesson.note)
    opened = TrainingSet(config, clips, validation, labels, warnings, clip_targets)

    # Features take the place of the clips; otherwise the clips are decoded into memory.
    if cache is not None:
        return _from_caches(opened, cache)
    if train.cache_views and run_folder is not None and world == 1:
        return _encode_first(opened, run_folder, folds)
    if preload:
        opened.preload()
    return opened


def _fit_spec(config: Config, samples: list[Sample], *, is_given: bool) -> Config:
    """Return the configuration with its window fitted to the clips, if it asks for it.

    Args:
        config: configuration of the run.
        samples: the training clips.
        is_given: the user has given the window, which then does not count as fitted.
    """
    if is_given:
        return _update(config, "train", fit_window=False)
    if not config.train.fit_window:
        return config
    return config.model_copy(update={"spec": fit_window(config.spec, samples)})


def _read_clips(data: Path, *, whole: bool) -> tuple[list[Sample], list[Sample]]:
    """Return the training and validation clips; every video that is named must exist.

    Args:
        data: the set.
        whole: train on all clips of a set that states no split.
    """
    training = usable(read_split(data, "train"), data)
    if not has_split(data, "validation"):
        return training, []
    validation = usable(read_split(data, "validation"), data)
    if whole and not states_split(data):
        return [*training, *validation], []
    return training, validation


def _update(config: Config, section: str, **values: object) -> Config:
    """Return the configuration with other values in one section."""
    changed = getattr(config, section).model_copy(update=values)
    return config.model_copy(update={section: changed})


def _check_flip(config: Config, labels: Labels) -> None:
    """Check that every class that names a side has a mirror image when clips are mirrored.

    Raises:
        UsageError: a class has none.
    """
    if config.augment.flip and (alone := labels.one_sided()):
        raise UsageError(
            f"augment.flip mirrors clips, but the class {alone[0]!r} names a side and no class is "
            "its mirror image.",
            "Use --set augment.flip=false, or add the other class.",
        )


def _check_teacher(config: Config) -> None:
    """Check the settings of a teacher.

    Raises:
        UsageError: unlabelled clips without a teacher, or clips that are mirrored.
    """
    train = config.train
    if train.unlabelled and not train.teacher:
        raise UsageError(
            "train.unlabelled: clips without classes need a teacher.", "Give --teacher RUN."
        )
    if train.teacher and config.augment.flip:
        raise UsageError(
            "augment.flip: the teacher has seen the clips as they are, not mirrored.",
            "Use --set augment.flip=false.",
        )


def _warnings(config: Config, *, has_validation: bool, data: Path) -> tuple[str, ...]:
    """Return what the user should know before the run: random backbones, no validation."""
    model = config.model
    warnings = []

    # Random weights are rarely meant, and a frozen backbone never leaves them.
    for name, weights in (
        ("semantic", model.semantic_weights),
        ("motion", model.motion_weights),
    ):
        if weights != "random" or model.streams not in ("both", name):
            continue
        if model.freeze:
            warnings.append(
                f"WARNING: the {name} backbone is frozen with RANDOM weights: it can learn "
                f"nothing. Give --{name}-weights."
            )
        else:
            warnings.append(
                f"The {name} backbone starts from RANDOM weights and is trained from scratch."
            )

    # Without validation there is no best epoch.
    if not has_validation:
        warnings.append(
            f"WARNING: {data} has no validation split: the last weights are the result, not the "
            "best."
        )
    return tuple(warnings)


def _from_caches(opened: TrainingSet, folder: Path) -> TrainingSet:
    """Return the set with its clips from a finished cache in `folder`."""
    config = _update(opened.config, "train", memory_gb=0.0)
    caches = find_caches(config, opened.samples(), folder)
    opened = _with_features(opened, config, caches.open())
    return replace(opened, warnings=(*opened.warnings, f"Clips come from {folder}: {caches.name}."))


def _encode_first(opened: TrainingSet, run_folder: Path, folds: int) -> TrainingSet:
    """Return the set with its clips from a cache in the run folder, which is filled first.

    The time that encoding and the training of all folds take is printed after the first rows.
    """
    config = _update(opened.config, "train", memory_gb=0.0)
    caches = plan_caches(
        config,
        opened.samples(),
        run_folder / FEATURES,
        views=config.train.cache_views,
        run_folder=run_folder,
    )

    # A guarded model trains folds in any case.
    if not folds and config.model.read_out == "guarded":
        folds = config.train.stream_weight_folds

    # A resumed run finds its caches complete and says nothing.
    then_s = None
    if not caches.is_complete:
        plan = caches.parts["train"].plan
        then_s = training_s(
            config,
            caches.model,
            width=plan.width,
            clips=plan.clips,
            validation=0 if opened.validation is None else len(opened.validation),
            folds=folds,
        )
        text = f"Encoding first: {caches.describe_size()}"
        Console(stderr=True).print(text, highlight=False, soft_wrap=True)
    fill_caches(caches, opened.labels, workers=min(1, config.train.workers), then_s=then_s)

    # The digests have just been compared, while missing shards were looked for.
    return _with_features(opened, config, caches.open(verify=False))


def _with_features(
    opened: TrainingSet, config: Config, features: Mapping[str, FeatureDataset]
) -> TrainingSet:
    """Return the set with features in place of clips; CutMix, which needs pixels, is off."""
    warnings = opened.warnings
    if config.augment.cutmix:
        warnings = (*warnings, "Features cannot be cut and pasted: cutmix is off.")

    return replace(
        opened,
        config=_update(config, "augment", cutmix=0.0),
        clips=features["train"],
        validation=features.get("validation"),
        warnings=warnings,
    )
