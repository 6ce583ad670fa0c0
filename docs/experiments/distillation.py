"""Measure what a teacher gives a small student, on a synthetic set, with three seeds.

    python docs/experiments/distillation.py FOLDER

Makes a set of 15 actions in which each second class is another one played backwards. A teacher
(`demo`) learns from all training clips. Students of a quarter of its width learn without and with
it, from all clips or from a quarter of them with the rest as unlabelled footage.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

import gasmcast
from gasmcast.data.synthetic.clips import make_set
from gasmcast.evaluation.classifier import open_classifier
from gasmcast.evaluation.predict import predict
from gasmcast.training.inputs.training_set import open_training_set

CLIPS = 750
SMALL = {"model.width": 16, "model.heads": 2, "model.layers": 1, "model.semantic_taps": [3]}
SMALL |= {"model.motion_taps": ["layer4"], "train.workers": 0}
SEEDS = (0, 1, 2)


def main() -> None:
    """Train teacher and students, and print their figures."""
    folder = Path(sys.argv[1])
    data = folder / "data"
    if not data.exists():
        make_set(data, clips=CLIPS)
    few, footage = split_labels(data, folder)

    teacher = folder / "teacher"
    train(data, teacher, {"train.workers": 0})
    print(f"teacher: top-1 {100 * accuracy(teacher, data):.1f} %")

    rows = {
        "all clips": (data, {}),
        "all clips, teacher": (data, {"teacher": teacher}),
        "a quarter": (few, {}),
        "a quarter, teacher": (few, {"teacher": teacher}),
        "a quarter, teacher, the rest unlabelled": (
            few,
            {"teacher": teacher, "unlabelled": footage},
        ),
    }
    for name, (source, options) in rows.items():
        top1, agreement = [], []
        for seed in SEEDS:
            run = folder / f"{name.replace(', ', '-').replace(' ', '_')}-{seed}"
            train(source, run, {**SMALL, "train.seed": seed}, **options)
            top1.append(100 * accuracy(run, data))
            agreement.append(100 * agree(run, teacher, data))
        listed = ", ".join(f"{value:.1f}" for value in top1)
        print(
            f"{name}: top-1 {mean(top1):.1f} % ({listed}), "
            f"agrees with the teacher on {mean(agreement):.1f} %",
            flush=True,
        )


def train(data: Path, run: Path, settings: dict[str, Any], **options: Path) -> None:
    """Train the `demo` preset with these settings, unless the run exists."""
    if not (run / "summary.json").exists():
        gasmcast.train("demo", data, run, settings=settings, resume=True, **options)


def split_labels(data: Path, folder: Path) -> tuple[Path, Path]:
    """Return a set with a quarter of the training labels, and a folder with the other videos."""
    few, footage = folder / "few", folder / "footage"
    if few.exists():
        return few, footage
    rows = json.loads((data / "labels" / "train.json").read_text())
    (few / "labels").mkdir(parents=True)
    footage.mkdir()
    (few / "videos").symlink_to((data / "videos").resolve())
    for name in ("labels", "validation"):
        text = (data / "labels" / f"{name}.json").read_text()
        (few / "labels" / f"{name}.json").write_text(text)

    # Classes take turns in the list, so a run of it has all of them equally often.
    quarter = len(rows) // 4
    (few / "labels" / "train.json").write_text(json.dumps(rows[:quarter]))
    for row in rows[quarter:]:
        video = next((data / "videos").glob(f"{row['id']}.*"))
        (footage / video.name).symlink_to(video.resolve())
    return few, footage


def logits(run: Path, data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and labels of the validation clips."""
    classifier = open_classifier(run)
    opened = open_training_set("demo", data, preload=False)
    assert opened.validation is not None
    return predict(classifier.logits, opened.validation)


def accuracy(run: Path, data: Path) -> float:
    """Return top-1 on the validation clips."""
    scores, labels = logits(run, data)
    return float((scores.argmax(1) == labels).mean())


def agree(run: Path, other: Path, data: Path) -> float:
    """Return the share of validation clips on which two models choose the same class."""
    ours, theirs = logits(run, data)[0], logits(other, data)[0]
    return float((ours.argmax(1) == theirs.argmax(1)).mean())


if __name__ == "__main__":
    main()
