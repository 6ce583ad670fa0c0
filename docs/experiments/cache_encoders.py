"""Compare what fills a feature cache on a CPU: OpenVINO and PyTorch, on clips of a set.

    python docs/experiments/cache_encoders.py DATA [--set model.motion_backbone=i3d ...]

Both encode the same clips in turns. Printed are seconds a clip (medians of the rounds), their
ratio, and for each tap the error of OpenVINO's features: the distance from PyTorch's over their
spread, channels standardized.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

from gasmcast.data.malloc import keep_memory
from gasmcast.features.openvino_taps import OpenVinoTaps
from gasmcast.models.model import build_model
from gasmcast.training.inputs.training_set import open_training_set

ROUNDS = 3


def main() -> None:
    """Encode some clips both ways and print times and errors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--preset", default="small-data")
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    pairs = [item.partition("=") for item in args.set]
    settings = {key: yaml.safe_load(value) for key, _, value in pairs}

    keep_memory()
    opened = open_training_set(args.preset, args.data, settings, preload=False)
    plain = opened.clips.plain()
    chosen = np.linspace(0, len(plain) - 1, args.clips).astype(int)
    clips = torch.stack([plain[int(i)][0] for i in chosen])
    model = build_model(opened.config).eval()
    started = time.perf_counter()
    taps = OpenVinoTaps(model)
    print(f"OpenVINO was ready after {time.perf_counter() - started:.1f} s")

    with torch.inference_mode():
        encoders: dict[str, Callable[[Tensor], Tensor]] = {
            "torch": model.backbone_taps,
            "openvino": taps,
        }
        rows = {name: encode(clips) for name, encode in encoders.items()}
        seconds: dict[str, list[float]] = {name: [] for name in encoders}
        for _ in range(ROUNDS):
            for name, encode in encoders.items():
                started = time.perf_counter()
                encode(clips)
                seconds[name].append((time.perf_counter() - started) / len(clips))

    torch_s, openvino_s = (statistics.median(seconds[name]) for name in ("torch", "openvino"))
    print(f"PyTorch {torch_s:.2f} s, OpenVINO {openvino_s:.2f} s: {openvino_s / torch_s:.2f}")
    semantic, motion = model.encoder.tap_shapes()
    shapes = [*semantic, *motion]
    sizes = [prod(shape) for shape in shapes]
    errors = []
    for ours, exact, shape in zip(
        torch.split(rows["openvino"], sizes, 1),
        torch.split(rows["torch"], sizes, 1),
        shapes,
        strict=True,
    ):
        exact = exact.reshape(-1, shape[-1])  # noqa: PLW2901 - rows of channels
        spread = exact.std(0) + 1e-6
        difference = (ours.reshape(-1, shape[-1]) - exact) / spread
        errors.append(float(difference.square().mean().sqrt()))
    print("error by tap:", ", ".join(f"{error:.3f}" for error in errors))


if __name__ == "__main__":
    main()
