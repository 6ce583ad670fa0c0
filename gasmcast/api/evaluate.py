"""Evaluate a checkpoint or a bundle on a data set: the public function behind `gasmcast eval`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from gasmcast.api.train import SMALL_VALIDATION
from gasmcast.backend import Backend
from gasmcast.errors import UsageError
from gasmcast.files import write_atomic
from gasmcast.progress import Progress, silent
from gasmcast.report.percent import percent, percent_interval

if TYPE_CHECKING:  # the evaluation needs torch, and this module must import without it
    from gasmcast.evaluation.evaluation import Evaluation
    from gasmcast.evaluation.scores import Scores
    from gasmcast.evaluation.time_tests import ReversalScores, ShuffleScores

__all__ = ["EvaluationResult", "LabeledSplit", "evaluate"]

LabeledSplit = Literal["validation", "train"]


@dataclass(frozen=True)
class EvaluationResult:
    """Scores of a checkpoint or bundle on one split.

    Truthy when every clip of the split could be decoded and is part of the scores. Its text shows
    the accuracies with their 95 % intervals.
    """

    target: str
    """Run folder, checkpoint or bundle, as given."""
    classifier: str
    """Evaluated file, its precision, and the engine of a bundle."""
    checkpoint: Path | None
    """Weights file; None for a bundle."""
    split: str
    views: str
    """Windows x crops of each clip, such as "1x1"."""
    tempo: float
    """How many times as fast as in the training the actions are taken to be."""
    scores: Scores
    reversal: ReversalScores | None
    """Scores of the clips played backwards, if asked for."""
    shuffle: ShuffleScores | None
    """Scores of the clips with shuffled frames, if asked for."""
    leak: str
    """Warnings: allowed sources that are in train, too, and clips that a run with folds was trained
    on; empty without any."""
    unreadable: tuple[str, ...]
    """Names of the clips that do not decode and are not counted."""
    folder: Path | None
    """Folder of pictures and `scores.json`; None if none was written."""
    files: tuple[Path, ...]
    """Written files that are meant to be looked at."""

    def __bool__(self) -> bool:
        return not self.unreadable

    @property
    def tempo_note(self) -> str:
        """Sentence about another tempo than that of the training, else empty."""
        if self.tempo == 1:
            return ""
        return (
            f"Judged at tempo {self.tempo:g}: a window has {1 / self.tempo:.0%} of its length in"
            f" the training, as with `gasmcast live --tempo {self.tempo:g}`."
            " `--tempo 1` judges with the window of the training."
        )

    @property
    def caution(self) -> str:
        """Sentence about the choice of the epoch where it may flatter the figures, else empty."""
        is_best = self.checkpoint is not None and self.checkpoint.name == "best.safetensors"
        if not is_best or self.split != "validation" or self.scores.clips >= SMALL_VALIDATION:
            return ""
        return "If training chose the best epoch on these clips, the figures are optimistic."

    def __str__(self) -> str:
        scores = self.scores
        leak = f"{self.leak} " if self.leak else ""
        figures = [
            f"{name} {percent(share)} {percent_interval(interval)}"
            for name, share, interval in (
                ("top-1", scores.top1, scores.top1_interval),
                ("top-5", scores.top5, scores.top5_interval),
                ("mean-class", scores.mean_class, scores.mean_class_interval),
            )
        ]
        return (
            f"{leak}{self.classifier} on {scores.clips} clips of {self.split}: {', '.join(figures)}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of `scores.json`."""
        record: dict[str, Any] = {
            "target": self.target,
            "classifier": self.classifier,
            "split": self.split,
            "views": self.views,
            "tempo": self.tempo,
            **self.scores.to_json(),
        }

        # Keys of tests that did not run are absent, not null.
        if self.leak:
            record["leak"] = self.leak
        if self.unreadable:
            record["unreadable"] = list(self.unreadable)
        if self.reversal is not None:
            record["reversed"] = self.reversal.to_json()
        if self.shuffle is not None:
            record["shuffled"] = self.shuffle.to_json()
        if self.folder is not None:
            record["files"] = str(self.folder)
        return record


def evaluate(
    run_or_bundle: Path | str,
    data: Path | str,
    *,
    split: LabeledSplit = "validation",
    precision: str = "fp32",
    engine: Backend = "auto",
    views: str = "1x1",
    tempo: float | None = None,
    reversed: bool = False,  # noqa: A002 - named like the verb's flag
    shuffled: bool = False,
    analyze: Path | str | None = None,
    out: Path | str | None = None,
    batch_size: int = 8,
    workers: int = 2,
    data_format: str | None = None,
    allow_leak: bool = False,
    context_s: float = 0.0,
    progress: Progress = silent,
) -> EvaluationResult:
    """Return accuracy, calibration and confusions of a checkpoint or bundle.

    Needs the packages of the extra `train`. Beside a checkpoint that is evaluated on its validation
    split in fp32 with one view, it writes `temperature.json`, which `gasmcast export` uses for FP32
    if it gets no clips of its own. It does not write it if the checkpoint is of a run with folds
    that was trained on some of these clips.

    Args:
        run_or_bundle: a run folder, a checkpoint, or a bundle.
        data: folder per class, annotation file, or folder in Something-Something-V2's format.
        split: the split to evaluate; both have labels.
        precision: fp32, bf16 or fp16 of a checkpoint; one of its precisions of a bundle.
        engine: backend that runs a bundle. PyTorch runs a checkpoint, whatever the engine.
        views: windows x crops whose softmax is averaged: "1x1", "1x3" or "2x3".
        tempo: how many times as fast as in the training the actions are. None: 1; or by the length
            of the clips, if the window was fitted to that of the training clips.
        reversed: also classify every clip played backwards.
        shuffled: also classify every clip with its frames shuffled.
        analyze: folder for an error analysis (one HTML page), which includes both time tests.
        out: folder for pictures and `scores.json`. The default is `eval/` beside a checkpoint; for
            a bundle nothing is written.
        batch_size: clips in a batch.
        workers: decoding processes; 0 decodes in this process.
        data_format: format of the annotations, as `--format` takes it; None: detected.
        allow_leak: accept sources in train and in another split; every report says so.
        context_s: seconds before and after an annotated span that its windows may show.
        progress: called as clips are done.

    Raises:
        UsageError: the target or the set is missing, damaged or does not fit the other.
        MachineError: the engine or precision is not available here, or a decoding process died.
        SourceError: more than 1 % of the clips do not decode.

    Example:
        >>> result = gasmcast.evaluate("runs/demo", "demo-data", reversed=True)
        >>> print(result)
        >>> result.scores.top1, result.reversal.reversed_top1
    """
    if split not in get_args(LabeledSplit):
        raise UsageError(
            f"The split {split!r} has no labels to evaluate with.", "Use validation or train."
        )
    # Heavy packages load here, so that `import gasmcast` works in the base install.
    from gasmcast.data.reading import read_as  # noqa: PLC0415 - imports PyAV
    from gasmcast.evaluation.classifier import open_classifier  # noqa: PLC0415 - imports torch
    from gasmcast.evaluation.evaluation import evaluate_split  # noqa: PLC0415 - imports torch

    read_as(data_format, allow_leak=allow_leak, context_s=context_s)
    classifier = open_classifier(Path(run_or_bundle), precision, engine)
    evaluation = evaluate_split(
        classifier,
        Path(data),
        split,
        backwards=reversed or analyze is not None,
        shuffled=shuffled or analyze is not None,
        views=views,
        tempo=tempo,
        batch_size=batch_size,
        workers=workers,
        progress=progress,
    )

    # The clips that trained the last model of a run with folds are no test of it.
    seen = _trained_on(classifier.checkpoint, evaluation)

    # A bundle is data only and stays as it was exported.
    folder = None if out is None else Path(out)
    if folder is None and classifier.checkpoint is not None:
        folder = classifier.checkpoint.parent / "eval"
    files = _write_files(
        evaluation,
        Path(data),
        split,
        folder=folder,
        analyze=None if analyze is None else Path(analyze),
        fits_temperature=split == "validation"
        and precision == "fp32"
        and views == "1x1"
        and evaluation.tempo == 1
        and not seen,
    )
    result = EvaluationResult(
        target=str(run_or_bundle),
        classifier=classifier.name,
        checkpoint=classifier.checkpoint,
        split=split,
        views=views,
        tempo=evaluation.tempo,
        scores=evaluation.scores,
        reversal=evaluation.reversal,
        shuffle=evaluation.shuffle,
        leak=" ".join(filter(None, (evaluation.leak, seen if split == "validation" else ""))),
        unreadable=tuple(evaluation.unreadable),
        folder=folder,
        files=files,
    )
    _write_scores(result)
    return result


def _trained_on(checkpoint: Path | None, evaluation: Evaluation) -> str:
    """Return a warning if a run with folds was trained on clips of the evaluation, else empty."""
    from gasmcast.evaluation.out_of_fold import (  # noqa: PLC0415 - imports torch
        count_trained,
        read_out_of_fold,
    )

    judged = None if checkpoint is None else read_out_of_fold(checkpoint.parent)
    if checkpoint is None or judged is None:
        return ""
    clips = [evaluation.clips.samples[i] for i in evaluation.positions]
    count = count_trained(checkpoint.parent, clips)
    if not count:
        return ""
    return (
        f"WARNING: the run was trained on {count} of these {len(clips)} clips, so the"
        f" figures flatter. {judged}"
    )


def _write_files(
    evaluation: Evaluation,
    data: Path,
    split: LabeledSplit,
    *,
    folder: Path | None,
    analyze: Path | None,
    fits_temperature: bool,
) -> tuple[Path, ...]:
    """Write pictures, predictions, the temperature of a checkpoint, and the error analysis."""
    from gasmcast.evaluation.evaluation_page import (  # noqa: PLC0415 - imports matplotlib
        write_analysis,
        write_pictures,
    )
    from gasmcast.evaluation.predictions import (  # noqa: PLC0415 - imports torch
        FILE_NAME,
        predictions_of,
        write_predictions,
    )
    from gasmcast.evaluation.temperature import write_temperature  # noqa: PLC0415 - as above

    if folder is None and analyze is None:
        return ()
    files: list[Path] = []
    predictions = predictions_of(evaluation, data, split)
    if folder is not None:
        files += write_pictures(predictions, folder)
        # `gasmcast report` makes its error analysis from these.
        write_predictions(predictions, folder / FILE_NAME)

    # The stored temperature calibrates plain FP32 logits of clips that were not trained on.
    checkpoint = evaluation.classifier.checkpoint
    if checkpoint is not None and fits_temperature:
        files.append(write_temperature(checkpoint, evaluation.scores, "validation"))
    if analyze is not None:
        files.append(write_analysis(evaluation, predictions, analyze))
    return tuple(files)


def _write_scores(result: EvaluationResult) -> None:
    if result.folder is not None:
        write_atomic(result.folder / "scores.json", json.dumps(result.to_json(), indent=1))
