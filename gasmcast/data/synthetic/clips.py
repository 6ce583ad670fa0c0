"""A made-up data set in Something-Something-V2's format, and a made-up video of several actions in a row.

Every clip is a real video file of a scene (`scenes.py`); the picture size, frame rate, length and look are
drawn alike for all classes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gasmcast.data.synthetic.scenes import CLASSES, Scene, draw_scene, render, reversed_class
from gasmcast.errors import MachineError, UsageError
from gasmcast.files import atomic_path

__all__ = ["CLASSES", "Action", "make_set", "make_stream", "reversed_class", "write_actions"]

_CODE = "mp4v"  # of the encoders in OpenCV's wheels the only quick one
_RATES = (12.0, 15.0, 20.0, 24.0, 30.0)
_SECONDS = (2.0, 4.0)
_LEAST = 5  # clips a class
_SHARES = {"train": 0.78, "validation": 0.2, "test": 0.02}


@dataclass(frozen=True, slots=True)
class Action:
    """One action of a made-up stream: its class and when it is on, in seconds."""

    template: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class _Clip:
    id: str
    template: str
    seed: tuple[int, int]


def make_set(
    folder: Path, clips: int = 900, seed: int = 0, workers: int | None = None, quiet: bool = False
) -> dict[str, int]:
    """Write a whole set: `labels/{labels,train,validation,test}.json` and `videos/<id>.mp4`.

    The classes take turns, so every split has them equally often; the same arguments give the same pictures.

    Args:
        folder: where; must not exist or be empty. It appears whole or not at all.
        clips: how many in all; 78 % train, 20 % validation, the rest test.
        seed: of everything drawn.
        workers: processes; None: one a processor.
        quiet: no progress bar.

    Returns:
        Clips by split.

    Raises:
        UsageError: the folder is not empty, or there are too few clips to have each class in validation.
        MachineError: OpenCV here cannot write these files.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is there already and not empty.", "Give another folder, or remove it."
        )
    if clips < _LEAST * len(CLASSES):
        raise UsageError(
            f"{clips} clips are too few for {len(CLASSES)} classes.",
            f"Ask for {_LEAST * len(CLASSES)} or more.",
        )
    splits = _plan(clips, seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        (draft / "videos").mkdir(parents=True)
        (draft / "labels").mkdir()
        _write_annotations(draft / "labels", splits)
        _write_videos(
            draft / "videos", [clip for part in splits.values() for clip in part], workers, quiet
        )
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return {split: len(part) for split, part in splits.items()}


def make_stream(
    path: Path,
    seed: int = 0,
    templates: Sequence[str] | None = None,
    seconds: float = 5.0,
    fps: float = 24.0,
) -> list[Action]:
    """Write one video in which actions follow each other, each a scene of its own.

    Args:
        path: an `.mp4` file.
        seed: of everything drawn.
        templates: the classes in order; None: eight different ones at random.
        seconds: each action's length, give or take a fifth.
        fps: frames a second.

    Returns:
        The actions with their true times.

    Raises:
        MachineError: OpenCV here cannot write this file.
    """
    rng = np.random.default_rng([seed, 1])
    chosen = (
        list(templates)
        if templates is not None
        else [CLASSES[i] for i in rng.permutation(len(CLASSES))[:8]]
    )
    size = draw_scene(rng, chosen[0]).size
    actions, pictures, start = [], [], 0
    for template in chosen:
        scene = draw_scene(rng, template)
        scene = Scene(
            scene.template, scene.seed, scene.phase, scene.speed, size, scene.noise, scene.shake
        )
        frames = round(seconds * float(rng.uniform(0.8, 1.2)) * fps)
        pictures.append((scene, np.arange(frames) / fps))
        actions.append(Action(template, start / fps, (start + frames) / fps))
        start += frames
    with atomic_path(path) as draft:
        _write_video(draft, pictures, fps)
    return actions


def write_actions(path: Path, actions: Sequence[Action]) -> None:
    """The true times beside a stream: a JSON list of `{"template", "start_s", "end_s"}`."""
    with atomic_path(path) as draft:
        draft.write_text(
            json.dumps([asdict(action) for action in actions], indent=1) + "\n", encoding="utf-8"
        )


def _plan(clips: int, seed: int) -> dict[str, list[_Clip]]:
    """Which clips there are: ids are a random order, so neither id nor position says anything about the class."""
    rng = np.random.default_rng([seed, 0])
    ids = rng.permutation(clips) + 1
    sizes = {split: round(clips * share) for split, share in _SHARES.items()}
    sizes["train"] = clips - sizes["validation"] - sizes["test"]
    splits, number = {}, 0
    for split, size in sizes.items():
        part = []
        for i in range(size):
            part.append(
                _Clip(str(ids[number]), CLASSES[i % len(CLASSES)], (seed, int(ids[number])))
            )
            number += 1
        splits[split] = [part[i] for i in rng.permutation(size)]
    return splits


def _write_annotations(folder: Path, splits: dict[str, list[_Clip]]) -> None:
    (folder / "labels.json").write_text(
        json.dumps({name: str(i) for i, name in enumerate(CLASSES)}, indent=1), encoding="utf-8"
    )
    for split, part in splits.items():
        rows = [
            {
                "id": clip.id,
                "label": clip.template.lower().replace("something", "a shape"),
                "template": clip.template.replace("something", "[something]"),
                "placeholders": ["a shape"] * clip.template.count("something"),
            }
            if split != "test"
            else {"id": clip.id}
            for clip in part
        ]
        (folder / f"{split}.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _write_videos(folder: Path, clips: Sequence[_Clip], workers: int | None, quiet: bool) -> None:
    count = workers if workers is not None else os.cpu_count() or 1
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    jobs = [(str(folder / f"{clip.id}.mp4"), clip.template, clip.seed) for clip in clips]
    with Progress(*columns, disable=quiet) as progress:
        task = progress.add_task("writing clips", total=len(jobs))
        if count <= 1:
            for job in jobs:
                _write_clip(job)
                progress.advance(task)
            return
        # spawned, because OpenCV's threads do not survive a fork
        with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
            for _ in pool.map(_write_clip, jobs, chunksize=8):
                progress.advance(task)


def _write_clip(job: tuple[str, str, tuple[int, int]]) -> None:
    path, template, seed = job
    cv2.setNumThreads(1)
    rng = np.random.default_rng([*seed, 2])
    scene = draw_scene(rng, template)
    fps = float(rng.choice(_RATES))
    frames = round(float(rng.uniform(*_SECONDS)) * fps)
    _write_video(Path(path), [(scene, np.arange(frames) / fps)], fps)


def _write_video(
    path: Path, pictures: Sequence[tuple[Scene, NDArray[np.float64]]], fps: float
) -> None:
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*_CODE), fps, pictures[0][0].size
    )
    try:
        if not writer.isOpened():
            raise MachineError(
                f"OpenCV {cv2.__version__} cannot write video to {path}.",
                "Is the disk full? Else install opencv-python.",
            )
        for scene, times in pictures:
            for picture in render(scene, times):
                writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    finally:
        writer.release()
