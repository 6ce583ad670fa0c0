"""What each read-out of guarded runs knows, and what their gates make of them, clip by clip.

    python docs/experiments/read_outs.py DATA FEATURES RUN [RUN ...]

RUN is the folder of a guarded run (of `train` or of a row of `ablate`); several are seeds of one row, whose mean is told. FEATURES are
the caches that they were trained from. First on the validation clips, by a gate fitted on the run's folds as today's code does it (without
folds, by its own); then, where there are folds, on the training clips, each scored by the fold that did not see it, with a gate fitted on
the other folds. The plain mean is of the two streams' log-probabilities.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from gasmcast.evaluation.metrics import log_softmax
from gasmcast.models.checkpoint import load_checkpoint
from gasmcast.training.inputs.training_set import open_training_set
from gasmcast.training.stacking.clip_subset import ClipSubset
from gasmcast.training.stacking.folds import READ_OUTS, score_read_outs, split_folds
from gasmcast.training.stacking.stream_weights import fit_stream_weights

DRAWS = 4000


def mixed(scores: np.ndarray, gate: np.ndarray) -> np.ndarray:
    """`(N, classes)` from `(R, N, classes)` and `(R,)`."""
    return np.tensordot(gate / gate.sum(), scores, 1)


def hits(scores: np.ndarray, gated: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """`(N,)` whether each read-out is right, the plain mean of the streams, and the gate's mixture."""
    found = {name: scores[i].argmax(-1) == truth for i, name in enumerate(READ_OUTS)}
    return found | {
        "mean": scores[:2].mean(0).argmax(-1) == truth,
        "gated": gated.argmax(-1) == truth,
    }


def table(title: str, runs: list[dict[str, np.ndarray]]) -> None:
    """Top-1 of each, mean of the runs, and against the better of the two streams: paired 95 % bootstrap over clips."""
    mean = {name: np.mean([run[name] for run in runs], 0) for name in runs[0]}
    best = max(("semantic", "motion"), key=lambda name: mean[name].mean())
    print(f"{title}, {len(mean[best])} clips, {len(runs)} runs; the best stream is {best}")
    for name, hit in mean.items():
        single = " ".join(f"{100 * run[name].mean():.1f}" for run in runs)
        print(
            f"  {name:9} {100 * hit.mean():5.1f} %   against {best} {step(hit, mean[best])}   by run {single}"
        )
    print(f"  fused against mean {step(mean['fused'], mean['mean'])}")


def step(hit: np.ndarray, base: np.ndarray) -> str:
    """Points from one to the other."""
    points = 100 * (hit - base)
    draws = np.random.default_rng(0).integers(0, len(points), (DRAWS, len(points)))
    low, high = np.percentile(points[draws].mean(1), [2.5, 97.5])
    return f"{points.mean():+5.1f} [{low:+.1f}, {high:+.1f}]"


def read(
    run: Path, data: Path, features: Path
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Of a run: on the validation clips, and on the training clips in their own order, empty where there are no folds."""
    opened = open_training_set(run / "config.yaml", data, {}, cache=features)
    assert opened.validation is not None
    config = load_checkpoint(run / "last.safetensors")[1]
    rows, truth = score_read_outs(run / "last.safetensors", opened.validation, config)
    scores = log_softmax(rows.astype(np.float64))
    plain, count = opened.clips.plain(), config.train.gate_folds
    if not count:
        return hits(scores, mixed(scores, np.array(config.model.gate)), truth), {}
    groups = [sample.source or sample.id for sample in opened.clips.samples]
    fold = split_folds(opened.clips.labels, groups, count, config.train.seed)
    kept = [run / "folds" / f"fold{k}" / "last.safetensors" for k in range(count)]
    parts = [
        score_read_outs(kept[k], ClipSubset(plain, np.flatnonzero(fold == k)), config)
        for k in range(count)
    ]
    found, named = (
        np.concatenate([part[0] for part in parts], 1),
        np.concatenate([part[1] for part in parts]),
    )
    gate = fit_stream_weights(found, named)
    print(
        run,
        "gate",
        ", ".join(f"{name} {share:.2f}" for name, share in zip(READ_OUTS, gate, strict=True)),
    )
    judged = hits(scores, mixed(scores, gate), truth)

    of = np.repeat(np.arange(count), [len(part[1]) for part in parts])
    scores = log_softmax(found.astype(np.float64))
    gated = np.empty(scores.shape[1:])
    for k in range(count):
        gated[of == k] = mixed(
            scores[:, of == k], fit_stream_weights(found[:, of != k], named[of != k])
        )
    order = np.argsort(np.concatenate([np.flatnonzero(fold == k) for k in range(count)]))
    return judged, {name: hit[order] for name, hit in hits(scores, gated, named).items()}


def main(data: Path, features: Path, *runs: Path) -> None:
    """Score the runs, and print both tables."""
    torch.set_num_threads(1)
    judged, folds = zip(*(read(run, data, features) for run in runs), strict=True)
    table("validation", list(judged))
    if all(folds):
        table(
            "training clips by the fold that did not see them, gate of the other folds", list(folds)
        )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
