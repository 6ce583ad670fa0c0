"""Background in a training: windows in which no action happens, and what a model learns of them.

Every class is as likely as any other in the background. This is outlier exposure ("Deep Anomaly
Detection with Outlier Exposure", Hendrycks et al. 2019): logits on what is no action become flat,
and the no-action threshold rejects more of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from gasmcast.data.background_windows import background_windows, find_background
from gasmcast.data.sample import Sample
from gasmcast.errors import UsageError
from gasmcast.evaluation.teacher_opinion import POOLED
from gasmcast.training.clip_targets import ClipTargets

__all__ = ["UNLABELED", "add_background", "find_background_clips"]

UNLABELED = "unlabeled"
"""Value of `train.background` that takes the unlabeled time of the training videos alone."""
PREFIX = "background/"
"""Begins the ids of background, so that none is the id of an annotated clip."""


def find_background_clips(
    background: str, data: Path, window_s: float, clips: Sequence[Sample], classes: int
) -> list[Sample]:
    """Return windows of background for a training, at most half as many as there are clips.

    The unlabeled time of the training videos is part of it.

    Args:
        background: a video, a folder of videos, or `UNLABELED`.
        data: the data set.
        window_s: length of a window in seconds.
        clips: training clips.
        classes: number of classes. They are given in turn, because balancing and feature caches
            need one for each clip; nothing is learned from it.

    Raises:
        UsageError: the place does not exist or holds no video, or no window fits.
        SourceError: a video cannot be read.
    """
    videos = [] if background == UNLABELED else find_background([Path(background)])
    count = max(1, len(clips) // 2)
    windows = background_windows(videos, window_s, count, data=data, split="train")
    if not windows:
        raise UsageError(
            f"train.background: {background} gives no window of {window_s:.1f} s.",
            "Give longer videos in which no action happens.",
        )
    return [
        replace(window, id=f"{PREFIX}{window.id}", label=number % classes)
        for number, window in enumerate(windows)
    ]


def add_background(
    targets: ClipTargets | None, windows: Sequence[Sample], classes: int
) -> ClipTargets:
    """Return targets in which every class is as likely in the background.

    Args:
        targets: targets of a teacher; None: there is none.
        windows: from `find_background_clips`.
        classes: number of classes.
    """
    if targets is None:
        empty = torch.empty(0, classes)
        targets = ClipTargets(rows={}, probabilities={POOLED: empty}, no_class=frozenset(), share=0)

    even = torch.full((1, classes), 1 / classes)
    names = [window.id for window in windows]
    row = len(targets.probabilities[POOLED])
    return ClipTargets(
        rows={**targets.rows, **dict.fromkeys(names, row)},
        probabilities={
            name: torch.cat([table, even.to(table)])
            for name, table in targets.probabilities.items()
        },
        no_class=targets.no_class | set(names),
        share=targets.share,
    )
