"""An evaluation and what it leaves: figures, tests of time, pictures, error analysis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gasmcast.data.annotations import Split, read_labels, read_split, usable
from gasmcast.data.dataset import ClipDataset
from gasmcast.data.views import ViewClips, parse_views
from gasmcast.errors import UsageError
from gasmcast.evaluation.classifier import Subject
from gasmcast.evaluation.metrics import confusion, reliability
from gasmcast.evaluation.mistakes import motion_amount
from gasmcast.evaluation.page import write_page
from gasmcast.evaluation.predict import average_views, predict
from gasmcast.evaluation.scores import Scores, judge
from gasmcast.evaluation.time_tests import (
    ReversalScores,
    ShuffleScores,
    judge_reversed,
    judge_shuffled,
    reverse_clips,
    shuffle_clips,
)
from gasmcast.labels import Labels
from gasmcast.report.plots import draw_confusion, draw_reliability
from gasmcast.video.reader import duration_s

__all__ = ["Examination", "write_pictures"]


class Examination:
    """One subject on one split; the clips are decoded once, whatever is asked of them.

    Raises:
        UsageError: the set's classes are not the subject's, no annotated clips, a wrong --views.
    """

    def __init__(
        self,
        subject: Subject,
        data: Path,
        split: str,
        *,
        backwards: bool = False,
        shuffled: bool = False,
        views: str = "1x1",
        batch_size: int = 8,
        workers: int = 0,
        quiet: bool = False,
    ) -> None:
        if read_labels(data) != subject.labels:
            raise UsageError(
                f"{data} has other classes than {subject.name} was trained on.",
                "Evaluate on a set of the same classes.",
            )
        self.subject = subject
        windows, crops = parse_views(views)
        self.views = windows * crops
        self.title = f"{subject.name} on {data.name}/{split}"
        samples = usable(read_split(data, cast("Split", split)), data)
        self.clips = (
            ClipDataset(samples, subject.spec)
            if self.views == 1
            else ViewClips(samples, subject.spec, windows, crops)
        )
        self._motion: list[NDArray[np.float64]] = []
        self._shuffled_count = 0
        changes: list[Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = [self._measured]
        changes += [reverse_clips] if backwards else []
        changes += [self._shuffled] if shuffled else []
        parts, self.labels = self._decide(
            changes, batch_size, workers, Console(stderr=True, quiet=quiet)
        )
        self.logits = parts[0]
        self.scores: Scores = judge(self.logits, self.labels, subject.labels.names)
        names = subject.labels.names
        self.reversal: ReversalScores | None = (
            judge_reversed(self.logits, parts[1], self.labels, names) if backwards else None
        )
        self.shuffle: ShuffleScores | None = (
            judge_shuffled(self.logits, parts[-1], self.labels, names) if shuffled else None
        )

    def _measured(self, clips: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self._motion.append(motion_amount(clips))
        return clips

    def _shuffled(self, clips: NDArray[np.uint8]) -> NDArray[np.uint8]:
        first = self._shuffled_count  # clips come in order, whatever the size of a batch
        self._shuffled_count += len(clips)
        return shuffle_clips(clips, first)

    def _decide(
        self,
        changes: list[Callable[[NDArray[np.uint8]], NDArray[np.uint8]]],
        batch_size: int,
        workers: int,
        console: Console,
    ) -> tuple[list[NDArray[np.float32]], NDArray[np.int64]]:
        """Logits `(N, classes)` of the clips after each change, views averaged, and labels."""

        def run(clips: NDArray[np.uint8]) -> NDArray[np.floating]:
            return np.concatenate([self.subject.run(change(clips)) for change in changes], axis=1)

        columns = (
            TextColumn("evaluating"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", total=len(self.clips))

            def on_batch(done: int, count: int) -> None:
                progress.update(task, completed=done, total=count)

            logits, labels = predict(
                run, self.clips, batch_size=batch_size, workers=workers, on_batch=on_batch
            )
        parts = np.split(logits, len(changes), axis=1)
        if self.views == 1:
            return parts, labels
        return [
            average_views(part.reshape(-1, self.views, part.shape[1])) for part in parts
        ], labels[:: self.views]

    @property
    def ids(self) -> list[str]:
        """The names of the clips that were counted, in the order of the logits."""
        failed = set(self.clips.failures())
        return [sample.id for sample in self.clips.samples if sample.id not in failed]

    def analysis(self, folder: Path) -> Path:
        """Write the error analysis; returns its page."""
        failed = set(self.clips.failures())
        kept = [i for i, sample in enumerate(self.clips.samples) if sample.id not in failed]
        motion = np.concatenate(self._motion)[:: self.views][kept]
        lengths = np.array([duration_s(str(self.clips.samples[i].path)) for i in kept])
        path = folder / "index.html"
        write_page(
            path,
            self.title,
            self.logits,
            self.labels,
            self.subject.labels.names,
            scores=self.scores,
            ids=self.ids,
            clip_of=lambda number: self.clips[kept[number] * self.views][0].numpy(),
            lengths_s=lengths,
            motion=motion,
            pictures=write_pictures(
                folder, self.logits, self.labels, self.subject.labels, self.scores
            ),
            reversal=self.reversal,
            shuffle=self.shuffle,
        )
        return path


def write_pictures(
    folder: Path,
    logits: NDArray[np.floating],
    labels: NDArray[np.integer],
    names: Labels,
    scores: Scores,
) -> list[Path]:
    """Confusion matrix and reliability diagram."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_confusion(confusion(logits, labels), names.names, folder / "confusion.png")
    t = scores.temperature
    tables = {
        "softmax": reliability(logits, labels),
        f"temperature {t:.2f}": reliability(logits, labels, t),
    }
    draw_reliability(tables, folder / "reliability.png")
    return [folder / "confusion.png", folder / "reliability.png"]
