"""Score each read-out of guarded runs and what their stream weights make of them, clip by clip.

    python docs/experiments/read_outs.py DATA FEATURES RUN [RUN ...]

RUN is the folder of a guarded run (of `train` or of a row of `ablate`). Several runs are seeds of
one row; the table shows their mean. FEATURES are the caches with which they were trained.

The first table is of the validation clips, with stream weights fitted on the run's folds by
today's code (a run without folds uses its own). The second table, if there are folds, is of the
training clips, each scored by the fold that did not see it, with stream weights fitted on the other
folds. The plain mean is that of the two streams' log-probabilities.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gasmcast.config import Config
from gasmcast.data.source_folds import split_folds
from gasmcast.evaluation.metrics import log_softmax
from gasmcast.features.feature_dataset import FeatureDataset
from gasmcast.models.checkpoint import load_checkpoint
from gasmcast.training.inputs.training_set import open_training_set
from gasmcast.training.stacking.clip_subset import ClipSubset
from gasmcast.training.stacking.folds import score_read_outs
from gasmcast.training.stacking.stream_weights import READ_OUTS, fit_stream_weights

DRAWS = 4000

Hits = dict[str, np.ndarray]
"""Whether each read-out is right: `(N,)` bool by name of the read-out."""


class FoldScores(NamedTuple):
    """Scores of the training clips, each by the fold that did not see it."""

    scores: np.ndarray
    """Logits `(R, N, classes)` of the read-outs, fold after fold."""
    truth: np.ndarray
    """Classes `(N,)`."""
    fold: np.ndarray
    """Fold `(N,)` of each row."""
    clip: np.ndarray
    """Number `(N,)` of the clip of each row in the training set."""


class RunHits(NamedTuple):
    """Hits of one run."""

    validation: Hits
    folds: Hits
    """Hits on the training clips in their own order; empty for a run without folds."""


def mix(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return `(N, classes)`: the read-outs `(R, N, classes)` mixed by `(R,)` weights."""
    return np.tensordot(weights / weights.sum(), scores, 1)


def find_hits(scores: np.ndarray, mixture: np.ndarray, truth: np.ndarray) -> Hits:
    """Return the hits of each read-out, of the streams' plain mean, and of the mixture."""
    hits = {name: scores[i].argmax(-1) == truth for i, name in enumerate(READ_OUTS)}
    hits["mean"] = scores[:2].mean(0).argmax(-1) == truth
    hits["model"] = mixture.argmax(-1) == truth
    return hits


def difference(hit: np.ndarray, base: np.ndarray) -> str:
    """Return the points from `base` to `hit` with a paired 95 % bootstrap over clips."""
    # Paired by clip, so that the interval does not contain how hard the clips are.
    points = 100 * (hit - base)
    draws = np.random.default_rng(0).integers(0, len(points), (DRAWS, len(points)))
    low, high = np.percentile(points[draws].mean(1), [2.5, 97.5])
    return f"{points.mean():+5.1f} [{low:+.1f}, {high:+.1f}]"


def print_table(title: str, runs: list[Hits]) -> None:
    """Print top-1 of each read-out, mean of the runs, and against the better stream."""
    mean = {name: np.mean([run[name] for run in runs], 0) for name in runs[0]}
    best = max(("semantic", "motion"), key=lambda name: mean[name].mean())
    print(f"{title}, {len(mean[best])} clips, {len(runs)} runs; the best stream is {best}")

    for name, hit in mean.items():
        by_run = " ".join(f"{100 * run[name].mean():.1f}" for run in runs)
        against = f"against {best} {difference(hit, mean[best])}"
        print(f"  {name:9} {100 * hit.mean():5.1f} %   {against}   by run {by_run}")
    print(f"  fused against mean {difference(mean['fused'], mean['mean'])}")


def score_folds(run: Path, clips: FeatureDataset, config: Config) -> FoldScores:
    """Score every training clip by the fold of the run that did not see it."""
    count = config.train.stream_weight_folds
    # The run split its clips by source; the same seed gives the same folds.
    groups = [sample.source or sample.id for sample in clips.samples]
    fold = split_folds(clips.labels, groups, count, config.train.seed)

    scores, truth, numbers = [], [], []
    for number in range(count):
        members = np.flatnonzero(fold == number)
        checkpoint = run / "folds" / f"fold{number}" / "last.safetensors"
        rows, classes = score_read_outs(checkpoint, ClipSubset(clips.plain(), members), config)
        scores.append(rows)
        truth.append(classes)
        numbers.append(members)

    return FoldScores(
        scores=np.concatenate(scores, 1),
        truth=np.concatenate(truth),
        fold=np.repeat(np.arange(count), [len(members) for members in numbers]),
        clip=np.concatenate(numbers),
    )


def cross_fit(folds: FoldScores) -> Hits:
    """Return the hits on the training clips, with stream weights fitted on the other folds."""
    # Weights that are fitted on a clip must not score it.
    logs = log_softmax(folds.scores.astype(np.float64))
    mixture = np.empty(logs.shape[1:])
    for number in range(folds.fold.max() + 1):
        inside = folds.fold == number
        weights = fit_stream_weights(folds.scores[:, ~inside], folds.truth[~inside])
        mixture[inside] = mix(logs[:, inside], weights)

    # Runs are averaged clip by clip, so the rows return to the order of the training set.
    order = np.argsort(folds.clip)
    return {name: hit[order] for name, hit in find_hits(logs, mixture, folds.truth).items()}


def score_run(run: Path, data: Path, features: Path) -> RunHits:
    """Score one run on the validation clips and, if it has folds, on the training clips."""
    opened = open_training_set(run / "config.yaml", data, {}, cache=features)
    assert isinstance(opened.clips, FeatureDataset)
    assert opened.validation is not None

    # The last weights: the best ones were chosen on these validation clips.
    config = load_checkpoint(run / "last.safetensors")[1]
    rows, truth = score_read_outs(run / "last.safetensors", opened.validation, config)
    logs = log_softmax(rows.astype(np.float64))
    if not config.train.stream_weight_folds:
        return RunHits(find_hits(logs, mix(logs, np.array(config.model.stream_weights)), truth), {})

    # Today's fit on the run's folds, which may differ from what the run stored.
    folds = score_folds(run, opened.clips, config)
    weights = fit_stream_weights(folds.scores, folds.truth)
    shares = (f"{name} {share:.2f}" for name, share in zip(READ_OUTS, weights, strict=True))
    print(run, "stream weights", ", ".join(shares))
    return RunHits(find_hits(logs, mix(logs, weights), truth), cross_fit(folds))


def main() -> None:
    """Score the runs and print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("features", type=Path, help="feature caches of the runs")
    parser.add_argument("runs", type=Path, nargs="+", metavar="run", help="folder of a guarded run")
    args = parser.parse_args()

    torch.set_num_threads(1)  # small matrices: more threads only wait for each other
    scored = [score_run(run, args.data, args.features) for run in args.runs]
    print_table("validation", [run.validation for run in scored])
    if all(run.folds for run in scored):
        title = "training clips by the fold that did not see them, weights of the other folds"
        print_table(title, [run.folds for run in scored])


if __name__ == "__main__":
    main()
