"""A training of one epoch that takes seconds."""

from __future__ import annotations

from pathlib import Path

import gasmcast

TINY = {
    "spec.pixels": 32,
    "spec.segments": 4,
    "spec.motion_frames": 4,
    "model.width": 32,
    "model.heads": 2,
    "train.epochs": 1,
    "train.batch_size": 8,
    "train.workers": 0,
    "train.warmup_epochs": 0,
}


def train(data: Path, out: Path, **options: object) -> gasmcast.TrainResult:
    settings = {**TINY, **options.pop("settings", {})}
    return gasmcast.train("demo", data, out, settings=settings, warn=lambda _: None, **options)
