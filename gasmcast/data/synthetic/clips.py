"""Write a synthetic data set in the format of Something-Something-V2.

Every clip is a real video file of a scene (`scenes.py`). Frame size, frame rate, length and look
are drawn alike for all classes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from gasmcast.child_process import end_with_parent
from gasmcast.data.synthetic.scene_video import Shot, write_video
from gasmcast.data.synthetic.scenes import CLASSES, draw_scene
from gasmcast.errors import UsageError
from gasmcast.progress import Progress, silent

__all__ = ["make_set"]

_RATES = (12.0, 15.0, 20.0, 24.0, 30.0)
_SECONDS = (2.0, 4.0)
_LEAST = 5
"""Fewest clips per class."""
_SHARES = {"train": 0.78, "validation": 0.2, "test": 0.02}


@dataclass(frozen=True, slots=True)
class _Clip:
    """A clip of the set, before it is rendered."""

    id: str
    template: str
    seed: tuple[int, int]


class _Job(NamedTuple):
    """Arguments of `_write_clip`, which runs in worker processes."""

    path: str
    template: str
    seed: tuple[int, int]


def make_set(
    folder: Path,
    clips: int = 900,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress = silent,
) -> dict[str, int]:
    """Write a whole set: `labels/{labels,train,validation,test}.json` and `videos/<id>.mp4`.

    The classes take turns, so every split has them equally often. The same arguments give the same
    frames.

    Args:
        folder: folder of the set; must not exist or be empty. It appears complete or not at all.
        clips: number of clips; 78 % train, 20 % validation, the rest test.
        seed: seed of everything drawn.
        workers: number of processes; None: one per processor.
        progress: called after each clip.

    Returns:
        Number of clips by split.

    Raises:
        UsageError: the folder is not empty, or there are too few clips to have each class in
            validation.
        MachineError: this machine's OpenCV cannot write the files.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is there already and not empty.", "Give another folder, or remove it."
        )
    least = _LEAST * len(CLASSES)
    if clips < least:
        raise UsageError(
            f"{clips} clips are too few for {len(CLASSES)} classes.", f"Ask for {least} or more."
        )

    # A set is renamed into place when it is complete: no run can start on half of it.
    splits = _plan(clips, seed)
    with _draft_of(folder) as draft:
        (draft / "videos").mkdir(parents=True)
        (draft / "labels").mkdir()
        _write_annotations(draft / "labels", splits)
        everything = [clip for part in splits.values() for clip in part]
        _write_videos(draft / "videos", everything, workers, progress)
    return {split: len(part) for split, part in splits.items()}


@contextmanager
def _draft_of(folder: Path) -> Iterator[Path]:
    """Yield a folder beside `folder`; it is renamed on success and removed on any error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        yield draft
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _plan(clips: int, seed: int) -> dict[str, list[_Clip]]:
    """Return the clips of each split.

    Ids and positions are in random order, so neither of them reveals the class.
    """
    rng = np.random.default_rng([seed, 0])
    ids = rng.permutation(clips) + 1
    sizes = {split: round(clips * share) for split, share in _SHARES.items()}
    sizes["train"] = clips - sizes["validation"] - sizes["test"]

    splits, first = {}, 0
    for split, size in sizes.items():
        part = []
        for i, number in enumerate(ids[first : first + size]):
            # The seed is the id's: a clip does not depend on the size of the set around it.
            clip = _Clip(str(number), CLASSES[i % len(CLASSES)], seed=(seed, int(number)))
            part.append(clip)
        splits[split] = [part[i] for i in rng.permutation(size)]
        first += size
    return splits


def _write_annotations(folder: Path, splits: dict[str, list[_Clip]]) -> None:
    """Write the label list and the annotation file of each split."""
    labels = {name: str(i) for i, name in enumerate(CLASSES)}
    (folder / "labels.json").write_text(json.dumps(labels, indent=1), encoding="utf-8")
    for split, part in splits.items():
        rows = [_annotation(clip, split) for clip in part]
        (folder / f"{split}.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _annotation(clip: _Clip, split: str) -> dict[str, object]:
    """Return the entry of a clip; those of the test split have only an id, as the official ones."""
    if split == "test":
        return {"id": clip.id}
    return {
        "id": clip.id,
        "label": clip.template.lower().replace("something", "a shape"),
        "template": clip.template.replace("something", "[something]"),
        "placeholders": ["a shape"] * clip.template.count("something"),
    }


def _write_videos(
    folder: Path, clips: Sequence[_Clip], workers: int | None, progress: Progress
) -> None:
    """Render all clips, in worker processes if there are several."""
    count = workers if workers is not None else os.cpu_count() or 1
    jobs = [_Job(str(folder / f"{clip.id}.mp4"), clip.template, clip.seed) for clip in clips]
    stage = "writing clips"
    if count <= 1:
        for done, job in enumerate(jobs, 1):
            _write_clip(job)
            progress(stage, done, len(jobs))
        return

    # Spawned, because OpenCV's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        count, mp_context=context, initializer=end_with_parent, initargs=(os.getpid(),)
    ) as pool:
        for done, _ in enumerate(pool.map(_write_clip, jobs, chunksize=8), 1):
            progress(stage, done, len(jobs))


def _write_clip(job: _Job) -> None:
    """Render one clip into its file."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng([*job.seed, 2])
    scene = draw_scene(rng, job.template)
    fps = float(rng.choice(_RATES))
    frames = round(float(rng.uniform(*_SECONDS)) * fps)
    write_video(Path(job.path), [Shot(scene, np.arange(frames) / fps)], fps)
