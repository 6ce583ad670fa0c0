"""Score a linear probe of the frozen backbones: ridge regression on pooled cached features.

    I3D="--set model.motion_backbone=i3d"
    gasmcast cache small-data $I3D --data SET --out F --semantic-weights S --motion-weights M
    python docs/experiments/ridge_probe.py SET F S M $I3D [--set spec.pixels=128]

The probe is trained on the training split and scored on the validation split (top-1, 95 %
bootstrap over clips). Every tap of a segment is averaged over its cells, and segments stay apart,
so the probe sees time. Features are standardized. The penalty is the best of seven on three folds
of the training clips, by source.
"""

from __future__ import annotations

import argparse
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from gasmcast.data.source_folds import split_folds
from gasmcast.evaluation.metrics import bootstrap_interval
from gasmcast.features.feature_dataset import FeatureDataset
from gasmcast.models.model import build_model
from gasmcast.training.inputs.training_set import open_training_set

PENALTIES = 10.0 ** np.arange(-1, 6)
FOLDS = 3

Floats = NDArray[np.float64]
Classes = NDArray[np.int64]


def pool_taps(clips: FeatureDataset, shapes: list[tuple[int, ...]]) -> list[Floats]:
    """Return `(N, S x channels)` for each tap: its mean over all axes between first and last."""
    rows = torch.stack([clips[i][0] for i in range(len(clips))]).float()
    # A cached row holds all taps one after another.
    parts = torch.split(rows, [prod(shape) for shape in shapes], 1)

    pooled = []
    for part, shape in zip(parts, shapes, strict=True):
        cells = part.reshape(len(rows), shape[0], -1, shape[-1])  # (N, S, cells, channels)
        pooled.append(cells.mean(2).flatten(1).double().numpy())
    return pooled


def predict(x: Floats, y: Classes, test: Floats, penalty: float) -> Classes:
    """Fit ridge regression on `(x, y)` and return the predicted classes of `test`.

    It is solved in the dual, because there are more features than clips.
    """
    mean, std = x.mean(0), x.std(0) + 1e-6
    # Test features are standardized by the training clips.
    x, test = (x - mean) / std, (test - mean) / std
    targets = np.eye(int(y.max()) + 1)[y]
    center = targets.mean(0)

    # The penalty grows with the features, so that one list serves every stream.
    ridge = penalty * x.shape[1] / 1000 * np.eye(len(x))
    weights = np.linalg.solve(x @ x.T + ridge, targets - center)
    classes: Classes = (test @ x.T @ weights + center).argmax(1)
    return classes


def fold_accuracy(x: Floats, y: Classes, folds: NDArray[np.integer], penalty: float) -> float:
    """Return the mean top-1 of the folds, each predicted from the others."""
    accuracies = []
    for number in range(FOLDS):
        inside = folds == number
        predicted = predict(x[~inside], y[~inside], x[inside], penalty)
        accuracies.append((predicted == y[inside]).mean())
    return float(np.mean(accuracies))


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("features", type=Path, help="folder of feature caches")
    parser.add_argument("semantic_weights")
    parser.add_argument("motion_weights")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the preset"
    )
    return parser.parse_args()


def main() -> None:
    """Print a line per stream, and one for both."""
    args = parse_args()
    # Both files of weights are part of the key of the cache.
    overrides: dict[str, Any] = {
        "model.semantic_weights": args.semantic_weights,
        "model.motion_weights": args.motion_weights,
    }
    for item in args.set:
        key, _, value = item.partition("=")
        overrides.setdefault(key, yaml.safe_load(value))

    run = open_training_set("small-data", args.data, overrides, cache=args.features)
    assert isinstance(run.clips, FeatureDataset)
    assert isinstance(run.validation, FeatureDataset)
    semantic, motion = build_model(run.config).encoder.tap_shapes()
    train_taps = pool_taps(run.clips, [*semantic, *motion])
    test_taps = pool_taps(run.validation, [*semantic, *motion])

    # Clips of one source stay in one fold.
    y, truth = np.array(run.clips.labels), np.array(run.validation.labels)
    groups = [sample.source or sample.id for sample in run.clips.samples]
    folds = split_folds(run.clips.labels, groups, FOLDS, 0)
    streams = {
        "semantic": slice(len(semantic)),
        "motion": slice(len(semantic), None),
        "both": slice(None),
    }
    for name, taps in streams.items():
        x, test = np.concatenate(train_taps[taps], 1), np.concatenate(test_taps[taps], 1)
        on_folds = [fold_accuracy(x, y, folds, penalty) for penalty in PENALTIES]
        penalty = float(PENALTIES[int(np.argmax(on_folds))])

        right = predict(x, y, test, penalty) == truth
        low, high = bootstrap_interval(right.astype(float))
        top1 = f"top-1 {right.mean():6.1%} [{low:.1%}, {high:.1%}]"
        print(f"{name:9s} {top1}; on folds of the training clips {max(on_folds):.1%}")


if __name__ == "__main__":
    main()
