"""Measure `augment.speed` on a campaign that is recorded at another tempo, with three seeds.

    python docs/experiments/tempo.py FOLDER

A call that is stopped goes on where it was.

The training clips are those of a synthetic set. The judged campaigns are its validation clips, and
the same clips played twice as fast and half as fast.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean

import cv2
import numpy as np

import gasmcast
from gasmcast.data.synthetic.clips import make_set
from gasmcast.evaluation.classifier import open_classifier
from gasmcast.evaluation.predict import predict
from gasmcast.training.inputs.training_set import open_training_set
from gasmcast.video.reader import read_frames

CLIPS = 450
SPEEDS = {"as recorded": 1.0, "twice as fast": 2.0, "half as fast": 0.5}
ROWS = {"without": (1.0, 1.0), "augment.speed [0.5, 2]": (0.5, 2.0)}
SEEDS = (0, 1, 2)


def main() -> None:
    """Train with and without drawn speeds, and print top-1 on each campaign."""
    folder = Path(sys.argv[1])
    data = folder / "data"
    if not data.exists():
        make_set(data, clips=CLIPS)
    campaigns = {name: replayed(data, folder, speed) for name, speed in SPEEDS.items()}

    for name, speed in ROWS.items():
        scores: dict[str, list[float]] = {campaign: [] for campaign in campaigns}
        for seed in SEEDS:
            run = folder / f"speed-{speed[1]:g}-{seed}"
            if not (run / "summary.json").exists():
                settings = {
                    "train.seed": seed,
                    "train.workers": 0,
                    "augment.speed": list(speed),
                }
                if not gasmcast.train("demo", data, run, settings=settings, resume=True):
                    sys.exit("Stopped; the next call goes on.")
            for campaign, place in campaigns.items():
                scores[campaign].append(100 * accuracy(run, place))
        for campaign, top1 in scores.items():
            listed = ", ".join(f"{value:.1f}" for value in top1)
            print(f"{name}, {campaign}: top-1 {mean(top1):.1f} % ({listed})", flush=True)


def replayed(data: Path, folder: Path, speed: float) -> Path:
    """Return the set with its validation videos at another tempo; frames are the same."""
    if speed == 1.0:
        return data
    place = folder / f"speed{speed:g}"
    if place.exists():
        return place
    opened = open_training_set("demo", data, preload=False)
    assert opened.validation is not None
    (place / "videos").mkdir(parents=True)
    (place / "labels").symlink_to((data / "labels").resolve())
    for sample in (*opened.clips.samples, *opened.validation.samples):
        assert sample.path is not None
        target = place / "videos" / f"{sample.id}.mp4"
        if sample in opened.clips.samples:
            target.symlink_to(sample.path.resolve())
        else:
            write_faster(sample.path, target, speed)
    return place


def write_faster(video: Path, target: Path, speed: float) -> None:
    """Write the frames of a video at `speed` times its frame rate."""
    stamps, frames = zip(*read_frames(video), strict=True)
    fps = speed / float(np.median(np.diff(stamps)))
    size = (frames[0].shape[1], frames[0].shape[0])
    code = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(target), cv2.CAP_FFMPEG, code, fps, size)
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def accuracy(run: Path, data: Path) -> float:
    """Return top-1 on the validation clips."""
    opened = open_training_set("demo", data, preload=False)
    assert opened.validation is not None
    scores, labels = predict(open_classifier(run).logits, opened.validation)
    return float((scores.argmax(1) == labels).mean())


if __name__ == "__main__":
    main()
