r"""Measure `augment.speed` on a campaign that is recorded at another tempo.

    python docs/experiments/tempo.py FOLDER
    python docs/experiments/tempo.py FOLDER --preset small-data --clips 300 --seeds 2 \
        --set model.semantic_weights=dinov2_s14.safetensors ...

A call that is stopped goes on where it was. A preset with `train.cache_views` trains on features,
which all seeds of a row share.

The training clips are those of a synthetic set. The judged campaigns are its validation clips, and
the same clips played twice as fast and half as fast.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import cv2
import numpy as np
import yaml

import gasmcast
from gasmcast.config import load_config
from gasmcast.data.synthetic.clips import make_set
from gasmcast.evaluation.classifier import open_classifier
from gasmcast.evaluation.predict import predict
from gasmcast.training.inputs.training_set import open_training_set
from gasmcast.video.reader import read_frames

SPEEDS = {"as recorded": 1.0, "twice as fast": 2.0, "half as fast": 0.5}
ROWS = {"without": (1.0, 1.0), "augment.speed [0.5, 2]": (0.5, 2.0)}


def main() -> None:
    """Train with and without drawn speeds, and print top-1 on each campaign."""
    args = parse_args()
    data = args.folder / "data"
    if not data.exists():
        make_set(data, clips=args.clips)
    campaigns = {name: replayed(data, args.folder, speed) for name, speed in SPEEDS.items()}

    for name, speed in ROWS.items():
        settings = {**args.settings, "augment.speed": list(speed), "train.workers": 0}
        cache = encode(args.preset, data, settings, args.folder / f"features-{speed[1]:g}")

        scores: dict[str, list[float]] = {campaign: [] for campaign in campaigns}
        for seed in range(args.seeds):
            run = args.folder / f"speed-{speed[1]:g}-{seed}"
            if not (run / "summary.json").exists():
                seeded = {**settings, "train.seed": seed}
                if not gasmcast.train(
                    args.preset, data, run, settings=seeded, cache=cache, resume=True
                ):
                    sys.exit("Stopped; the next call goes on.")
            for campaign, place in campaigns.items():
                scores[campaign].append(100 * accuracy(run, place))

        for campaign, top1 in scores.items():
            listed = ", ".join(f"{value:.1f}" for value in top1)
            print(f"{name}, {campaign}: top-1 {mean(top1):.1f} % ({listed})", flush=True)


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line; `settings` are those of `--set`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--clips", type=int, default=450)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    pairs = [item.partition("=") for item in args.set]
    args.settings = {key: yaml.safe_load(value) for key, _, value in pairs}
    return args


def encode(preset: str, data: Path, settings: dict[str, Any], cache: Path) -> Path | None:
    """Fill the cache of a row, if the preset trains on features, and return its folder."""
    views = load_config(preset, settings).train.cache_views
    if not views:
        return None
    command = [sys.executable, "-m", "gasmcast", "cache", preset, "--data", str(data)]
    command += ["--out", str(cache), "--views", str(views)]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    subprocess.run(command, check=True)
    return cache


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
    opened = open_training_set(run / "config.yaml", data, {"train.cache_views": 0}, preload=False)
    assert opened.validation is not None
    scores, labels = predict(open_classifier(run).logits, opened.validation)
    return float((scores.argmax(1) == labels).mean())


if __name__ == "__main__":
    main()
