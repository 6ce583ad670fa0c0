"""A set of real pictures with made-up ways to move: real handwritten digits cross real surveillance footage that goes on behind them.

    pip download scikit-learn --no-deps && unzip -j scikit_learn-*.whl "sklearn/datasets/data/digits.csv.gz"
    python docs/experiments/digits_over_footage.py OUT --digits digits.csv.gz --footage FIGHT --clips 240 --judges 180

Twelve classes: four digits, three ways. One frame shows the digit, only the order of frames shows the way, and the people behind move too.
No picture of a digit and no footage is in both splits: FIGHT is a set whose own splits share no source. Digits: Alpaydin and Kaynak 1998.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from shapes_and_moves import FPS, SIZE, WAYS, reached, write_set

from gasmcast.data.annotations import read_split
from gasmcast.video.reader import read_frames

DIGITS = (2, 3, 5, 8)  # easily taken for each other


def hands(table: Path) -> dict[bool, dict[int, list[np.ndarray]]]:
    """`(8, 8)` pictures 0..1 of each digit: even rows of the table for training (True), odd ones to judge."""
    found: dict[bool, dict[int, list[np.ndarray]]] = {
        side: {digit: [] for digit in DIGITS} for side in (True, False)
    }
    for number, row in enumerate(
        np.loadtxt(table, delimiter=",", dtype=np.float32)
    ):  # it reads gzip too
        digit = int(row[-1])
        if digit in DIGITS:
            found[number % 2 == 0][digit].append(row[:-1].reshape(8, 8) / 16)
    return found


def behind(path: Path, frames: int, rng: np.random.Generator) -> list[np.ndarray]:
    """That many square frames of a part of a real video at the set's own rate, again from the start where it is short."""
    stamps, pictures = zip(*read_frames(path), strict=True)
    places = np.searchsorted(
        stamps, rng.uniform(0, stamps[-1] / 2) + np.arange(frames) / FPS
    ) % len(stamps)
    height, width = pictures[0].shape[:2]
    side = int(rng.uniform(0.6, 1) * min(height, width))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    cut = [pictures[i][top : top + side, left : left + side, ::-1] for i in places]
    return [
        cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32)
        for picture in cut
    ]


def clip(
    hand: np.ndarray, way: tuple[int, int], footage: Path, rng: np.random.Generator
) -> list[np.ndarray]:
    """Frames of a digit in a color of its own that crosses the footage."""
    frames = int(rng.integers(30, 50))
    grounds = behind(footage, frames, rng)
    size = float(rng.uniform(56, 88))
    ink = rng.uniform(0, 255, 3).astype(np.float32)
    ends, side = (rng.uniform(0.05, 0.25), rng.uniform(0.75, 0.95)), rng.uniform(0.3, 0.7) * SIZE
    found = []
    for u, ground in zip(np.linspace(0, 1, frames), grounds, strict=True):
        x, y = reached(u, ends, side, way)
        place = np.array([[size / 8, 0, x - size / 2], [0, size / 8, y - size / 2]])
        cover = np.clip(
            cv2.warpAffine(hand, place, (SIZE, SIZE), flags=cv2.INTER_CUBIC)[..., None], 0, 1
        )
        found.append(
            np.clip(
                ground * (1 - cover) + ink * cover + rng.normal(0, 5, ground.shape), 0, 255
            ).astype(np.uint8)
        )
    return found


def main() -> None:
    """Write the set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--digits", type=Path, required=True)
    parser.add_argument("--footage", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=240, help="three of four for training")
    parser.add_argument("--judges", type=int, default=0, help="further clips, all for validation")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    written = hands(given.digits)
    videos = {
        side: [s.path for s in read_split(given.footage, name)]
        for side, name in ((True, "train"), (False, "validation"))
    }
    classes = [(digit, way) for digit in DIGITS for way in list(WAYS)[:3]]

    def draw(number: int, kind: int, training: bool) -> list[np.ndarray]:
        rng = np.random.default_rng([given.seed, number])
        digit, way = classes[kind]
        hand = written[training][digit][rng.integers(len(written[training][digit]))]
        footage = videos[training][rng.integers(len(videos[training]))]
        assert footage is not None
        return clip(hand, WAYS[way], footage, rng)

    write_set(
        given.out,
        [f"Pushing a {digit} {way}" for digit, way in classes],
        given.clips,
        given.judges,
        draw,
    )


if __name__ == "__main__":
    main()
