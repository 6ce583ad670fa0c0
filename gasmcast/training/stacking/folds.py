"""Train a model for each cross-validation fold of the training set, and score its clips.

Each fold trains on the others and scores its own clips; clips cut from the same footage stay
together. No validation clip is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gasmcast.config import Config
from gasmcast.data.clip_set import ClipSet, TrainingClips
from gasmcast.data.source_folds import split_folds
from gasmcast.evaluation.predict import check_finite, predict
from gasmcast.labels import Labels
from gasmcast.models.checkpoint import load_checkpoint
from gasmcast.progress import Progress, silent
from gasmcast.training.clip_targets import ClipTargets
from gasmcast.training.distributed import Distributed
from gasmcast.training.loop import train
from gasmcast.training.stacking.clip_subset import ClipSubset, NumberedClips
from gasmcast.training.stacking.stream_weights import READ_OUTS, fits_stream_weights

__all__ = ["FOLDER", "FoldRuns", "score_read_outs", "train_folds"]

FOLDER = "folds"


class FoldRuns(NamedTuple):
    """Logits of the fold models for the clips that are held out from them."""

    logits: list[NDArray[np.float32]]
    """`(R, N, classes)` logits of the R read-outs, by fold."""
    clips: list[NDArray[np.int64]]
    """`(N,)` positions of the clips that decode, by fold."""
    stopped: str
    """Name of the signal that stopped a fold, or empty."""


def train_folds(
    config: Config,
    clips: TrainingClips,
    plain: TrainingClips,
    *,
    groups: Sequence[str],
    videos: Sequence[Path | None] | None = None,
    folds: int,
    labels: Labels,
    folder: Path,
    resume: bool = False,
    clip_targets: ClipTargets | None = None,
    progress: Progress = silent,
) -> FoldRuns:
    """Train a model for each fold on the other folds, and score the clips of the fold with it.

    A fold that is finished is not trained again.

    Args:
        config: configuration of the run.
        clips: augmented training clips.
        plain: the same clips without augmentation.
        groups: source of each clip; the clip's name if it is unknown.
        videos: video of each clip. A clip without a class does not train the fold that holds out
            clips of its video; None: videos are unknown, and only its source counts.
        folds: number of folds.
        labels: class names.
        folder: the run folder.
        resume: continue with folds that exist.
        clip_targets: targets of clips that differ from their class. Clips without a class train
            every fold that holds out none of their recording, and are scored in none.
        progress: called before each fold with a sentence.

    Raises:
        UsageError: too few groups, or what `train` raises.
    """
    # Clips without a class are in no fold.
    without = frozenset[str]() if clip_targets is None else clip_targets.no_class
    judged = [i for i, name in enumerate(clips.ids) if name not in without]
    fold = np.full(len(clips), -1)
    fold[judged] = split_folds(
        [clips.labels[i] for i in judged],
        [groups[i] for i in judged],
        folds,
        config.train.seed,
    )

    runs = FoldRuns([], [], "")
    for k in range(folds):
        place = folder / FOLDER / f"fold{k}"
        chosen = np.flatnonzero(fold == k)
        sources = len({groups[i] for i in chosen.tolist()})
        progress(f"Fold {k + 1} of {folds}: {len(chosen)} clips of {sources} sources are held out.")
        others = ClipSubset(clips, _clips_of_other_recordings(fold, k, groups, videos))
        summary = train(
            config, others, None, labels, place, resume=resume, clip_targets=clip_targets
        )
        if summary["stopped"]:
            return runs._replace(stopped=str(summary["stopped"]))

        # Numbers in place of labels say which clips decode.
        held_out = NumberedClips(plain, chosen)
        scores, numbers = score_read_outs(place / str(summary["checkpoint"]), held_out, config)
        runs.logits.append(scores)
        runs.clips.append(chosen[numbers])
        check_finite(scores.transpose(1, 0, 2).reshape(len(numbers), -1), str(place))
    return runs


def _clips_of_other_recordings(
    fold: NDArray[np.int64], k: int, groups: Sequence[str], videos: Sequence[Path | None] | None
) -> NDArray[np.int64]:
    """Return the positions of the clips that train fold `k`.

    Clips without a class, such as background, are in no fold (-1). Those of a recording that is
    held out would show the model its place and light.
    """
    held_out = np.flatnonzero(fold == k).tolist()
    sources = {groups[i] for i in held_out}
    files = set() if videos is None else {videos[i] for i in held_out} - {None}
    others = []
    for i in np.flatnonzero(fold != k).tolist():
        is_known = groups[i] in sources or (videos is not None and videos[i] in files)
        if fold[i] >= 0 or not is_known:
            others.append(i)
    return np.array(others, np.int64)


def score_read_outs(
    checkpoint: Path, clips: ClipSet, config: Config
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return logits `(R, N, classes)` of the read-outs of a checkpoint, and labels `(N,)`.

    A model whose stream weights are fitted has a read-out for each stream and one for both; of any
    other model its answer is taken.

    Args:
        checkpoint: file of a model.
        clips: clips to score; those that do not decode are left out.
        config: configuration of the run.
    """
    # The weights of the fold, on the device of this process.
    model = load_checkpoint(checkpoint)[0]
    processes = Distributed()
    model.to(processes.device)
    classes = config.model.classes

    def classify(batch: Any) -> NDArray[np.float32]:  # noqa: ANN401 - pixels, or rows of a cache
        with torch.inference_mode():
            features = model.encode(torch.as_tensor(batch).to(processes.device))
            if not fits_stream_weights(config):
                return np.asarray(model.classify(features).float().cpu().numpy(), np.float32)
            scores = model.classify_streams(features)
        present = [scores[name].float().cpu().numpy() for name in READ_OUTS if name in scores]
        return np.concatenate(present, 1)  # (B, R * classes)

    # `predict` knows rows of one width, so the read-outs lie side by side in it.
    rows, labels = predict(
        classify,
        clips,
        batch_size=config.train.batch_size,
        workers=config.train.workers,
        processes=processes,
    )
    parts = [rows[:, i : i + classes] for i in range(0, rows.shape[1], classes)]
    return np.stack(parts), labels
