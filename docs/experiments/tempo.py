r"""Measure other recording campaigns: with `augment.speed`, and with windows of their own length.

    python docs/experiments/tempo.py FOLDER
    python docs/experiments/tempo.py FOLDER --preset small-data --clips 300 --seeds 2 \
        --set model.semantic_weights=dinov2_s14.safetensors ...

A call that is stopped goes on where it was. A preset with `train.cache_views` trains on features,
which all seeds of a row share.

The training clips are those of a synthetic set. The judged campaigns are its validation clips, and
the same clips encoded again, played faster or slower, or smaller on another background at half the
frame rate. Each is judged with the window of the training, and with the default of `gasmcast eval`,
whose windows follow the length of the clips.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

import gasmcast
from gasmcast.config import load_config
from gasmcast.data.synthetic.clips import make_set
from gasmcast.training.inputs.training_set import open_training_set
from gasmcast.video.reader import read_frames


class Campaign(NamedTuple):
    """Describe how the judged clips differ from the training clips."""

    speed: float = 1.0
    every: int = 1
    """Every frame is kept, or every second one, ..."""
    size: float = 1.0
    """Share of the frame that the picture covers; gray noise surrounds it."""
    shake: float = 0.0
    """How far the camera wanders, as a share of the width: a hand-held one."""


CAMPAIGNS = {
    "as recorded": None,
    "encoded again": Campaign(),
    "twice as fast": Campaign(2.0),
    "half as fast": Campaign(0.5),
    "half the frames": Campaign(every=2),
    "three quarters of the size": Campaign(size=0.75),
    "twice as fast, half the frames, smaller": Campaign(2.0, every=2, size=0.75),
    "hand-held": Campaign(shake=0.03),
}
ROWS = {"without": (1.0, 1.0), "augment.speed [0.5, 2]": (0.5, 2.0)}


def main() -> None:
    """Train with and without drawn speeds, and print top-1 on each campaign."""
    args = parse_args()
    data = args.folder / "data"
    if not data.exists():
        make_set(data, clips=args.clips)
    campaigns = {
        name: data if how is None else recorded_again(data, args.folder, how)
        for name, how in CAMPAIGNS.items()
    }

    for name, speed in list(ROWS.items())[: args.rows]:
        settings = {**args.settings, "augment.speed": list(speed), "train.workers": 0}
        cache = encode(args.preset, data, settings, args.folder / f"features-{speed[1]:g}")

        scores: dict[tuple[str, str], list[float]] = {}
        for seed in range(args.seeds):
            run = args.folder / f"speed-{speed[1]:g}-{seed}"
            if not (run / "summary.json").exists():
                seeded = {**settings, "train.seed": seed}
                if not gasmcast.train(
                    args.preset, data, run, settings=seeded, cache=cache, resume=True
                ):
                    sys.exit("Stopped; the next call goes on.")
            for campaign, place in campaigns.items():
                trained = gasmcast.evaluate(run, place, tempo=1.0, out=args.folder / "eval")
                fitted = gasmcast.evaluate(run, place, out=args.folder / "eval")
                rows = {"tempo 1": trained, f"tempo {fitted.tempo:g} by length": fitted}
                for tempo, result in rows.items():
                    scores.setdefault((campaign, tempo), []).append(100 * result.scores.top1)

        for (campaign, tempo), top1 in scores.items():
            listed = ", ".join(f"{value:.1f}" for value in top1)
            print(f"{name}, {campaign}, {tempo}: {mean(top1):.1f} % ({listed})", flush=True)


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line; `settings` are those of `--set`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--clips", type=int, default=450)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=len(ROWS), help="1: without drawn speeds alone")
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


def recorded_again(data: Path, folder: Path, how: Campaign) -> Path:
    """Return the set with its validation videos as another campaign would show them."""
    place = folder / "campaign-{:g}-{}-{:g}-{:g}".format(*how)
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
            write_again(sample.path, target, how)
    return place


def wander(frames: int, step_s: float, seed: int) -> NDArray[np.float64]:
    """Return the path `(frames, 2)` of a hand-held camera, within -1 and 1.

    It is the sum of sways of 0.5 to 5 Hz, slower ones larger.
    """
    rng = np.random.default_rng(seed)
    times_s = np.arange(frames)[:, None] * step_s
    hertz = rng.uniform(0.5, 5, (1, 2 * 6))
    sways = np.sin(2 * np.pi * (hertz * times_s + rng.uniform(0, 1, hertz.shape))) / hertz
    path: NDArray[np.float64] = sways.reshape(frames, 2, 6).sum(2)
    return path / np.abs(path).max()


def write_again(video: Path, target: Path, how: Campaign) -> None:
    """Write a video in MPEG-4 as a campaign shows it."""
    stamps, frames = zip(*read_frames(video), strict=True)
    fps = how.speed / float(np.median(np.diff(stamps))) / how.every
    height, width = frames[0].shape[:2]
    small = (round(width * how.size), round(height * how.size))
    x, y = (width - small[0]) // 2, (height - small[1]) // 2
    noise = np.random.default_rng(0).integers(60, 160, (height, width, 1), np.uint8)
    ground = np.repeat(cv2.blur(noise, (5, 5))[..., None], 3, axis=2)

    code = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(target), cv2.CAP_FFMPEG, code, fps, (width, height))
    kept = frames[:: how.every]
    offsets = how.shake * width * wander(len(kept), 1 / fps, seed=len(frames))
    for frame, (dx, dy) in zip(kept, offsets, strict=True):
        picture = ground.copy()
        picture[y : y + small[1], x : x + small[0]] = cv2.resize(
            frame, small, interpolation=cv2.INTER_AREA
        )
        move = np.array([[1, 0, dx], [0, 1, dy]])
        picture = cv2.warpAffine(picture, move, (width, height), borderMode=cv2.BORDER_REFLECT)
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()


if __name__ == "__main__":
    main()
