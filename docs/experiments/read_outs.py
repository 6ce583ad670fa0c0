"""What each read-out of a guarded run knows, and what the gate makes of them, clip by clip.

    python docs/experiments/read_outs.py RUN DATA FEATURES

RUN is the folder of a guarded run (of `train` or of a row of `ablate`), FEATURES the caches it was trained from. First on the
validation clips, by the run's own gate; then on the training clips, each scored by the fold that did not see it, with a gate fitted on
the other folds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from gasmcast.training.cached import open_any
from gasmcast.training.checkpoint import load_checkpoint
from gasmcast.training.crossfit import NAMES, Part, held_out, split_folds
from gasmcast.training.gate import fit_gate

DRAWS = 4000


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Of the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def mixed(scores: np.ndarray, gate: np.ndarray) -> np.ndarray:
    """`(N, classes)` from `(R, N, classes)` and `(R,)`."""
    return np.tensordot(gate / gate.sum(), scores, 1)


def table(title: str, scores: np.ndarray, gated: np.ndarray, truth: np.ndarray) -> None:
    """Top-1 of each, and against the motion read-out: paired 95 % bootstrap over clips."""
    hits = {name: scores[i].argmax(-1) == truth for i, name in enumerate(NAMES)} | {"gated": gated.argmax(-1) == truth}
    draws = np.random.default_rng(0).integers(0, len(truth), (DRAWS, len(truth)))
    print(f"{title}, {len(truth)} clips")
    for name, hit in hits.items():
        step = 100 * (hit.astype(float) - hits["motion"])
        low, high = np.percentile(step[draws].mean(1), [2.5, 97.5])
        print(f"  {name:9} {100 * hit.mean():5.1f} %   against motion {step.mean():+5.1f} [{low:+.1f}, {high:+.1f}]")


def main(run: Path, data: Path, features: Path) -> None:
    """Score a run, and print both tables."""
    torch.set_num_threads(1)
    opened = open_any(run / "config.yaml", data, {}, features)
    assert opened.validation is not None
    config = load_checkpoint(run / "last.safetensors")[1]
    rows, truth = held_out(run / "last.safetensors", opened.validation, config)
    scores = log_softmax(rows.astype(np.float64))
    print("gate", ", ".join(f"{name} {share:.2f}" for name, share in zip(NAMES, config.model.gate, strict=True)))
    table("validation", scores, mixed(scores, np.array(config.model.gate)), truth)

    plain, count = opened.clips.plain(), config.train.gate_folds
    groups = [sample.source or sample.id for sample in opened.clips.samples]
    fold = split_folds(opened.clips.labels, groups, count, config.train.seed)
    kept = [run / "gate" / f"fold{k}" / "last.safetensors" for k in range(count)]
    parts = [held_out(kept[k], Part(plain, np.flatnonzero(fold == k)), config) for k in range(count)]
    rows, truth = np.concatenate([part[0] for part in parts], 1), np.concatenate([part[1] for part in parts])
    of = np.repeat(np.arange(count), [len(part[1]) for part in parts])
    scores = log_softmax(rows.astype(np.float64))
    gated = np.empty(scores.shape[1:])
    for k in range(count):
        gated[of == k] = mixed(scores[:, of == k], fit_gate(rows[:, of != k], truth[of != k]))
    table("training clips by the fold that did not see them, gate of the other folds", scores, gated, truth)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
