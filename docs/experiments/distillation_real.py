r"""Measure what a teacher of two streams gives a student of one, on real clips, three seeds.

    python docs/experiments/distillation_real.py FOLDER DATA --set spec.pixels=96 \
        --set model.motion_backbone=i3d --set model.motion_weights=i3d_k400.safetensors ...

The teacher is `small-data`. The student is its semantic stream alone, without the 3D network that
takes most of the time. Both train on the same cache of features.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

import gasmcast
from gasmcast.evaluation.classifier import open_classifier
from gasmcast.evaluation.predict import predict
from gasmcast.evaluation.teacher_opinion import TEACHER_FILE
from gasmcast.training.inputs.training_set import open_training_set

SEEDS = (0, 1, 2)


def main() -> None:
    """Encode once, train teacher and students, and print their figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    pairs = [item.partition("=") for item in args.set]
    settings: dict[str, Any] = {key: yaml.safe_load(value) for key, _, value in pairs}
    settings |= {"train.stream_weight_folds": 0, "train.workers": 0}

    cache = args.folder / "features"
    command = [sys.executable, "-m", "gasmcast", "cache", "small-data", "--data", str(args.data)]
    command += ["--out", str(cache), "--views", "4"]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    subprocess.run(command, check=True)

    teacher = args.folder / "teacher"
    train(args.data, teacher, cache, settings)
    theirs, labels = logits(teacher, args.data, cache, settings)
    print(f"teacher: top-1 {100 * (theirs.argmax(1) == labels).mean():.1f} %", flush=True)

    student = {**settings, "model.streams": "semantic"}
    for name, extra in {"student": {}, "student-taught": {"train.teacher": str(teacher)}}.items():
        top1, agreement = [], []
        for seed in SEEDS:
            run = args.folder / f"{name}-{seed}"
            # The teacher's answers do not depend on the student's seed.
            first = args.folder / f"{name}-{SEEDS[0]}" / TEACHER_FILE
            if extra and first.exists() and not run.exists():
                run.mkdir()
                shutil.copy(first, run)
            chosen = {**student, **extra, "train.seed": seed}
            train(args.data, run, cache, chosen)
            ours, _ = logits(run, args.data, cache, student)
            top1.append(100 * float((ours.argmax(1) == labels).mean()))
            agreement.append(100 * float((ours.argmax(1) == theirs.argmax(1)).mean()))
        listed = ", ".join(f"{value:.1f}" for value in top1)
        print(
            f"{name}: top-1 {mean(top1):.1f} % ({listed}), "
            f"agrees with the teacher on {mean(agreement):.1f} %",
            flush=True,
        )


def train(data: Path, run: Path, cache: Path, settings: dict[str, Any]) -> None:
    """Train `small-data` with these settings, unless the run exists."""
    if not (run / "summary.json").exists():
        gasmcast.train("small-data", data, run, cache=cache, settings=settings, resume=True)


def logits(
    run: Path, data: Path, cache: Path, settings: dict[str, Any]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return logits of the last weights and labels of the validation clips, from the cache."""
    opened = open_training_set("small-data", data, settings, cache=cache, preload=False)
    assert opened.validation is not None
    return predict(open_classifier(run / "last.safetensors").logits, opened.validation)


if __name__ == "__main__":
    main()
