r"""Measure what background in the training does to the rejection of background, with three seeds.

    python docs/experiments/background.py OUT --digits digits.csv.gz --footage FIGHT

Two sets of twelve classes: shapes that cross a texture, and digits that cross real footage (see
`shapes_and_moves.py` and `digits_over_footage.py`). Background is the same without the action: for
shapes a texture alone, or with a shape that stays; for digits the footage alone. Background of the
training and of the judgement shares no texture and no footage. Shapes that go there and back are
judged, too, and never trained on: an action that is none of the user's.

Three trainings of `demo`: without background, with it as outlier exposure (`train.background`), and
with it as a thirteenth class. The threshold keeps 95 % of the validation clips that are right.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean

import cv2
import numpy as np
import torch
from digits_over_footage import DIGITS, read_background, read_digits
from digits_over_footage import draw_clip as draw_digit
from numpy.typing import NDArray
from shapes_and_moves import SHAPES, SIZE, WAYS, write_set, write_video
from shapes_and_moves import draw_clip as draw_shape

import gasmcast
from gasmcast.data.annotations import read_split
from gasmcast.data.background_windows import background_windows, find_background
from gasmcast.data.dataset import ClipDataset
from gasmcast.evaluation.predict import predict
from gasmcast.models.checkpoint import load_checkpoint

CLIPS, BACKGROUND, SEEDS = 320, 100, (0, 1, 2)
TRAINING = {"train.epochs": 12, "train.workers": 0, "spec.segment_s": 0.5}
NOTHING = "nothing"


def make_shapes(out: Path) -> None:
    """Write the set of shapes and its background."""
    classes = [(shape, way) for shape in list(SHAPES)[:3] for way in WAYS]

    def draw(number: int, kind: int, _: bool) -> list[np.ndarray]:
        shape, way = classes[kind]
        return draw_shape(SHAPES[shape], WAYS[way], np.random.default_rng([0, number]))

    def still(rng: np.random.Generator) -> list[np.ndarray]:
        frames = draw_shape(SHAPES["disc"], WAYS["down"], rng)
        # The first frame with the noise of its own, and often without the shape.
        picture = frames[0].astype(np.float32)
        if rng.random() < 0.5:
            picture = cv2.resize(cv2.resize(picture, (6, 6)), (SIZE, SIZE))
        noise = (rng.normal(0, 5, picture.shape) for _ in frames)
        return [np.clip(picture + one, 0, 255).astype(np.uint8) for one in noise]

    def there_and_back(rng: np.random.Generator) -> list[np.ndarray]:
        shape, way = classes[rng.integers(len(classes))]
        frames = draw_shape(SHAPES[shape], WAYS[way], rng)[::2]
        return [*frames, *frames[::-1]]

    names = [f"Pushing a {shape} {way}" for shape, way in classes]
    write_set(out / "data", names, CLIPS, 240, draw)
    write_background(out / "trained", still, 1)
    write_background(out / "judged" / "nothing", still, 2)
    write_background(out / "judged" / "there and back", there_and_back, 3)


def make_digits(out: Path, table: Path, footage: Path) -> None:
    """Write the set of digits over footage and its background."""
    images = read_digits(table)
    videos = {
        split == "train": [sample.path for sample in read_split(footage, split)]
        for split in ("train", "validation")
    }
    classes = [(digit, way) for digit in DIGITS for way in list(WAYS)[:3]]

    def draw(number: int, kind: int, training: bool) -> list[np.ndarray]:
        rng = np.random.default_rng([0, number])
        digit, way = classes[kind]
        image = images[training][digit][rng.integers(len(images[training][digit]))]
        return draw_digit(image, WAYS[way], any_of(videos[training], rng), rng)

    def empty(training: bool) -> Callable[[np.random.Generator], list[np.ndarray]]:
        def frames(rng: np.random.Generator) -> list[np.ndarray]:
            scene = read_background(any_of(videos[training], rng), 40, rng)
            return [
                np.clip(one + rng.normal(0, 5, one.shape), 0, 255).astype("u1") for one in scene
            ]

        return frames

    names = [f"Pushing a {digit} {way}" for digit, way in classes]
    write_set(out / "data", names, CLIPS, 240, draw)
    write_background(out / "trained", empty(True), 1)
    write_background(out / "judged" / "footage", empty(False), 2)


def any_of(videos: list[Path | None], rng: np.random.Generator) -> Path:
    """Return one of the videos."""
    video = videos[rng.integers(len(videos))]
    assert video is not None
    return video


def write_background(
    folder: Path, draw: Callable[[np.random.Generator], list[np.ndarray]], seed: int
) -> None:
    """Write videos of background."""
    folder.mkdir(parents=True)
    for number in range(BACKGROUND):
        write_video(folder / f"{number}.mp4", draw(np.random.default_rng([seed, number])))


def add_class(out: Path) -> Path:
    """Return a copy of the set whose thirteenth class is the background of the training."""
    data = out / "data with a class"
    shutil.copytree(out / "data", data)
    labels = json.loads((data / "labels/labels.json").read_text())
    labels[NOTHING] = str(len(labels))
    (data / "labels/labels.json").write_text(json.dumps(labels))

    rows = json.loads((data / "labels/train.json").read_text())
    for number, video in enumerate(sorted((out / "trained").iterdir())):
        shutil.copy(video, data / "videos" / f"{9000 + number}.mp4")
        row = {"id": str(9000 + number), "template": NOTHING, "label": NOTHING}
        rows.append({**row, "placeholders": []})
    (data / "labels/train.json").write_text(json.dumps(rows))
    return data


def logits_of(run: gasmcast.TrainResult, places: list[Path], data: Path) -> Iterator[NDArray]:
    """Yield the logits of the validation clips, and of the background in each place."""
    model, config, *_ = load_checkpoint(run.checkpoint)
    model.eval()

    def classify(clips: NDArray) -> NDArray:
        with torch.inference_mode():
            return model(torch.from_numpy(np.asarray(clips))).numpy()

    sets = [read_split(data, "validation")]
    for place in places:
        windows = background_windows(find_background([place]), config.spec.window_s, BACKGROUND)
        sets.append([replace(window, label=0) for window in windows])
    for samples in sets:
        yield predict(classify, ClipDataset(samples, config.spec, None, 0), workers=0)[0]


def judge(logits: list[NDArray], truth: NDArray) -> list[float]:
    """Return top-1 in %, and the reported share in % of each kind of background."""
    classes = int(truth.max()) + 1
    best = [rows[:, :classes].max(1) for rows in logits]
    # With a class of nothing, the margin to it decides.
    if logits[0].shape[1] > classes:
        best = [score - rows[:, -1] for score, rows in zip(best, logits, strict=True)]

    right = logits[0][:, :classes].argmax(1) == truth
    threshold = np.quantile(best[0][right], 0.05)
    reported = [100 * float((score > threshold).mean()) for score in best[1:]]
    return [100 * float(right.mean()), *reported]


def main() -> None:
    """Make the sets, train, and print a table for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--digits", type=Path, required=True, help="scikit-learn's digits.csv.gz")
    parser.add_argument("--footage", type=Path, required=True, help="data set of real videos")
    args = parser.parse_args()

    for name in ("shapes", "digits"):
        out = args.out / name
        if not out.exists():
            make_shapes(out) if name == "shapes" else make_digits(out, args.digits, args.footage)
            add_class(out)
        places = sorted((out / "judged").iterdir())
        truth = np.array([sample.label for sample in read_split(out / "data", "validation")])
        print(name, "| top-1 |", " | ".join(place.name for place in places), flush=True)

        rows = {
            "without": (out / "data", {}),
            "outlier exposure": (out / "data", {"background": out / "trained"}),
            "a class": (out / "data with a class", {}),
        }
        for title, (data, options) in rows.items():
            figures = []
            for seed in SEEDS:
                run = gasmcast.train(
                    "demo",
                    data,
                    out / "runs" / f"{title}-{seed}",
                    settings={**TRAINING, "train.seed": seed},
                    warn=lambda _: None,
                    resume=True,
                    **options,
                )
                figures.append(judge(list(logits_of(run, places, out / "data")), truth))
            columns = zip(*figures, strict=True)
            cells = [
                f"{mean(values):.1f} ({min(values):.1f} to {max(values):.1f})" for values in columns
            ]
            print(f"{title} | {' | '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
