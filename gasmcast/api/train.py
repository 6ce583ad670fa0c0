"""`gasmcast.train`: train a model from Python, with the arguments of the verb."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gasmcast.progress import Progress, silent
from gasmcast.sleeping_threads import let_threads_sleep

__all__ = ["TrainResult", "train"]


SMALL_VALIDATION = 1000
"""Validation clips below which the choice of the best epoch visibly flatters its figures."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """Result of a training run; true if the run was not stopped by a signal."""

    checkpoint: Path | None
    """Best weights, or the last ones without a validation split; None if stopped before any."""
    stopped: str | None
    """Name of the signal that stopped the run, as `SIGTERM`; None if it is finished."""
    best_epoch: int | None
    """Epoch of the best weights, counted from 1; None without a validation split."""
    metrics: dict[str, float]
    """Figures of the best epoch (shares from 0 to 1), durations and counts."""
    warnings: tuple[str, ...]
    """What the user should know: random backbones, a missing validation split."""
    stream_weights: tuple[float, float, float] | None
    """Weights of the semantic, motion and fused read-outs, if the run has fitted them."""
    out_of_fold_top1: float | None = None
    """Top-1 (0 to 1) of the folds on clips that they were not trained on; None without folds."""
    out_of_fold_interval: tuple[float, float] | None = None
    """95 % interval of `out_of_fold_top1` over sources; None in runs of older versions."""
    out_of_fold_sources: int | None = None
    classes: int
    training_clips: int
    validation_clips: int
    is_main: bool = True
    """Whether this is the main process of several."""

    def __bool__(self) -> bool:
        return self.stopped is None

    def __str__(self) -> str:
        if self.stopped is not None:
            return f"Stopped by {self.stopped}."
        sentences = [f"Trained {self.checkpoint}."]
        if "top1" in self.metrics:
            top1, top5 = 100 * self.metrics["top1"], 100 * self.metrics["top5"]
            sentences = [f"Best epoch {self.best_epoch}: top-1 {top1:.1f} %, top-5 {top5:.1f} %."]

        # The best of many epochs on few clips is partly luck.
        if "top1" in self.metrics and self.validation_clips < SMALL_VALIDATION:
            sentences.append(
                f"The epoch was chosen on the {self.validation_clips} clips that it is measured on,"
                " so these figures are optimistic."
            )
        if self.out_of_fold_top1 is not None:
            sentences.append(
                f"Out of fold, on {self.training_clips} training clips that each model had not"
                f" seen: top-1 {100 * self.out_of_fold_top1:.1f} %{self._spread()}."
            )
        return " ".join(sentences)

    def _spread(self) -> str:
        if self.out_of_fold_interval is None:
            return ""
        low, high = (100 * value for value in self.out_of_fold_interval)
        return f" ({low:.1f} to {high:.1f} %, 95 % over {self.out_of_fold_sources} sources)"

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON data."""
        return {
            "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
            "stopped": self.stopped,
            "best_epoch": self.best_epoch,
            "metrics": dict(self.metrics),
            "warnings": list(self.warnings),
            "stream_weights": None if self.stream_weights is None else list(self.stream_weights),
            "out_of_fold_top1": self.out_of_fold_top1,
            "out_of_fold_interval": self.out_of_fold_interval,
            "out_of_fold_sources": self.out_of_fold_sources,
            "classes": self.classes,
            "training_clips": self.training_clips,
            "validation_clips": self.validation_clips,
        }


def train(
    preset: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    folds: int = 0,
    resume: bool = False,
    cache: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    semantic_weights: str | Path | None = None,
    motion_weights: str | Path | None = None,
    teacher: str | Path | None = None,
    unlabelled: str | Path | None = None,
    background: str | Path | None = None,
    data_format: str | None = None,
    allow_leak: bool = False,
    context_s: float = 0.0,
    progress: Progress = silent,
    warn: Callable[[str], None] = warnings.warn,
) -> TrainResult:
    """Train a model and write a run folder, as `gasmcast train` does.

    The run shows its figures on the terminal. It may be one of several processes under
    `accelerate launch` or `torchrun`. In the main thread, SIGTERM and Ctrl-C save the state and
    end the run.

    Args:
        preset: a preset (`ssv2`, `edge`, `lite`, `nano`, `seed`, `demo`, `small-data`), or a
            YAML file.
        data: folder per class, annotation file, or folder in Something-Something-V2's format.
        out: the run folder to write.
        folds: cross-validation folds by source that are trained and judged before the run itself;
            0: none. A set that states no split is then trained on as a whole, except from a
            `cache`, whose training clips are taken.
        resume: resume from the run folder's newest complete state; start a new run if it has none.
        cache: folder of feature caches that `gasmcast cache` filled.
        settings: dotted settings that replace those of the preset, as `{"train.epochs": 3}`.
        semantic_weights: file of weights of the semantic backbone, `"pretrained"` or `"random"`.
        motion_weights: the same for the motion backbone.
        teacher: run folder or checkpoint of a larger model whose probabilities are learned, too.
        unlabelled: folder of videos without classes, which are learned from the teacher alone.
        background: video or folder of videos in which no action happens, or `"unlabeled"` for the
            unlabeled time of the training videos alone.
        data_format: format of the annotations, as `--format` takes it; None: detected.
        allow_leak: accept sources in train and in another split; every report says so.
        context_s: seconds before and after an annotated span that its windows may show.
        progress: called in the main process when the data set is open and when the stream weights
            are fitted, with a sentence as the stage.
        warn: called in the main process with each warning before the training; the default is
            `warnings.warn`.

    Raises:
        UsageError: an unknown preset or setting, a wrong value, a data set that cannot be trained
            on, or a folder that holds another run.
        MachineError: no space left, a worker died, or pretrained weights are not available.
        SourceError: too many clips do not decode.
        DivergedError: a loss or gradient is not finite.

    Example:
        >>> result = gasmcast.train(
        ...     "demo", "demo-data", "runs/first", settings={"train.epochs": 3}
        ... )
        >>> print(result.best_epoch, result.metrics["top1"])
    """
    let_threads_sleep()
    from gasmcast.data.reading import read_as  # noqa: PLC0415 - imports numpy and PyAV
    from gasmcast.data.set_check import describe_data  # noqa: PLC0415 - as above
    from gasmcast.data.set_place import write_data_place  # noqa: PLC0415 - as above
    from gasmcast.evaluation.out_of_fold import read_out_of_fold  # noqa: PLC0415 - as above
    from gasmcast.training.distributed import Distributed  # noqa: PLC0415 - imports torch
    from gasmcast.training.inputs.training_set import open_training_set  # noqa: PLC0415 - as above
    from gasmcast.training.loop import train as run_training  # noqa: PLC0415 - as above
    from gasmcast.training.stacking.cross_validation import (  # noqa: PLC0415 - as above
        cross_validate,
        warn_of_lone_classes,
    )
    from gasmcast.training.stacking.stream_weights import (  # noqa: PLC0415 - as above
        describe_stream_weights,
    )

    # Weights are settings with an option of their own.
    data, out = Path(data), Path(out)
    overrides = dict(settings or {})
    named = {
        "model.semantic_weights": semantic_weights,
        "model.motion_weights": motion_weights,
        "train.teacher": teacher,
        "train.unlabelled": unlabelled,
        "train.background": background,
    }
    overrides |= {name: str(value) for name, value in named.items() if value is not None}

    read_as(data_format, allow_leak=allow_leak, context_s=context_s)

    # Open the data set and report what is worth knowing before a long training.
    is_main = Distributed().is_main
    opened = open_training_set(
        preset,
        data,
        overrides,
        cache=None if cache is None else Path(cache),
        run_folder=out,
        folds=folds,
    )
    opened = warn_of_lone_classes(opened, folds)
    counts = {
        "classes": len(opened.labels),
        "training_clips": len(opened.clips),
        "validation_clips": 0 if opened.validation is None else len(opened.validation),
    }
    if is_main:
        for warning in opened.warnings:
            warn(warning)
        progress(describe_data(data))
        unknown = len(opened.without_class())
        without = f" ({unknown} of them without a class)" if unknown else ""
        progress(
            f"{counts['training_clips']} training clips{without}, "
            f"{counts['validation_clips']} validation clips, {counts['classes']} classes."
        )

    # Folds say how good a model is on new sources, and how much each read-out of a guarded model
    # counts.
    fitted = cross_validate(
        opened, out, folds, resume=resume, progress=progress if is_main else silent
    )
    sentence = describe_stream_weights(fitted.config)

    # A fold that was stopped leaves nothing to train with.
    summary: dict[str, Any] = {"stopped": fitted.stopped}
    judged = None
    if not fitted.stopped:
        judged = read_out_of_fold(out)
        if is_main and judged is not None:
            progress(str(judged))
        if is_main and sentence:
            progress(sentence)

        summary = run_training(
            fitted.config,
            opened.clips,
            opened.validation,
            opened.labels,
            out,
            resume=resume,
            clip_targets=opened.clip_targets,
            warnings=opened.warnings,
        )
        if is_main:
            write_data_place(out, data)

    stopped, checkpoint = summary.pop("stopped") or None, summary.pop("checkpoint", None)
    return TrainResult(
        checkpoint=None if checkpoint is None else out / checkpoint,
        stopped=stopped,
        best_epoch=int(summary["epoch"]) if "top1" in summary else None,
        metrics=summary,
        warnings=opened.warnings,
        stream_weights=fitted.config.model.stream_weights
        if sentence and not fitted.stopped
        else None,
        out_of_fold_top1=fitted.out_of_fold_top1,
        out_of_fold_interval=None if judged is None else judged.top1_interval,
        out_of_fold_sources=None if judged is None else judged.sources,
        is_main=is_main,
        **counts,
    )
