"""`gasmcast.train`: train a model from Python, with the arguments of the verb."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gasmcast.progress import Progress, silent

__all__ = ["TrainResult", "train"]


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
        if "top1" not in self.metrics:
            return f"Trained {self.checkpoint}."
        top1, top5 = 100 * self.metrics["top1"], 100 * self.metrics["top5"]
        return f"Best epoch {self.best_epoch}: top-1 {top1:.1f} %, top-5 {top5:.1f} %."

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON data."""
        return {
            "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
            "stopped": self.stopped,
            "best_epoch": self.best_epoch,
            "metrics": dict(self.metrics),
            "warnings": list(self.warnings),
            "stream_weights": None if self.stream_weights is None else list(self.stream_weights),
            "classes": self.classes,
            "training_clips": self.training_clips,
            "validation_clips": self.validation_clips,
        }


def train(
    preset: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    cache: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    semantic_weights: str | Path | None = None,
    motion_weights: str | Path | None = None,
    progress: Progress = silent,
    warn: Callable[[str], None] = warnings.warn,
) -> TrainResult:
    """Train a model and write a run folder, as `gasmcast train` does.

    The run shows its figures on the terminal. It may be one of several processes under
    `accelerate launch` or `torchrun`. In the main thread, SIGTERM and Ctrl-C save the state and
    end the run.

    Args:
        preset: a preset (`ssv2`, `seed`, `edge`, `demo`, `small-data`), or a YAML file.
        data: folder of a data set in Something-Something-V2's format.
        out: the run folder to write.
        resume: resume from the run folder's newest complete state; start afresh if there is none.
        cache: folder of feature caches that `gasmcast cache` filled.
        settings: dotted settings that replace those of the preset, as `{"train.epochs": 3}`.
        semantic_weights: file of weights of the semantic backbone, `"pretrained"` or `"random"`.
        motion_weights: the same for the motion backbone.
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
    from gasmcast.training.distributed import Distributed  # noqa: PLC0415 - imports torch
    from gasmcast.training.inputs.training_set import open_training_set  # noqa: PLC0415 - as above
    from gasmcast.training.loop import train as run_training  # noqa: PLC0415 - as above
    from gasmcast.training.stacking.folds import (  # noqa: PLC0415 - as above
        describe_stream_weights,
        with_stream_weights,
    )

    # Weights are settings with an option of their own.
    data, out = Path(data), Path(out)
    overrides = dict(settings or {})
    if semantic_weights is not None:
        overrides["model.semantic_weights"] = str(semantic_weights)
    if motion_weights is not None:
        overrides["model.motion_weights"] = str(motion_weights)

    # Open the data set and report what is worth knowing before a long training.
    is_main = Distributed().is_main
    opened = open_training_set(
        preset, data, overrides, cache=None if cache is None else Path(cache), run_folder=out
    )
    counts = {
        "classes": len(opened.labels),
        "training_clips": len(opened.clips),
        "validation_clips": 0 if opened.validation is None else len(opened.validation),
    }
    if is_main:
        for warning in opened.warnings:
            warn(warning)
        progress(
            f"{counts['training_clips']} training clips, {counts['validation_clips']} validation "
            f"clips, {counts['classes']} classes."
        )

    # A guarded model first learns on folds how much each of its read-outs counts.
    fitted = with_stream_weights(opened, out, resume=resume)
    sentence = describe_stream_weights(fitted.config)

    # A fold that was stopped leaves nothing to train with.
    summary: dict[str, Any] = {"stopped": fitted.stopped}
    if not fitted.stopped:
        if is_main and sentence:
            progress(sentence)

        summary = run_training(
            fitted.config, opened.clips, opened.validation, opened.labels, out, resume=resume
        )

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
        is_main=is_main,
        **counts,
    )
