"""Write synthetic scenes to video files: single shots, or several actions in a row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.data.synthetic.scenes import CLASSES, Scene, draw_scene, render
from gasmcast.errors import MachineError
from gasmcast.files import atomic_path

__all__ = ["Shot", "make_video", "write_actions", "write_video"]

# The only fast one among the encoders in OpenCV's wheels.
_CODEC = "mp4v"


@dataclass(frozen=True, slots=True)
class Action:
    """One action of a synthetic video: its class, start and end in seconds."""

    template: str
    start_s: float
    end_s: float


class Shot(NamedTuple):
    """A scene and the times of its frames."""

    scene: Scene
    times_s: NDArray[np.float64]


def make_video(
    path: Path,
    seed: int = 0,
    templates: Sequence[str] | None = None,
    seconds: float = 5.0,
    fps: float = 24.0,
) -> list[Action]:
    """Write one video in which actions follow each other, each a scene of its own.

    Args:
        path: an `.mp4` file.
        seed: seed of everything drawn.
        templates: the classes in order; None: eight different ones at random.
        seconds: length of each action, plus or minus a fifth.
        fps: frames per second.

    Returns:
        The actions with their true times.

    Raises:
        MachineError: this machine's OpenCV cannot write the file.
    """
    rng = np.random.default_rng([seed, 1])
    if templates is None:
        templates = [CLASSES[i] for i in rng.permutation(len(CLASSES))[:8]]
    size = draw_scene(rng, templates[0]).size

    actions, shots, start = [], [], 0
    for template in templates:
        # A video has one frame size, so all scenes take that of the first.
        scene = replace(draw_scene(rng, template), size=size)
        frames = round(seconds * float(rng.uniform(0.8, 1.2)) * fps)
        shots.append(Shot(scene, np.arange(frames) / fps))
        actions.append(Action(template, start / fps, (start + frames) / fps))
        start += frames

    with atomic_path(path) as draft:
        write_video(draft, shots, fps)
    return actions


def write_actions(path: Path, actions: Sequence[Action]) -> None:
    """Write the true times of a video: a JSON list of `{"template", "start_s", "end_s"}`."""
    text = json.dumps([asdict(action) for action in actions], indent=1)
    with atomic_path(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def write_video(path: Path, shots: Sequence[Shot], fps: float) -> None:
    """Render shots of one frame size into a video file.

    Raises:
        MachineError: this machine's OpenCV cannot write the file.
    """
    # FFmpeg is also what the reader decodes with.
    codec, size = cv2.VideoWriter.fourcc(*_CODEC), shots[0].scene.size
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, fps, size)
    try:
        if not writer.isOpened():
            raise MachineError(
                f"OpenCV {cv2.__version__} cannot write video to {path}.",
                "Is the disk full? Else install opencv-python.",
            )

        # Frames are written as they are rendered, so that length does not cost memory.
        for shot in shots:
            for frame in render(shot.scene, shot.times_s):
                writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    finally:
        writer.release()
