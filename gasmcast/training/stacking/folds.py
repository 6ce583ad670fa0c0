"""The gate of a guarded model, before its run: folds of the training set tell which read-out is worth what on clips it has not seen.

A stream that knows the training footage by heart looks best on it, so the gate cannot be learned where the weights are. Each fold
trains on the others and scores its own clips; clips cut from one footage stay together. No validation clip is looked at.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gasmcast.config import Config
from gasmcast.data.clip_set import ClipSet, TrainingClips
from gasmcast.errors import UsageError
from gasmcast.evaluation.predict import predict
from gasmcast.files import read_json, write_atomic
from gasmcast.labels import Labels
from gasmcast.models.checkpoint import load_checkpoint
from gasmcast.training.inputs.training_set import Opened
from gasmcast.training.loop import train
from gasmcast.training.stacking.stream_weights import fit_gate

__all__ = [
    "NAMES",
    "Part",
    "crossfit_gate",
    "gate_first",
    "gate_sentence",
    "held_out",
    "split_folds",
]

NAMES = ("semantic", "motion", "fused")
GATE = "gate.json"


def split_folds(
    labels: Sequence[int], groups: Sequence[str], folds: int, seed: int = 0
) -> NDArray[np.int64]:
    """`(N,)` fold of each clip: groups whole, classes and sizes as even as that allows (the largest group first, greedily).

    Raises:
        UsageError: fewer groups than folds.
    """
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    if len(members) < folds:
        raise UsageError(
            f"The training clips come from {len(members)} sources: not enough for {folds} folds.",
            "Use --set train.gate_folds=0, or fewer.",
        )
    names = sorted(members)
    random.Random(seed).shuffle(names)
    names.sort(key=lambda name: -len(members[name]))
    classes = max(labels) + 1
    load = np.zeros((folds, classes))
    fold = np.zeros(len(labels), np.int64)
    for name in names:
        own = np.bincount([labels[i] for i in members[name]], minlength=classes)
        grown = ((load + own) ** 2).sum(1) - (load**2).sum(1)
        chosen = int(grown.argmin())
        load[chosen] += own
        fold[members[name]] = chosen
    return fold


class Part:
    """Some of a set's clips, as a set."""

    def __init__(self, clips: TrainingClips, chosen: NDArray[np.int64]) -> None:
        self.clips, self.chosen = clips, chosen
        self.labels = [clips.labels[i] for i in chosen]
        self.ids = [clips.ids[i] for i in chosen]

    @property
    def failed(self) -> Any:  # noqa: ANN401  # a tensor, or None of a set that holds only what decodes
        """Which of them did not decode, as the whole set has marked them by now."""
        marks = getattr(self.clips, "failed", None)
        return None if marks is None else marks[self.chosen]

    def set_epoch(self, epoch: int) -> None:
        """Draw anew."""
        self.clips.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> tuple[Any, int, int]:
        clip, label, _ = self.clips[int(self.chosen[index])]
        return clip, label, index


def gate_first(run: Opened, folder: Path, *, resume: bool) -> tuple[Config, str]:
    """The configuration to train with, its gate fitted where the model has one and `train.gate_folds` asks for it.

    Returns:
        The configuration; the name of the signal that stopped a fold, or empty.
    """
    if not _is_fitted(run.config):
        return run.config, ""
    groups = [sample.source or sample.id for sample in run.clips.samples]
    return crossfit_gate(
        run.config,
        run.clips,
        run.clips.plain(),
        groups=groups,
        labels=run.labels,
        folder=folder,
        resume=resume,
    )


def gate_sentence(config: Config) -> str:
    """What there is to say of a gate that was fitted; empty where none is."""
    if not _is_fitted(config):
        return ""
    shares = ", ".join(
        f"{name} {share:.2f}" for name, share in zip(NAMES, config.model.gate, strict=True)
    )
    return f"Gate, fitted on {config.train.gate_folds} folds of the training clips: {shares}."


def _is_fitted(config: Config) -> bool:
    return (
        bool(config.train.gate_folds)
        and config.model.read_out == "guarded"
        and config.model.streams == "both"
    )


def crossfit_gate(
    config: Config,
    clips: TrainingClips,
    plain: TrainingClips,
    *,
    groups: Sequence[str],
    labels: Labels,
    folder: Path,
    resume: bool = False,
) -> tuple[Config, str]:
    """Train the folds, fit the gate, and keep it in `folder/gate/gate.json`.

    Args:
        config: of the run to come; `train.gate_folds` says how many folds.
        clips: augmented training clips.
        plain: the same clips as evaluation sees them.
        groups: what each clip was cut from; its own name where nothing is known.
        labels: class names.
        folder: the run folder.
        resume: go on with folds that were begun, and take a gate that is there.

    Returns:
        The configuration with its gate; the name of the signal that stopped a fold, or empty.

    Raises:
        UsageError: too few groups, or what `train` raises.
    """
    kept = folder / "gate" / GATE
    if resume and kept.is_file():
        return _with_gate(config, read_json(kept, dict, "gate")["gate"]), ""
    fold = split_folds(clips.labels, groups, config.train.gate_folds, config.train.seed)
    scores: list[NDArray[np.float32]] = []
    truth: list[NDArray[np.int64]] = []
    for k in range(config.train.gate_folds):
        place = folder / "gate" / f"fold{k}"
        summary = train(
            config, Part(clips, np.flatnonzero(fold != k)), None, labels, place, resume=resume
        )
        if summary["stopped"]:
            return config, str(summary["stopped"])
        rows, targets = held_out(
            place / str(summary["checkpoint"]), Part(plain, np.flatnonzero(fold == k)), config
        )
        scores.append(rows)
        truth.append(targets)
    found = np.concatenate(scores, 1)
    gate = fit_gate(found, np.concatenate(truth))
    accuracy = {
        name: float((part.argmax(-1) == np.concatenate(truth)).mean())
        for name, part in zip(NAMES, found, strict=False)
    }
    write_atomic(
        kept,
        json.dumps(
            {"gate": gate.tolist(), "held_out_top1": accuracy, "clips": len(fold)}, indent=1
        ),
    )
    return _with_gate(config, gate.tolist()), ""


def _with_gate(config: Config, gate: list[float]) -> Config:
    padded = (*gate, 0.0, 0.0)[:3]
    return config.model_copy(update={"model": config.model.model_copy(update={"gate": padded})})


def held_out(
    checkpoint: Path, clips: ClipSet, config: Config
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """`(R, N, classes)` scores of the read-outs, and `(N,)` labels."""
    model = load_checkpoint(checkpoint)[0]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    count = config.model.classes

    def run(batch: Any) -> NDArray[np.float32]:  # noqa: ANN401 - pixels, or rows of a cache
        with torch.inference_mode():
            found = model.classify_streams(model.encode(torch.as_tensor(batch).to(device)))
        return np.concatenate(
            [found[name].float().cpu().numpy() for name in NAMES if name in found], 1
        )

    rows, targets = predict(
        run, clips, batch_size=config.train.batch_size, workers=config.train.workers
    )
    return np.stack([rows[:, i : i + count] for i in range(0, rows.shape[1], count)]), targets
