"""Evaluate a classifier on one split of a data set: scores and time tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.annotations import Split, read_labels, read_split, usable
from gasmcast.data.clip_set import ClipSet
from gasmcast.data.clip_window import fit_tempo
from gasmcast.data.dataset import ClipDataset
from gasmcast.data.set_check import check_data
from gasmcast.data.views import ViewClips, parse_views
from gasmcast.errors import UsageError
from gasmcast.evaluation.classifier import Classifier
from gasmcast.evaluation.mistakes import motion_amount
from gasmcast.evaluation.predict import average_views, check_finite, predict
from gasmcast.evaluation.scores import Scores, score
from gasmcast.evaluation.time_tests import (
    ReversalScores,
    ShuffleScores,
    reverse_clips,
    score_reversed,
    score_shuffled,
    shuffle_clips,
)
from gasmcast.progress import Progress, silent

__all__ = ["Evaluation", "evaluate_split"]

Clips = NDArray[np.uint8]


@dataclass(frozen=True)
class Evaluation:
    """Result of one classifier on one split, with what an error analysis needs.

    Arrays have one row for each of the N clips that decode, in the order of the split.
    """

    classifier: Classifier
    """Classifier with the clip spec of the evaluation."""
    tempo: float
    """How many times as fast as in the training the actions are taken to be."""
    title: str
    """Classifier and split, for people."""
    leak: str
    """Sentence about sources that are in train, too, and were allowed; empty without any."""
    clips: ClipDataset | ViewClips
    """Clips of the split, views included."""
    view_count: int
    """Views of each clip."""
    positions: tuple[int, ...]
    """Position in the split of each row."""
    logits: NDArray[np.float32]
    """`(N, classes)`, views averaged."""
    labels: NDArray[np.int64]
    """`(N,)`."""
    motion: NDArray[np.float64]
    """`(N,)` mean change between frames, in gray levels."""
    scores: Scores
    reversal: ReversalScores | None
    """Scores of the clips played backwards; None if not asked for."""
    shuffle: ShuffleScores | None
    """Scores of the clips with shuffled frames; None if not asked for."""

    @property
    def ids(self) -> list[str]:
        """Name of the clip of each row."""
        return [self.clips.samples[i].id for i in self.positions]

    @property
    def unreadable(self) -> list[str]:
        """Names of the clips that do not decode."""
        return self.clips.failures()

    def clip(self, row: int) -> Clips:
        """Return the pixels of a row's clip, `(1+S, F, H, W, 3)`, of its first view."""
        return np.asarray(self.clips[self.positions[row] * self.view_count][0].numpy())


class _Variants:
    """Logits of each clip as it is, backwards and shuffled, from one pass over the videos.

    The amount of motion is measured on the way, because pixels are not kept.
    """

    def __init__(self, classifier: Classifier, *, backwards: bool, shuffled: bool) -> None:
        self.classifier = classifier
        self.changes: list[Callable[[Clips], Clips]] = [self._measure]
        if backwards:
            self.changes.append(reverse_clips)
        if shuffled:
            self.changes.append(self._shuffle)
        self.motion: list[NDArray[np.float64]] = []
        self.shuffled_count = 0

    def __call__(self, clips: Clips) -> NDArray[np.floating]:
        """Return `(B, variants * classes)` logits."""
        variants = [self.classifier.logits(change(clips)) for change in self.changes]
        return np.concatenate(variants, axis=1)

    def _measure(self, clips: Clips) -> Clips:
        self.motion.append(motion_amount(clips))
        return clips

    def _shuffle(self, clips: Clips) -> Clips:
        # Clips arrive in order, so the count numbers them whatever the size of a batch.
        first = self.shuffled_count
        self.shuffled_count += len(clips)
        return shuffle_clips(clips, first)


def evaluate_split(
    classifier: Classifier,
    data: Path,
    split: Split = "validation",
    *,
    backwards: bool = False,
    shuffled: bool = False,
    views: str = "1x1",
    tempo: float | None = None,
    batch_size: int = 8,
    workers: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """Return the evaluation of a classifier; each clip is decoded once, whatever is asked for.

    Args:
        classifier: from `open_classifier`.
        data: data set in any format.
        split: an annotated split.
        backwards: also classify every clip played backwards.
        shuffled: also classify every clip with its frames shuffled.
        views: windows x crops whose softmax is averaged, such as "2x3".
        tempo: how many times as fast as in the training the actions are. None: 1; or by the length
            of the clips, if the window was fitted to that of the training clips.
        batch_size: clips in a batch.
        workers: decoding processes; 0 decodes in this process.
        progress: reports clips done.

    Raises:
        UsageError: the set has other classes than the classifier, the split has no annotated
            clips, or `views` is malformed.
        MachineError: a decoding process died.
        GateError: a logit is not a finite number.
    """
    if read_labels(data) != classifier.labels:
        raise UsageError(
            f"{data} has other classes than {classifier.name} was trained on.",
            "Evaluate on a set of the same classes.",
        )
    leak = check_data(data)
    windows, crops = parse_views(views)
    view_count = windows * crops

    samples = usable(read_split(data, split), data)
    if tempo is None:
        tempo = fit_tempo(classifier.spec, samples) if classifier.fits_clips else 1.0
    classifier = replace(classifier, spec=classifier.spec.at_tempo(tempo))

    # 1x1 is the plain set; views of one window and one crop would give the same clips.
    clips: ClipDataset | ViewClips
    if view_count == 1:
        clips = ClipDataset(samples, classifier.spec)
    else:
        clips = ViewClips(samples, classifier.spec, windows, crops)

    # One pass gives the logits of all variants of a clip side by side.
    variants = _Variants(classifier, backwards=backwards, shuffled=shuffled)
    parts, labels = _predict(
        variants,
        clips,
        view_count=view_count,
        batch_size=batch_size,
        workers=workers,
        progress=progress,
    )
    logits = parts[0]
    check_finite(np.concatenate(parts, axis=1), classifier.name)

    # Unreadable clips have no row in the logits, but their placeholder pixels were measured.
    failed = set(clips.failures())
    positions = [i for i, sample in enumerate(clips.samples) if sample.id not in failed]
    names = classifier.labels.names
    return Evaluation(
        classifier=classifier,
        tempo=tempo,
        title=_title(classifier, data, split, tempo=tempo, leak=leak),
        leak=leak,
        clips=clips,
        view_count=view_count,
        positions=tuple(positions),
        logits=logits,
        labels=labels,
        motion=np.concatenate(variants.motion)[::view_count][positions],
        scores=score(logits, labels, names),
        reversal=score_reversed(logits, parts[1], labels, names) if backwards else None,
        shuffle=score_shuffled(logits, parts[-1], labels, names) if shuffled else None,
    )


def _title(classifier: Classifier, data: Path, split: Split, *, tempo: float, leak: str) -> str:
    """Return what was evaluated, for people."""
    at = "" if tempo == 1 else f" at tempo {tempo:g}"
    return f"{classifier.name} on {data.name}/{split}{at}" + (f" ({leak})" if leak else "")


def _predict(
    variants: _Variants,
    clips: ClipSet,
    *,
    view_count: int,
    batch_size: int,
    workers: int,
    progress: Progress,
) -> tuple[list[NDArray[np.float32]], NDArray[np.int64]]:
    """Return `(N, classes)` logits of each variant with views averaged, and `(N,)` labels."""
    logits, labels = predict(
        variants, clips, batch_size=batch_size, workers=workers, progress=progress
    )
    parts = np.split(logits, len(variants.changes), axis=1)  # (N * V, classes) each
    if view_count == 1:
        return parts, labels

    # All views of a clip follow each other, and so do their labels.
    averaged = [
        average_views(part.reshape(-1, view_count, part.shape[1]))  # (N, V, classes)
        for part in parts
    ]
    return averaged, labels[::view_count]
