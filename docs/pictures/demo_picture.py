"""Draw the picture of the README from a finished demo.

    make demo
    python docs/pictures/demo_picture.py demo docs/demo.png

Four decisions are shown, each with frames of its window: of every action that was recognized the
most confident decision, of these the most confident four (without those of a moving camera). The
caption says what really happens in the video, so a confident mistake would be seen.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from gasmcast.commands.demo.strongest import (
    choose_decisions,
    choose_strip,
    confidence,
    read_windows,
)
from gasmcast.labels import class_name

__all__ = ["draw_picture", "true_action"]

FRAMES = 3
"""Frames shown of each window."""
INK, SOFT, RIGHT, WRONG = "#1b2533", "#5b6675", "#15803d", "#b91c1c"

Decision = dict[str, Any]


def true_action(decision: Decision, actions: list[dict[str, Any]]) -> str:
    """Return the action that fills most of a decision's window."""
    begin, end = decision["window"]
    action = max(actions, key=lambda one: min(end, one["end_s"]) - max(begin, one["start_s"]))
    return class_name(action["template"])


def draw_picture(demo: Path, out: Path) -> list[Decision]:
    """Write the picture of a demo folder as PNG and return the decisions that it shows."""
    lines = (demo / "live.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    chosen = choose_decisions([record for record in records if record["kind"] == "decision"])
    actions = json.loads((demo / "stream.json").read_text(encoding="utf-8"))

    windows = read_windows(demo / "stream.mp4", chosen)

    figure, axes = plt.subplots(2, 2, figsize=(10, 4.1), dpi=110, layout="constrained")
    for decision, window, ax in zip(chosen, windows, axes.flat, strict=False):
        _draw_decision(ax, decision, true_action(decision, actions), choose_strip(window, FRAMES))
    for ax in axes.flat:
        ax.set_axis_off()
    figure.savefig(out)
    plt.close(figure)
    return chosen


def _draw_decision(
    ax: Axes, decision: Decision, truth: str, frames: list[NDArray[np.uint8]]
) -> None:
    # Thin white lines tell the frames apart.
    gap = np.full((frames[0].shape[0], 3, 3), 255, np.uint8)
    parts = [part for frame in frames for part in (frame, gap)][:-1]
    ax.imshow(np.concatenate(parts, axis=1))

    # Headline: what the model says; below it what is true.
    right = decision["label"] == truth
    begin, end = decision["window"]
    ax.set_title(decision["label"], loc="left", fontsize=11, fontweight="bold", color=INK)
    note = f"{100 * confidence(decision):.0f} %, {begin:.1f} to {end:.1f} s, "
    note += "right" if right else f"wrong: {truth}"
    ax.text(
        0.0,
        -0.03,
        note,
        transform=ax.transAxes,
        va="top",
        fontsize=9,
        color=RIGHT if right else WRONG,
    )


def main() -> None:
    """Write the picture and print what it shows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="folder of `gasmcast demo`")
    parser.add_argument("out", type=Path, help="PNG to write")
    args = parser.parse_args()
    for decision in draw_picture(args.demo, args.out):
        print(f"{decision['window'][1]:.1f} s  {decision['label']}  {confidence(decision):.2f}")


if __name__ == "__main__":
    main()
