"""Show an evaluation: pictures, and an error analysis as a page or as a part of a run's report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from gasmcast.evaluation.evaluation import Evaluation
from gasmcast.evaluation.metrics import confusion, fit_temperature, hits, reliability
from gasmcast.evaluation.mistakes import Bin, Mistake, by_quantity, examples_of, worst_clips
from gasmcast.evaluation.predictions import Predictions
from gasmcast.evaluation.scores import ClassScore, ConfusedPair, Scores, score
from gasmcast.evaluation.time_tests import ReversalScores, ShuffleScores
from gasmcast.files import write_atomic
from gasmcast.report.figures import inline_svg, save_figure
from gasmcast.report.film_strip import frame_strip
from gasmcast.report.html import Share, ShareBar, Table, data_uri, render
from gasmcast.report.plots import draw_confusion, draw_reliability

__all__ = ["Analysis", "analyze", "time_tests", "write_analysis", "write_pictures"]

PAIRS_SHOWN = 10


@dataclass(frozen=True)
class _ShownMistake:
    """Mistake with the name and frames of its clip."""

    mistake: Mistake
    name: str
    strip: str
    """Data URI of frames of the window; empty where the clip cannot be read."""


@dataclass(frozen=True)
class _ShownPair:
    """Pair of confused classes with examples of both directions."""

    first: str
    second: str
    share: float
    clips: Sequence[_ShownMistake]


@dataclass(frozen=True)
class Analysis:
    """Error analysis of an evaluation, as the template shows it."""

    summary: Table
    confusion: Markup
    reliability: Markup
    by_length: Table
    by_motion: Table
    confused: Sequence[_ShownPair]
    worst: Sequence[_ShownMistake]
    classes: Table


def analyze(predictions: Predictions, data: Path | None = None) -> Analysis:
    """Return the error analysis of an evaluated split; decodes the clips that it shows.

    Args:
        predictions: logits of the split.
        data: folder of the data set; None: the one that was evaluated, if it is still there.

    Raises:
        UsageError: `data` was given and is no such set.
    """
    logits, labels, names = predictions.logits, predictions.labels, predictions.names
    scores = score(logits, labels, names)
    correct = hits(logits, labels)
    gallery = _Gallery(predictions, scores.confused[:PAIRS_SHOWN], data)

    matrix = draw_confusion(confusion(logits, labels), names)
    diagram = draw_reliability(_reliability_tables(predictions, scores.temperature))
    lengths = by_quantity(predictions.lengths_s, correct)
    motion = by_quantity(predictions.motion, correct)
    return Analysis(
        summary=_summary(scores),
        confusion=inline_svg(matrix, "confusion matrix", wide=True),
        reliability=inline_svg(diagram, "reliability diagram: accuracy by confidence"),
        by_length=_bins("clip length", "s", lengths),
        by_motion=_bins("motion", "gray levels a frame", motion),
        confused=gallery.pairs,
        worst=gallery.worst,
        classes=_classes(scores.classes),
    )


def write_pictures(predictions: Predictions, folder: Path) -> list[Path]:
    """Write confusion matrix and reliability diagram as PNG files, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    logits, labels = predictions.logits, predictions.labels
    matrix, diagram = folder / "confusion.png", folder / "reliability.png"

    save_figure(draw_confusion(confusion(logits, labels), predictions.names), matrix)
    temperature = fit_temperature(logits, labels)
    save_figure(draw_reliability(_reliability_tables(predictions, temperature)), diagram)
    return [matrix, diagram]


def write_analysis(evaluation: Evaluation, predictions: Predictions, folder: Path) -> Path:
    """Write the error analysis as `index.html`, and return the page.

    Args:
        evaluation: has the time tests.
        predictions: of this evaluation.
        folder: takes the page; created if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = render(
        "evaluation.html.j2",
        title=predictions.title,
        analysis=analyze(predictions),
        time_tests=time_tests(evaluation.reversal, evaluation.shuffle),
    )

    page = folder / "index.html"
    write_atomic(page, content)
    return page


class _Gallery:
    """Misclassified clips with their frames; a clip that is shown twice is decoded once."""

    def __init__(
        self, predictions: Predictions, pairs: Sequence[ConfusedPair], data: Path | None
    ) -> None:
        self._predictions = predictions
        logits, labels, names = predictions.logits, predictions.labels, predictions.names
        worst = worst_clips(logits, labels, names)
        # Both directions are shown: often only one of them is systematic.
        examples = [
            self._examples(pair.first, pair.second) + self._examples(pair.second, pair.first)
            for pair in pairs
        ]

        # All clips are found in the set at once, because its lists are long.
        rows = {mistake.index for mistakes in (worst, *examples) for mistake in mistakes}
        pixels = predictions.clips(sorted(rows), data) if rows else {}
        self._strips = {row: data_uri(frame_strip(clip), "jpeg") for row, clip in pixels.items()}
        self.worst = self._show(worst)
        """Clips of the largest loss."""
        self.pairs = [
            _ShownPair(pair.first, pair.second, pair.share, self._show(mistakes))
            for pair, mistakes in zip(pairs, examples, strict=True)
        ]
        """Most confused pairs with up to two examples of each direction."""

    def _examples(self, true: str, predicted: str) -> list[Mistake]:
        of = self._predictions
        return examples_of(of.logits, of.labels, of.names, true=true, predicted=predicted, most=2)

    def _show(self, mistakes: Sequence[Mistake]) -> list[_ShownMistake]:
        return [
            _ShownMistake(one, self._predictions.ids[one.index], self._strips.get(one.index, ""))
            for one in mistakes
        ]


def _reliability_tables(
    predictions: Predictions, temperature: float
) -> dict[str, NDArray[np.float64]]:
    # The fitted temperature shows how much of the error is calibration alone.
    logits, labels = predictions.logits, predictions.labels
    return {
        "softmax": reliability(logits, labels),
        f"temperature {temperature:.2f}": reliability(logits, labels, temperature),
    }


def _summary(scores: Scores) -> Table:
    fitted = f"ECE, temperature {scores.temperature:.2f} (fitted on the other half)"
    rows = [
        ("top-1", Share(scores.top1, scores.top1_interval)),
        ("top-5", Share(scores.top5, scores.top5_interval)),
        ("mean-class", Share(scores.mean_class, scores.mean_class_interval)),
        ("always the most frequent class", Share(scores.chance)),
        ("ECE, plain softmax", Share(scores.ece)),
        (fitted, Share(scores.ece_calibrated)),
    ]
    return Table(("figure", f"{scores.clips} clips, 95 % interval"), rows, numbers=(1,))


def time_tests(reversal: ReversalScores | None, shuffle: ShuffleScores | None) -> Table:
    """Return the table of the time tests; without rows if none was made."""
    rows: list[tuple[str, Share]] = []
    if reversal is not None:
        rows.append(("played backwards: another class is given", Share(reversal.changed)))
        # A set without reversed pairs has only the share of changed answers.
        if reversal.reversed_top1 is not None:
            share = Share(reversal.reversed_top1, reversal.reversed_interval)
            rows.append(("played backwards: the reversed class is given (paired classes)", share))

    if shuffle is not None:
        share = Share(shuffle.shuffled_top1, shuffle.shuffled_interval)
        rows.append(("frames shuffled: top-1", share))
        if shuffle.blind_ceiling is not None:
            ceiling = Share(shuffle.blind_ceiling)
            rows.append(("the most that a model blind to order can reach", ceiling))
    return Table(("test", "result"), rows, numbers=(1,))


def _bins(quantity: str, unit: str, bins: Sequence[Bin]) -> Table:
    rows = [
        (
            f"{b.low:.2f} to {b.high:.2f} {unit}",
            ShareBar(b.top1),
            b.clips,
            Share(b.top1, b.interval),
        )
        for b in bins
    ]
    return Table((quantity, "", "clips", "top-1"), rows, numbers=(2, 3))


def _classes(classes: Sequence[ClassScore]) -> Table:
    rows = [
        (row.name, ShareBar(row.accuracy), Share(row.accuracy), row.clips, row.mistaken_for)
        for row in sorted(classes, key=lambda row: row.accuracy)
    ]
    head = ("class", "", "accuracy", "clips", "mostly mistaken for")
    return Table(head, rows, numbers=(2, 3))
