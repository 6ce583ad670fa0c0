"""Write a synthetic data set of shapes that move: twelve classes, shapes times ways to move.

    python docs/experiments/shapes_and_moves.py OUT --clips 240
    python docs/experiments/shapes_and_moves.py OUT --clips 240 --shapes 6

With three shapes and four ways mostly the way decides, with six shapes and two ways mostly the
shape. A single frame shows the shape; only the order of frames shows the way. Textures, colors,
sizes, speeds and places are drawn from the same distributions for all classes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np


class Shape(NamedTuple):
    """Polygon of a class."""

    corners: int
    inner: float
    """Distance of every second corner from the center, as a share of the radius."""


SHAPES = {
    "triangle": Shape(3, 1.0),
    "square": Shape(4, 1.0),
    "disc": Shape(48, 1.0),
    "star": Shape(10, 0.45),
    "hexagon": Shape(6, 1.0),
    "cross": Shape(8, 0.4),
}
WAYS = {"from left to right": (1, 0), "from right to left": (-1, 0), "down": (0, 1), "up": (0, -1)}
SIZE, FPS = 192, 15.0

DrawClip = Callable[[int, int, bool], list[np.ndarray]]
"""Return the frames of a clip from its number, its class and whether it is for training."""


def position(
    time: float, ends: tuple[float, float], offset: float, way: tuple[int, int]
) -> tuple[float, float]:
    """Return the point `(x, y)` of a crossing in pixels.

    Args:
        time: progress of the crossing, 0..1.
        ends: start and end along the way, as shares of the frame.
        offset: distance of the path from the frame's edge, in pixels.
        way: direction `(x, y)`, one of the values of `WAYS`.
    """
    start, end = ends
    # Positions are measured from the left or the top, also for the opposite ways.
    along = (start + (end - start) * time) * SIZE
    along = SIZE - along if sum(way) < 0 else along
    return (along, offset) if way[0] else (offset, along)


def draw_clip(shape: Shape, way: tuple[int, int], rng: np.random.Generator) -> list[np.ndarray]:
    """Return uint8 frames `(H, W, 3)` of a slowly turning shape that crosses a still texture."""
    # Stars and crosses are polygons whose every second corner lies further in.
    reach = np.where(np.arange(shape.corners) % 2, shape.inner, 1.0)
    # The order of the draws fixes the clips of a seed: do not reorder them.
    coarse = rng.uniform(0, 255, (12, 12, 3)).astype(np.float32)
    texture = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    background = texture * rng.uniform(0.3, 0.7) + rng.uniform(0, 80)

    # Every draw is independent of the class, so that only shape and way tell the classes apart.
    fill, outline = (tuple(float(v) for v in rng.uniform(0, 255, 3)) for _ in range(2))
    count = int(rng.integers(30, 50))
    radius, offset = rng.uniform(22, 40), rng.uniform(0.3, 0.7) * SIZE
    angle, spin = rng.uniform(0, 2 * np.pi), rng.uniform(-0.8, 0.8)
    ends = rng.uniform(0.05, 0.25), rng.uniform(0.75, 0.95)

    frames = []
    for time in np.linspace(0, 1, count):
        center = np.array(position(time, ends, offset, way))
        angles = angle + spin * time + 2 * np.pi * np.arange(shape.corners) / shape.corners
        directions = np.array([np.cos(angles), np.sin(angles)])  # (2, corners)
        corners = (center + radius * (reach * directions).T).round().astype(np.int32)

        # An outline in a second color keeps the shape visible on every background.
        frame = background.copy()
        cv2.fillPoly(frame, [corners], fill, cv2.LINE_AA)
        cv2.polylines(frame, [corners], True, outline, 3, cv2.LINE_AA)
        noisy = frame + rng.normal(0, 5, frame.shape)
        frames.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return frames


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    """Encode BGR frames as MPEG-4."""
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), codec, FPS, (SIZE, SIZE))
    for frame in frames:
        writer.write(frame)
    writer.release()


def write_set(
    out: Path, names: list[str], clips: int, validation_clips: int, draw: DrawClip
) -> None:
    """Write a data set in Something-Something-V2's format with its classes in turn.

    Args:
        out: the new folder.
        names: the classes.
        clips: number of clips, three of four of each class for training.
        validation_clips: number of further clips, all for validation.
        draw: returns the frames of one clip.
    """
    (out / "videos").mkdir(parents=True)
    (out / "labels").mkdir()
    rows: dict[str, list[dict[str, object]]] = {"train": [], "validation": []}
    for number in range(clips + validation_clips):
        # Classes take turns, so that both splits have the same share of each.
        kind, turn = number % len(names), number // len(names)
        split = "validation" if number >= clips or turn % 4 == 3 else "train"
        frames = draw(number, kind, split == "train")
        write_video(out / "videos" / f"{number}.mp4", frames)

        row = {"id": str(number), "template": names[kind], "label": names[kind]}
        rows[split].append({**row, "placeholders": []})

    # Something-Something-V2 numbers its classes by strings.
    numbers = {name: str(number) for number, name in enumerate(names)}
    (out / "labels" / "labels.json").write_text(json.dumps(numbers))
    for split, part in rows.items():
        (out / "labels" / f"{split}.json").write_text(json.dumps(part))
    print({split: len(part) for split, part in rows.items()})


def add_set_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every synthetic set has."""
    parser.add_argument("out", type=Path, help="the new folder")
    parser.add_argument(
        "--clips", type=int, default=240, help="number of clips, three of four for training"
    )
    parser.add_argument(
        "--validation-clips",
        type=int,
        default=0,
        help="further clips, all for validation: narrower intervals",
    )
    parser.add_argument("--seed", type=int, default=0)


def main() -> None:
    """Write the set that the command line describes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_set_options(parser)
    parser.add_argument(
        "--shapes",
        type=int,
        default=3,
        choices=(3, 6),
        help="3: with four ways to move; 6: with two",
    )
    args = parser.parse_args()

    # Twelve classes in either case, so that chance is the same.
    ways = list(WAYS)[: 12 // args.shapes]
    classes = [(shape, way) for shape in list(SHAPES)[: args.shapes] for way in ways]

    def draw(number: int, kind: int, _: bool) -> list[np.ndarray]:
        shape, way = classes[kind]
        return draw_clip(SHAPES[shape], WAYS[way], np.random.default_rng([args.seed, number]))

    names = [f"Pushing a {shape} {way}" for shape, way in classes]
    write_set(args.out, names, args.clips, args.validation_clips, draw)


if __name__ == "__main__":
    main()
