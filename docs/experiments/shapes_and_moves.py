"""A made-up set on which both streams know something: twelve classes, shapes times ways to move.

    python docs/experiments/shapes_and_moves.py OUT --clips 240               # three shapes, four ways: mostly the way tells
    python docs/experiments/shapes_and_moves.py OUT --clips 240 --shapes 6    # six shapes, two ways: mostly the shape tells

One frame shows the shape, only the order of frames shows the way. Textures, colors, sizes, speeds and places are drawn alike for all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

SHAPES = {
    "triangle": (3, 1.0),
    "square": (4, 1.0),
    "disc": (48, 1.0),
    "star": (10, 0.45),
    "hexagon": (6, 1.0),
    "cross": (8, 0.4),
}
"""Corners, and how far out every second one is."""
WAYS = {"from left to right": (1, 0), "from right to left": (-1, 0), "down": (0, 1), "up": (0, -1)}
SIZE, FPS = 192, 15.0


def reached(
    u: float, ends: tuple[float, float], side: float, way: tuple[int, int]
) -> tuple[float, float]:
    """The point `(x, y)` of a crossing at time `u` 0..1: `ends` are shares of the picture, `side` is how far off its edge in pixels."""
    along = (ends[0] + (ends[1] - ends[0]) * u) * SIZE
    along = SIZE - along if sum(way) < 0 else along
    return (along, side) if way[0] else (side, along)


def clip(
    shape: tuple[int, float], way: tuple[int, int], rng: np.random.Generator
) -> list[np.ndarray]:
    """Frames of a shape that crosses the picture, turning slowly, before a still texture."""
    corners_of, inner = shape
    reach = np.where(np.arange(corners_of) % 2, inner, 1.0)
    texture = cv2.resize(
        rng.uniform(0, 255, (12, 12, 3)).astype(np.float32),
        (SIZE, SIZE),
        interpolation=cv2.INTER_CUBIC,
    )
    ground = texture * rng.uniform(0.3, 0.7) + rng.uniform(0, 80)
    ink, rim = (tuple(float(v) for v in rng.uniform(0, 255, 3)) for _ in range(2))
    frames = int(rng.integers(30, 50))
    radius, side = rng.uniform(22, 40), rng.uniform(0.3, 0.7) * SIZE
    turn, spin = rng.uniform(0, 2 * np.pi), rng.uniform(-0.8, 0.8)
    ends = rng.uniform(0.05, 0.25), rng.uniform(0.75, 0.95)
    found = []
    for u in np.linspace(0, 1, frames):
        center = np.array(reached(u, ends, side, way))
        angles = turn + spin * u + 2 * np.pi * np.arange(corners_of) / corners_of
        corners = (
            (center + radius * (reach * [np.cos(angles), np.sin(angles)]).T)
            .round()
            .astype(np.int32)
        )
        picture = ground.copy()
        cv2.fillPoly(picture, [corners], ink, cv2.LINE_AA)
        cv2.polylines(picture, [corners], True, rim, 3, cv2.LINE_AA)
        found.append(np.clip(picture + rng.normal(0, 5, picture.shape), 0, 255).astype(np.uint8))
    return found


def write_set(
    out: Path,
    names: list[str],
    clips: int,
    judges: int,
    draw: Callable[[int, int, bool], list[np.ndarray]],
) -> None:
    """A set in Something-Something-V2's format, its classes evenly in turn.

    Args:
        out: the new folder.
        names: the classes.
        clips: how many, three of four of each class for training.
        judges: further ones, all for validation.
        draw: from a clip's number, its class and whether it is for training to its frames.
    """
    (out / "videos").mkdir(parents=True)
    (out / "labels").mkdir()
    rows: dict[str, list[dict[str, object]]] = {"train": [], "validation": []}
    for number in range(clips + judges):
        kind, turn = number % len(names), number // len(names)
        split = "validation" if number >= clips or turn % 4 == 3 else "train"
        writer = cv2.VideoWriter(
            str(out / "videos" / f"{number}.mp4"),
            cv2.VideoWriter.fourcc(*"mp4v"),
            FPS,
            (SIZE, SIZE),
        )
        for picture in draw(number, kind, split == "train"):
            writer.write(picture)
        writer.release()
        rows[split].append(
            {"id": str(number), "template": names[kind], "label": names[kind], "placeholders": []}
        )
    (out / "labels" / "labels.json").write_text(
        json.dumps({name: str(i) for i, name in enumerate(names)})
    )
    for split, part in rows.items():
        (out / "labels" / f"{split}.json").write_text(json.dumps(part))
    print({split: len(part) for split, part in rows.items()})


def main() -> None:
    """Twelve classes of shapes and ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, default=240, help="three of four for training")
    parser.add_argument(
        "--judges",
        type=int,
        default=0,
        help="further clips, all for validation: narrower intervals",
    )
    parser.add_argument(
        "--shapes",
        type=int,
        default=3,
        choices=(3, 6),
        help="3: with four ways to move; 6: with two",
    )
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    classes = [
        (shape, way)
        for shape in list(SHAPES)[: given.shapes]
        for way in list(WAYS)[: 12 // given.shapes]
    ]

    def draw(number: int, kind: int, _: bool) -> list[np.ndarray]:
        shape, way = classes[kind]
        return clip(SHAPES[shape], WAYS[way], np.random.default_rng([given.seed, number]))

    write_set(
        given.out,
        [f"Pushing a {shape} {way}" for shape, way in classes],
        given.clips,
        given.judges,
        draw,
    )


if __name__ == "__main__":
    main()
