"""Run a teacher over the clips once, and store its probabilities in the run folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from gasmcast.config import Config
from gasmcast.data.annotations import Sample
from gasmcast.data.dataset import ClipDataset
from gasmcast.errors import UsageError
from gasmcast.evaluation.predict import check_finite, predict
from gasmcast.evaluation.teacher_opinion import POOLED, TEACHER_FILE
from gasmcast.files import sha256_of
from gasmcast.labels import Labels
from gasmcast.models.checkpoint import checkpoint_path, load_checkpoint
from gasmcast.models.model import GasmCast
from gasmcast.spec import ClipSpec
from gasmcast.tensorfile import read_tensors, write_tensors
from gasmcast.training.clip_targets import ClipTargets
from gasmcast.training.distributed import Distributed
from gasmcast.video.suffixes import VIDEO_SUFFIXES

__all__ = ["Lesson", "find_unlabelled", "teach"]

PREFIX = "unlabelled/"
"""Begins the ids of clips without a class, so that none is the id of an annotated clip."""


@dataclass(frozen=True)
class Lesson:
    """Targets and clips that a student gets from its teacher."""

    targets: ClipTargets
    unlabelled: list[Sample]
    """Clips without a class that the teacher could read, with its most likely class as label."""
    note: str
    """A sentence about clip specs that differ, or empty."""


def find_unlabelled(folder: Path) -> list[Sample]:
    """Return the videos of a folder and its subfolders as clips without a class.

    Raises:
        UsageError: there is no such folder, or it holds no video.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not files:
        raise UsageError(
            f"train.unlabelled: {folder} holds no videos.", "Give a folder of video files."
        )
    return [
        Sample(id=PREFIX + path.relative_to(folder).as_posix(), label=None, video=str(path))
        for path in files
    ]


def teach(
    config: Config,
    samples: Sequence[Sample],
    labels: Labels,
    folder: Path,
    validation: Sequence[Sample] = (),
) -> Lesson:
    """Return the teacher's probabilities for all training clips.

    The teacher sees the centered window of each clip, without augmentation and in its own clip
    spec. Its probabilities are stored in the run folder, so a resumed run needs no teacher.

    Args:
        config: configuration of the student; `train.teacher` is a run folder or a checkpoint.
        samples: training clips with a class.
        labels: class names of the student.
        folder: run folder of the student.
        validation: validation clips; the teacher's probabilities of them are stored for exports
            (`gasmcast.evaluation.teacher_opinion`), and nothing is learned from them.

    Raises:
        UsageError: the teacher is a bundle or no checkpoint, has other classes, or sees a shorter
            window than the student; or there are no unlabelled videos.
        GateError: the teacher's logits are not finite.
        SourceError: more than 1 % of the clips do not decode.
    """
    train = config.train
    clips = list(samples)
    if train.unlabelled:
        clips += find_unlabelled(Path(train.unlabelled))
    facts = {
        "teacher": train.teacher,
        "sha256": _checkpoint_sha(Path(train.teacher)),
        "clips": [clip.id for clip in clips],
        "validation": [clip.id for clip in validation],
    }
    stored = _read_stored(folder / TEACHER_FILE, facts)
    if stored is None:
        stored = _run_teacher(config, [*clips, *validation], labels)
        if Distributed().is_main:
            folder.mkdir(parents=True, exist_ok=True)
            write_tensors(
                folder / TEACHER_FILE, stored[0], {"facts": json.dumps(facts), "note": stored[1]}
            )
    tensors, note = stored

    # Clips that the teacher could not read have no row; nothing is learned from validation clips.
    rows = {
        clips[int(index)].id: row
        for row, index in enumerate(tensors["clips"])
        if index < len(clips)
    }

    # The teacher's class balances and shuffles unlabelled clips like any others.
    likely = tensors[POOLED].argmax(1)
    unlabelled = [
        replace(clip, label=int(likely[rows[clip.id]]))
        for clip in clips
        if clip.label is None and clip.id in rows
    ]
    targets = ClipTargets(
        rows=rows,
        probabilities={name: tensor for name, tensor in tensors.items() if name != "clips"},
        no_class=frozenset(clip.id for clip in unlabelled),
        share=train.teacher_share,
    )
    return Lesson(targets, unlabelled, note)


def _checkpoint_sha(teacher: Path) -> str:
    """Return the SHA-256 of the teacher's checkpoint; empty if it is no longer there.

    Raises:
        UsageError: the teacher is a bundle, or a folder without a checkpoint.
    """
    if (teacher / "manifest.json").is_file():
        raise UsageError(
            f"train.teacher: {teacher} is a bundle; its engines do not give what a student needs.",
            "Give the run folder or the checkpoint that it was exported from.",
        )
    file = checkpoint_path(teacher) if teacher.is_dir() else teacher
    return sha256_of(file) if file.is_file() else ""


def _read_stored(file: Path, facts: dict[str, Any]) -> tuple[dict[str, Tensor], str] | None:
    """Return what a teacher said before, or None if it was another teacher or other clips."""
    if not file.is_file():
        return None
    tensors, texts = read_tensors(file)
    known = json.loads(texts.get("facts", "{}"))
    # Earlier builds did not store validation clips, and a teacher that is gone cannot have changed.
    known.setdefault("validation", facts["validation"])
    if not facts["sha256"]:
        known["sha256"] = ""
    if known != facts:
        return None
    return tensors, texts.get("note", "")


def _run_teacher(
    config: Config, clips: Sequence[Sample], labels: Labels
) -> tuple[dict[str, Tensor], str]:
    """Run the teacher on every clip; `clips` are the indices of the ones that it could read."""
    model, spec = _open_teacher(config, labels)
    note = _compare_specs(spec, config.spec)
    processes = Distributed()
    model.to(processes.device)
    names: list[str] = []

    def classify(batch: Any) -> NDArray[np.float32]:  # noqa: ANN401 - pixels
        with torch.inference_mode():
            scores = model.classify_streams(
                model.encode(torch.as_tensor(batch).to(processes.device))
            )
            scores = {**scores, POOLED: model.pool(scores)}
        names[:] = list(scores)
        return np.concatenate([part.float().cpu().numpy() for part in scores.values()], 1)

    # The label of each clip is its index, so that rows of clips that do not decode are known.
    numbered = [replace(clip, label=index) for index, clip in enumerate(clips)]
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not processes.is_main) as bars:
        bar = bars.add_task("running the teacher", total=len(clips))
        logits, indices = predict(
            classify,
            ClipDataset(numbered, spec),
            batch_size=config.train.batch_size,
            workers=config.train.workers,
            processes=processes,
            progress=lambda _, done=0, total=0: bars.update(bar, completed=done, total=total),
        )
    check_finite(logits, f"The teacher {config.train.teacher}")

    parts = np.split(logits, len(names), axis=1)  # R + 1 times (N, classes)
    tensors = {
        name: torch.from_numpy(part).softmax(1).contiguous()
        for name, part in zip(names, parts, strict=True)
    }
    return {**tensors, "clips": torch.from_numpy(indices)}, note


def _open_teacher(config: Config, labels: Labels) -> tuple[GasmCast, ClipSpec]:
    """Load the teacher in eval mode; its classes must be those of the student."""
    path = Path(config.train.teacher)
    model, teacher, names, _ = load_checkpoint(path)
    if names.names != labels.names:
        raise UsageError(
            f"train.teacher: {path} has {len(names)} classes, and not those {len(labels)} of the "
            "data in the same order.",
            "Train the teacher on the same classes.",
        )
    return model.eval(), teacher.spec


def _compare_specs(teacher: ClipSpec, student: ClipSpec) -> str:
    """Return a note where the clip specs differ; the student's window must fit the teacher's."""
    if teacher == student:
        return ""
    if student.window_s > teacher.window_s + 1e-6:
        raise UsageError(
            f"train.teacher sees {teacher.window_s:.2f} s of a clip, the student "
            f"{student.window_s:.2f} s: what it says would be about less than the student sees.",
            "Give the student the teacher's spec.segments and spec.segment_s, or fewer.",
        )
    return (
        f"The teacher sees the same clips in its own spec: {teacher.window_s:.2f} s at "
        f"{teacher.pixels} px; the student {student.window_s:.2f} s at {student.pixels} px."
    )
