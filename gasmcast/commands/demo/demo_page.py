"""Render the page of the demo: results, pictures, and a time line of the live run."""

from __future__ import annotations

import math
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
"""Height of one class in the time line, in SVG units like those below."""
AXIS_HEIGHT = 34
LINE_WIDTH = 560
LETTER_WIDTH = 6.6
"""Mean width of a letter of a label."""
MOST_LETTERS = 60
"""Letters of a label that are shown; the rest is in its tooltip."""
MOST_TICKS = 10
MOST_VIDEO_BYTES = 8_000_000
"""Size up to which the video is inside the page; a larger one is a file beside it."""


HEAD = ("", "measured", "target", "what it means")


class Hits(NamedTuple):
    """Decisions whose window lies within one action of the video."""

    correct: int
    total: int


@dataclass(frozen=True)
class _Label:
    name: str
    text: str
    """The name, shortened where it is long."""
    y: int


@dataclass(frozen=True)
class _Tick:
    x: float
    text: str


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

    left: float
    """Where time 0 is."""
    width: float
    height: int
    axis_y: int
    ticks: list[_Tick]
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
    """Return the page as HTML text; pictures are inside it, and the video unless it is large.

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
        targets=Table(HEAD, _targets(scores, manifest), numbers=(1,)),
        hits=hits,
        line=_time_line(actions, decisions),
        video=_video(folder / "live.mp4"),
        stills=_stills(folder / "live.mp4", decisions),
        curves=_picture(folder / "run" / "curves.png"),
        confusion=_picture(folder / "run" / "eval" / "confusion.png"),
        times=Table(("", "s"), seconds, numbers=(1,)),
    )


def _targets(
    scores: dict[str, Any], manifest: dict[str, Any]
) -> list[tuple[str, Share | str, str, str]]:
    """Return name, measured share, target and meaning of each result."""
    # A model that ignores time cannot exceed the ceiling, with frames in order or shuffled.
    backwards, shuffled = scores["reversed"], scores["shuffled"]
    ceiling = shuffled["blind_ceiling"]
    rows: list[tuple[str, Share | str, str, str]] = [
        (
            "held-out top-1",
            Share(scores["top1"], passed=scores["top1"] >= 0.9),
            "≥ 90 %",
            f"right answers on {scores['clips']} clips that training never saw; "
            f"always guessing the most frequent class gives {percent(scores['chance'])}",
        ),
        (
            "played backwards: the reversed class",
            Share(backwards["reversed_top1"], passed=backwards["reversed_top1"] >= 0.8),
            "≥ 80 %",
            "clips whose action reads as its opposite when they are played backwards: "
            "how many are recognized as that opposite",
        ),
        (
            "paired classes that follow",
            Share(backwards["classes_followed"], passed=backwards["classes_followed"] >= 0.8),
            "≥ 80 %",
            "classes that have such an opposite: in how many most clips change to it",
        ),
        (
            "frames shuffled: top-1",
            Share(shuffled["shuffled_top1"], passed=shuffled["shuffled_top1"] <= ceiling + 0.1),
            f"near or below {100 * ceiling:.0f} %",
            "without the order of its frames an action looks like its opposite: a model that "
            "uses the order falls to what looks alone can give",
        ),
    ]

    # The gate may have refused INT8, and the bundle then runs in FP32.
    fp32, int8 = manifest["precisions"]["fp32"], manifest["precisions"].get("int8")
    if int8 is None:
        meaning = "the accuracy gate compares INT8 with FP32, and live runs what passes"
        return [*rows, ("INT8", "failed the gate", "in the bundle", meaning)]
    loss = fp32["top1"] - int8["top1"]
    return [
        *rows,
        (
            "INT8: same answer as FP32",
            Share(int8["agreement"], passed=int8["agreement"] >= 0.98),
            "≥ 98 %",
            "clips on which the small, fast 8-bit model says the same as the full one",
        ),
        (
            "INT8: top-1 lost",
            Share(loss, passed=loss <= 0.01),
            "≤ 1 %",
            "right answers that the 8-bit model has fewer",
        ),
    ]


def _time_line(actions: list[dict[str, Any]], decisions: list[dict[str, Any]]) -> _TimeLine:
    """Lay out bars of the true actions and dots of the decisions."""
    end_s: float = max(action["end_s"] for action in actions)
    true_names = {class_name(action["template"]) for action in actions}
    names = sorted(true_names | {decision["label"] for decision in decisions})
    rows = {name: ROW_HEIGHT * i for i, name in enumerate(names)}

    # The longest label must not run into the bars.
    texts = {name: _shorten(name) for name in names}
    left = round(LETTER_WIDTH * max(len(text) for text in texts.values()) + 12, 1)

    def x(time_s: float) -> float:
        return left + LINE_WIDTH * min(time_s, end_s) / end_s

    bars = []
    for action in actions:
        start, end = x(action["start_s"]), x(action["end_s"])
        bars.append(_Action(start, rows[class_name(action["template"])] + 2, end - start))

    # Confident decisions are drawn darker.
    dots = []
    for decision in decisions:
        y = rows[decision["label"]] + 13
        dots.append(_Dot(x(decision["time_s"]), y, 0.3 + 0.7 * decision["p"]))

    axis_y = ROW_HEIGHT * len(names) + 4
    step_s = _tick_step_s(end_s)
    times_s = [step_s * i for i in range(int(end_s / step_s) + 1)]
    return _TimeLine(
        left=left,
        width=left + LINE_WIDTH + 20,
        height=axis_y + AXIS_HEIGHT,
        axis_y=axis_y,
        ticks=[_Tick(x(time_s), f"{time_s:g}") for time_s in times_s],
        labels=[_Label(name, texts[name], y + 14) for name, y in rows.items()],
        actions=bars,
        decisions=dots,
    )


def _shorten(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else name[: MOST_LETTERS - 1].rstrip() + "…"


def _tick_step_s(end_s: float) -> float:
    """Return the step between ticks of the time axis: 1, 2 or 5 times a power of ten, in s."""
    step_s = 10.0 ** math.floor(math.log10(end_s / MOST_TICKS))
    for factor in (1, 2, 5):
        if end_s / (factor * step_s) <= MOST_TICKS:
            return factor * step_s
    return 10 * step_s


def _video(path: Path) -> str:
    """Return the address of the video: a data URI if it is small; empty if there is none."""
    if not path.is_file():
        return ""
    # A single file can be sent to somebody; a browser cannot seek in a large data URI.
    if path.stat().st_size <= MOST_VIDEO_BYTES:
        return data_uri(path.read_bytes(), "mp4")
    return path.name


def _stills(video: Path, decisions: list[dict[str, Any]], count: int = 4) -> str:
    """Return frames of the annotated video as a data URI; empty if none can be read.

    They are evenly spread over the decisions, for who looks without playing, and for print.
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
