"""Write the error analysis of an evaluation: pictures, and one HTML page that stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gasmcast.evaluation.evaluation import Evaluation
from gasmcast.evaluation.metrics import confusion, hits, reliability
from gasmcast.evaluation.mistakes import Bin, Mistake, by_quantity, examples_of, worst_clips
from gasmcast.evaluation.scores import ClassScore, Scores
from gasmcast.evaluation.time_tests import ReversalScores, ShuffleScores
from gasmcast.files import write_atomic
from gasmcast.report.charts import frame_strip
from gasmcast.report.html import Share, ShareBar, Table, data_uri, render
from gasmcast.report.plots import draw_confusion, draw_reliability
from gasmcast.video.reader import duration_s

__all__ = ["write_analysis", "write_pictures"]


@dataclass(frozen=True)
class _ShownMistake:
    """Mistake with the name and frames of its clip."""

    mistake: Mistake
    name: str
    strip: str
    """Data URI of frames of the window."""


@dataclass(frozen=True)
class _ShownPair:
    """Pair of confused classes with examples of both directions."""

    first: str
    second: str
    share: float
    clips: Sequence[_ShownMistake]


def write_pictures(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write confusion matrix and reliability diagram as PNG files, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    logits, labels = evaluation.logits, evaluation.labels
    matrix, diagram = folder / "confusion.png", folder / "reliability.png"

    draw_confusion(confusion(logits, labels), evaluation.classifier.labels.names, matrix)

    # The fitted temperature shows how much of the error is calibration alone.
    temperature = evaluation.scores.temperature
    tables = {
        "softmax": reliability(logits, labels),
        f"temperature {temperature:.2f}": reliability(logits, labels, temperature),
    }
    draw_reliability(tables, diagram)
    return [matrix, diagram]


def write_analysis(evaluation: Evaluation, folder: Path) -> Path:
    """Write the error analysis as `index.html` with its pictures, and return the page."""
    correct = hits(evaluation.logits, evaluation.labels)

    # Lengths are read from the videos, because scores do not need them.
    paths = [evaluation.clips.samples[i].path for i in evaluation.positions]
    lengths_s = np.array([duration_s(str(path)) for path in paths])
    gallery = _Gallery(evaluation)

    # The page embeds the pictures, so that it can be moved without them.
    pictures = [
        {"uri": data_uri(path.read_bytes(), "png"), "alt": path.stem}
        for path in write_pictures(evaluation, folder)
    ]
    content = render(
        "evaluation.html.j2",
        title=evaluation.title,
        summary=_summary(evaluation.scores),
        time_tests=_time_tests(evaluation.reversal, evaluation.shuffle),
        pictures=pictures,
        by_length=_bins("clip length", "s", by_quantity(lengths_s, correct)),
        by_motion=_bins("motion", "gray levels a frame", by_quantity(evaluation.motion, correct)),
        confused=gallery.confused_pairs(),
        worst=gallery.worst(),
        classes=_classes(evaluation.scores.classes),
    )

    page = folder / "index.html"
    write_atomic(page, content)
    return page


class _Gallery:
    """Misclassified clips with their frames; a clip that is shown twice is decoded once."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.names = list(evaluation.classifier.labels.names)
        self.ids = evaluation.ids
        self.strips: dict[int, str] = {}

    def worst(self) -> list[_ShownMistake]:
        """Return the clips of the largest loss."""
        logits, labels = self.evaluation.logits, self.evaluation.labels
        return self._show(worst_clips(logits, labels, self.names))

    def confused_pairs(self, most: int = 10) -> list[_ShownPair]:
        """Return the most confused pairs with up to two examples of each direction."""
        pairs = []
        for pair in self.evaluation.scores.confused[:most]:
            clips = self._examples(pair.first, pair.second)
            # Both directions are shown: often only one of them is systematic.
            clips += self._examples(pair.second, pair.first)
            pairs.append(_ShownPair(pair.first, pair.second, pair.share, clips))
        return pairs

    def _examples(self, true: str, predicted: str) -> list[_ShownMistake]:
        logits, labels = self.evaluation.logits, self.evaluation.labels
        return self._show(
            examples_of(logits, labels, self.names, true=true, predicted=predicted, most=2)
        )

    def _show(self, mistakes: Sequence[Mistake]) -> list[_ShownMistake]:
        shown = []
        for mistake in mistakes:
            row = mistake.index
            # Decoding a clip costs far more than keeping its strip.
            if row not in self.strips:
                self.strips[row] = data_uri(frame_strip(self.evaluation.clip(row)), "jpeg")
            shown.append(_ShownMistake(mistake, self.ids[row], self.strips[row]))
        return shown


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


def _time_tests(reversal: ReversalScores | None, shuffle: ShuffleScores | None) -> Table:
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
        (row.name, row.mistaken_for, row.clips, Share(row.accuracy))
        for row in sorted(classes, key=lambda row: row.accuracy)
    ]
    return Table(("class", "mostly mistaken for", "clips", "accuracy"), rows, numbers=(2, 3))
