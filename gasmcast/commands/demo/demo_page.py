"""Render the page of the demo: results, pictures, and a time line of the live run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from gasmcast.labels import class_name
from gasmcast.report.html import Share, Table, data_uri, render
from gasmcast.report.percent import percent

__all__ = ["Hits", "render_page"]

ROW_HEIGHT = 20
"""Height of one class in the time line, in SVG units like the two below."""
LABEL_WIDTH = 330
LINE_WIDTH = 560


class Hits(NamedTuple):
    """Decisions whose window lies within one action of the video."""

    correct: int
    total: int


@dataclass(frozen=True)
class _Label:
    name: str
    y: int


@dataclass(frozen=True)
class _Action:
    x: float
    y: int
    width: float


@dataclass(frozen=True)
class _Dot:
    x: float
    y: int
    opacity: float


@dataclass(frozen=True)
class _TimeLine:
    """Time line with a row for each class, in SVG units."""

    width: int
    height: int
    labels: list[_Label]
    actions: list[_Action]
    decisions: list[_Dot]


def render_page(
    folder: Path,
    *,
    scores: dict[str, Any],
    manifest: dict[str, Any],
    actions: list[dict[str, Any]],
    decisions: list[dict[str, Any]],
    hits: Hits,
    times: dict[str, float],
) -> str:
    """Return the page as HTML text; pictures are inside it, the video is a file of its folder.

    Args:
        folder: folder of the demo.
        scores: content of the evaluation's `scores.json`.
        manifest: content of the bundle's `manifest.json`.
        actions: actions of the video, with `start_s`, `end_s` and `template`.
        decisions: decision records of the live run.
        hits: how many decisions are right.
        times: seconds of each verb.
    """
    # Template variables are plain data; markup is made by the template alone.
    seconds = [(f"gasmcast {verb}", f"{value:.0f}") for verb, value in times.items()]
    return render(
        "demo.html.j2",
        title="gasmcast demo",
        targets=Table(("", "measured", "target"), _targets(scores, manifest), numbers=(1,)),
        hits=hits,
        line=_time_line(actions, decisions),
        stills=_stills(folder / "live.mp4", decisions),
        curves=_picture(folder / "run" / "curves.png"),
        confusion=_picture(folder / "run" / "eval" / "confusion.png"),
        times=Table(("", "s"), seconds, numbers=(1,)),
    )


def _targets(
    scores: dict[str, Any], manifest: dict[str, Any]
) -> list[tuple[str, Share | str, str]]:
    """Return name, measured share and target of each result."""
    # A model that ignores time cannot exceed the ceiling, with frames in order or shuffled.
    backwards, shuffled = scores["reversed"], scores["shuffled"]
    ceiling = shuffled["blind_ceiling"]
    rows: list[tuple[str, Share | str, str]] = [
        (
            f"held-out top-1 ({scores['clips']} clips, chance {percent(scores['chance'])})",
            Share(scores["top1"], passed=scores["top1"] >= 0.9),
            "≥ 90 %",
        ),
        (
            "played backwards: the reversed class",
            Share(backwards["reversed_top1"], passed=backwards["reversed_top1"] >= 0.8),
            "≥ 80 %",
        ),
        (
            "paired classes that follow",
            Share(backwards["classes_followed"], passed=backwards["classes_followed"] >= 0.8),
            "≥ 80 %",
        ),
        (
            "frames shuffled: top-1",
            Share(shuffled["shuffled_top1"], passed=shuffled["shuffled_top1"] <= ceiling + 0.1),
            f"near or below {100 * ceiling:.0f} %",
        ),
    ]

    # The gate may have refused INT8, and the bundle then runs in FP32.
    fp32, int8 = manifest["precisions"]["fp32"], manifest["precisions"].get("int8")
    if int8 is None:
        return [*rows, ("INT8", "failed the gate", "in the bundle")]
    loss = fp32["top1"] - int8["top1"]
    return [
        *rows,
        (
            "INT8: same answer as FP32",
            Share(int8["agreement"], passed=int8["agreement"] >= 0.98),
            "≥ 98 %",
        ),
        ("INT8: top-1 lost", Share(loss, passed=loss <= 0.01), "≤ 1 %"),
    ]


def _time_line(actions: list[dict[str, Any]], decisions: list[dict[str, Any]]) -> _TimeLine:
    """Lay out bars of the true actions and dots of the decisions."""
    end_s: float = max(action["end_s"] for action in actions)
    true_names = {class_name(action["template"]) for action in actions}
    names = sorted(true_names | {decision["label"] for decision in decisions})
    rows = {name: ROW_HEIGHT * i for i, name in enumerate(names)}

    def x(time_s: float) -> float:
        return LABEL_WIDTH + LINE_WIDTH * min(time_s, end_s) / end_s

    bars = []
    for action in actions:
        start, end = x(action["start_s"]), x(action["end_s"])
        bars.append(_Action(start, rows[class_name(action["template"])] + 2, end - start))

    # Confident decisions are drawn darker.
    dots = []
    for decision in decisions:
        y = rows[decision["label"]] + 13
        dots.append(_Dot(x(decision["time_s"]), y, 0.3 + 0.7 * decision["p"]))

    return _TimeLine(
        width=LABEL_WIDTH + LINE_WIDTH + 10,
        height=ROW_HEIGHT * len(names) + 6,
        labels=[_Label(name, y + 14) for name, y in rows.items()],
        actions=bars,
        decisions=dots,
    )


def _stills(video: Path, decisions: list[dict[str, Any]], count: int = 4) -> str:
    """Return frames of the annotated video as a data URI; empty if none can be read.

    Browsers do not play MPEG-4 part 2, so the page shows frames evenly spread over the decisions.
    """
    if not decisions:
        return ""
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG)
    frames = []
    try:
        for i in range(count):
            # The middle of each quarter of the decisions.
            decision = decisions[len(decisions) * (2 * i + 1) // (2 * count)]
            capture.set(cv2.CAP_PROP_POS_MSEC, 1000 * decision["time_s"])
            decoded, frame = capture.read()
            if decoded:
                frames.append(frame)
    finally:
        capture.release()

    if not frames:
        return ""
    # PNG, because JPEG blurs the text that `live` draws into the frames.
    _, png = cv2.imencode(".png", np.concatenate(frames, 1))
    return data_uri(png.tobytes(), "png")


def _picture(path: Path) -> str:
    return data_uri(path.read_bytes(), "png")
