"""What a linear probe reads from the frozen backbones: ridge on pooled features, time kept, from a feature cache.

    gasmcast cache small-data --data SET --out features --semantic-weights S --motion-weights M
    python docs/experiments/ridge_probe.py SET features S M [--set spec.pixels=128]

Trained on the training split, scored on the validation split (top-1, 95 % bootstrap over clips). Every tap of a segment is averaged over
its cells, segments stay apart; features are standardized; the penalty is the best of seven on three folds of the training clips, by source.
"""

from __future__ import annotations

import argparse
from math import prod
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from gasmcast.evaluation.metrics import bootstrap_interval
from gasmcast.features.feature_dataset import FeatureDataset
from gasmcast.models.model import build_model
from gasmcast.training.inputs.training_set import open_training_set
from gasmcast.training.stacking.folds import split_folds

PENALTIES = 10.0 ** np.arange(-1, 6)


def pooled(clips: FeatureDataset, shapes: list[tuple[int, ...]]) -> list[NDArray[np.float64]]:
    """Of each tap `(N, S x channels)`: the mean over all between the first and the last axis."""
    rows = torch.stack([clips[i][0] for i in range(len(clips))]).float()
    parts = torch.split(rows, [prod(shape) for shape in shapes], 1)
    means = [
        part.reshape(len(rows), shape[0], -1, shape[-1]).mean(2)
        for part, shape in zip(parts, shapes, strict=True)
    ]
    return [mean.flatten(1).double().numpy() for mean in means]


def ridge(
    x: NDArray[np.float64], y: NDArray[np.int64], test: NDArray[np.float64], penalty: float
) -> NDArray[np.int64]:
    """Predicted classes of `test`; in the dual, for there are more features than clips."""
    mean, std = x.mean(0), x.std(0) + 1e-6
    x, test = (x - mean) / std, (test - mean) / std
    targets = np.eye(int(y.max()) + 1)[y]
    center = targets.mean(0)
    weights = np.linalg.solve(
        x @ x.T + penalty * x.shape[1] / 1000 * np.eye(len(x)), targets - center
    )
    found: NDArray[np.int64] = (test @ x.T @ weights + center).argmax(1)
    return found


def main() -> None:
    """Print a line a stream."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "features"):
        parser.add_argument(name, type=Path)
    for name in ("semantic_weights", "motion_weights"):
        parser.add_argument(name)
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    stated = {
        key: yaml.safe_load(value) for key, _, value in (item.partition("=") for item in given.set)
    }
    weights = {
        "model.semantic_weights": given.semantic_weights,
        "model.motion_weights": given.motion_weights,
    }
    run = open_training_set("small-data", given.data, {**stated, **weights}, cache=given.features)
    semantic, motion = build_model(run.config).encoder.tap_shapes()
    assert isinstance(run.clips, FeatureDataset)
    assert isinstance(run.validation, FeatureDataset)
    train, held = (pooled(clips, [*semantic, *motion]) for clips in (run.clips, run.validation))
    y, truth = np.array(run.clips.labels), np.array(run.validation.labels)
    folds = split_folds(
        run.clips.labels, [sample.source or sample.id for sample in run.clips.samples], 3, 0
    )
    for name, taps in (
        ("semantic", slice(len(semantic))),
        ("motion", slice(len(semantic), None)),
        ("both", slice(None)),
    ):
        x, test = np.concatenate(train[taps], 1), np.concatenate(held[taps], 1)
        scores = [
            np.mean(
                [
                    (ridge(x[folds != k], y[folds != k], x[folds == k], p) == y[folds == k]).mean()
                    for k in range(3)
                ]
            )
            for p in PENALTIES
        ]
        best = float(PENALTIES[int(np.argmax(scores))])
        right = ridge(x, y, test, best) == truth
        low, high = bootstrap_interval(right.astype(float))
        print(
            f"{name:9s} top-1 {right.mean():6.1%} [{low:.1%}, {high:.1%}]; on folds of the training clips {max(scores):.1%}"
        )


if __name__ == "__main__":
    main()
