r"""Write a data set in which handwritten digits cross real surveillance footage.

    pip download scikit-learn --no-deps
    unzip -j scikit_learn-*.whl "sklearn/datasets/data/digits.csv.gz"
    python docs/experiments/digits_over_footage.py OUT --digits digits.csv.gz --footage FIGHT \
        --clips 240 --validation-clips 180

Twelve classes: four digits, three ways to move. A single frame shows the digit, only the order of
frames shows the way, and the people in the background move too. No image of a digit and no footage
is in both splits: FIGHT is a data set whose own splits share no source. Digits: Alpaydin and
Kaynak 1998.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from shapes_and_moves import FPS, SIZE, WAYS, add_set_options, position, write_set

from gasmcast.data.annotations import read_split
from gasmcast.video.reader import read_frames

DIGITS = (2, 3, 5, 8)  # easily confused

DigitImages = dict[bool, dict[int, list[np.ndarray]]]
"""Images of each digit, for training (True) and for validation (False)."""


def read_digits(table: Path) -> DigitImages:
    """Return float images `(8, 8)` in 0..1: even rows of the table are for training."""
    images: DigitImages = {split: {digit: [] for digit in DIGITS} for split in (True, False)}

    # `loadtxt` decompresses gzip itself; the last column is the digit.
    for number, row in enumerate(np.loadtxt(table, delimiter=",", dtype=np.float32)):
        digit = int(row[-1])
        if digit in DIGITS:
            images[number % 2 == 0][digit].append(row[:-1].reshape(8, 8) / 16)
    return images


def read_background(path: Path, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return `count` square float frames of a random part of a video, at the set's frame rate.

    A video that is too short starts again.
    """
    timestamps, frames = zip(*read_frames(path), strict=True)
    wanted = rng.uniform(0, timestamps[-1] / 2) + np.arange(count) / FPS
    places = np.searchsorted(timestamps, wanted) % len(timestamps)

    # Another square of the video for each clip, so that the background does not identify it.
    height, width = frames[0].shape[:2]
    side = int(rng.uniform(0.6, 1) * min(height, width))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))

    background = []
    for place in places:
        crop = frames[place][top : top + side, left : left + side, ::-1]  # RGB to BGR
        resized = cv2.resize(crop, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        background.append(resized.astype(np.float32))
    return background


def draw_clip(
    digit: np.ndarray, way: tuple[int, int], footage: Path, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return uint8 frames `(H, W, 3)` of a digit in one color that crosses the footage."""
    # The order of the draws fixes the clips of a seed: do not reorder them.
    count = int(rng.integers(30, 50))
    backgrounds = read_background(footage, count, rng)
    size = float(rng.uniform(56, 88))
    color = rng.uniform(0, 255, 3).astype(np.float32)
    ends, offset = (rng.uniform(0.05, 0.25), rng.uniform(0.75, 0.95)), rng.uniform(0.3, 0.7) * SIZE

    frames = []
    for time, background in zip(np.linspace(0, 1, count), backgrounds, strict=True):
        x, y = position(time, ends, offset, way)
        place = np.array([[size / 8, 0, x - size / 2], [0, size / 8, y - size / 2]])
        mask = cv2.warpAffine(digit, place, (SIZE, SIZE), flags=cv2.INTER_CUBIC)
        opacity = np.clip(mask[..., None], 0, 1)  # cubic interpolation overshoots

        frame = background * (1 - opacity) + color * opacity
        # Noise of the size of a camera's hides the exact edge of the digit.
        noisy = frame + rng.normal(0, 5, background.shape)
        frames.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return frames


def main() -> None:
    """Write the set that the command line describes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_set_options(parser)
    parser.add_argument("--digits", type=Path, required=True, help="scikit-learn's digits.csv.gz")
    parser.add_argument("--footage", type=Path, required=True, help="data set of real videos")
    args = parser.parse_args()

    # Each split has images and videos of its own.
    digits = read_digits(args.digits)
    videos = {
        True: [sample.path for sample in read_split(args.footage, "train")],
        False: [sample.path for sample in read_split(args.footage, "validation")],
    }

    # The way "up" is left out: twelve classes, as in the sets of shapes.
    classes = [(digit, way) for digit in DIGITS for way in list(WAYS)[:3]]

    def draw(number: int, kind: int, training: bool) -> list[np.ndarray]:
        rng = np.random.default_rng([args.seed, number])
        digit, way = classes[kind]

        # The order of these draws fixes the clips of a seed.
        image = digits[training][digit][rng.integers(len(digits[training][digit]))]
        footage = videos[training][rng.integers(len(videos[training]))]
        assert footage is not None
        return draw_clip(image, WAYS[way], footage, rng)

    names = [f"Pushing a {digit} {way}" for digit, way in classes]
    write_set(args.out, names, args.clips, args.validation_clips, draw)


if __name__ == "__main__":
    main()
