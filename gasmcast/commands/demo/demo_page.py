"""The demo's one page: figures, pictures, and a time line of the live run; no script, no link to the outside."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from gasmcast.report.html import document, image, percent, table
from gasmcast.labels import class_name

__all__ = ["render_page"]

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse}td,th{padding:.25rem .9rem .25rem 0;text-align:left;
border-bottom:1px solid #dde3ea}td.n{text-align:right;font-variant-numeric:tabular-nums}img,video{max-width:100%}code{background:#f2f4f7;
padding:.1rem .3rem}.ok{color:#17803d}.no{color:#b42318}small{color:#5b6675}"""


_INTRODUCTION = (
    "Made-up clips of moving things, in pairs of classes that only the order of the frames tells apart. "
    "Trained, evaluated, exported and run live on this machine."
)
_LEGEND = "Bars: what happens in the video. Dots: each decision, at the end of its window."


def render_page(
    folder: Path,
    *,
    scores: dict[str, Any],
    manifest: dict[str, Any],
    actions: list[dict[str, Any]],
    decisions: list[dict[str, Any]],
    hits: tuple[int, int],
    times: dict[str, float],
) -> str:
    """The page as text; pictures are inside it, the video lies beside it."""
    parts = [
        f"<h1>gasmcast demo</h1><p>{_INTRODUCTION}</p>",
        "<h2>What was reached</h2>",
        table(("", "measured", "wanted"), _targets(scores, manifest), (1,)),
        f"<h2>Live</h2><p>{hits[0]} of {hits[1]} windows that lie within one action are right. {_LEGEND}</p>",
        _time_line(actions, decisions),
        f"<p>{_stills(folder / 'live.mp4', decisions)}<br><a href='live.mp4'>live.mp4</a>, the whole of it</p>",
        "<h2>Training</h2>",
        _picture(folder / "run" / "curves.png", "loss and accuracy by epoch"),
        "<h2>Confusions</h2>",
        _picture(folder / "run" / "eval" / "confusion.png", "confusion matrix"),
        "<h2>Seconds a step</h2>",
        table(("", "s"), [(f"gasmcast {name}", f"{value:.0f}") for name, value in times.items()], (1,)),
        "<p><a href='demo.gasm/report.html'>The export's own report</a></p>",
    ]
    return document("gasmcast demo", _STYLE, "\n".join(parts))


def _targets(scores: dict[str, Any], manifest: dict[str, Any]) -> list[tuple[str, str, str]]:
    fp32, int8 = manifest["precisions"]["fp32"], manifest["precisions"].get("int8")
    backwards, shuffled = scores["reversed"], scores["shuffled"]

    def line(name: str, value: float, wanted: str, good: bool) -> tuple[str, str, str]:
        return name, f"<span class='{'ok' if good else 'no'}'>{percent(value)}</span>", f"<small>{wanted}</small>"

    blind = shuffled["blind_ceiling"]
    if int8 is None:
        quantized = [("INT8", "<span class='no'>failed the gate</span>", "<small>in the bundle</small>")]
    else:
        loss = fp32["top1"] - int8["top1"]
        quantized = [
            line("INT8: same answer as FP32", int8["agreement"], "≥ 98 %", int8["agreement"] >= 0.98),
            line("INT8: top-1 lost", loss, "≤ 1 %", loss <= 0.01),
        ]
    return [
        line(
            f"held-out top-1 ({scores['clips']} clips, chance {percent(scores['chance'])})",
            scores["top1"],
            "≥ 90 %",
            scores["top1"] >= 0.9,
        ),
        line("played backwards: the reversed class", backwards["reversed_top1"], "≥ 80 %", backwards["reversed_top1"] >= 0.8),
        line("paired classes that follow", backwards["classes_followed"], "≥ 80 %", backwards["classes_followed"] >= 0.8),
        line(
            "frames shuffled: top-1",
            shuffled["shuffled_top1"],
            f"near or below {100 * blind:.0f} %",
            shuffled["shuffled_top1"] <= blind + 0.1,
        ),
        *quantized,
    ]


def _time_line(actions: list[dict[str, Any]], decisions: list[dict[str, Any]]) -> str:
    """An SVG: bars of the true actions, marks of the decisions."""
    end: float = max(action["end_s"] for action in actions)
    names = sorted({class_name(action["template"]) for action in actions} | {decision["label"] for decision in decisions})
    row, left, width = 20, 330, 560

    def x(seconds: float) -> float:
        return left + width * min(seconds, end) / end

    shapes = [f"<text x='0' y='{row * i + 14}' font-size='12'>{escape(name)}</text>" for i, name in enumerate(names)]
    for action in actions:
        y = row * names.index(class_name(action["template"]))
        bar = x(action["end_s"]) - x(action["start_s"])
        shapes.append(f"<rect x='{x(action['start_s']):.1f}' y='{y + 2}' width='{bar:.1f}' height='7' fill='#9fb8d8'/>")
    for decision in decisions:
        y = row * names.index(decision["label"])
        shapes.append(
            f"<circle cx='{x(decision['time_s']):.1f}' cy='{y + 13}' r='3' fill='#d9480f' opacity='{0.3 + 0.7 * decision['p']:.2f}'/>"
        )
    return f"<svg viewBox='0 0 {left + width + 10} {row * len(names) + 6}' role='img' aria-label='time line'>{''.join(shapes)}</svg>"


def _stills(video: Path, decisions: list[dict[str, Any]], count: int = 4) -> str:
    """Pictures of the annotated video, evenly spread (browsers do not play MPEG-4 part 2)."""
    if not decisions:
        return ""
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG)
    frames = []
    try:
        for i in range(count):
            capture.set(cv2.CAP_PROP_POS_MSEC, 1000 * decisions[len(decisions) * (2 * i + 1) // (2 * count)]["time_s"])
            found, frame = capture.read()
            if found:
                frames.append(frame)
    finally:
        capture.release()
    if not frames:
        return ""
    _, png = cv2.imencode(".png", np.concatenate(frames, 1))
    return image(png.tobytes(), "png", "frames of the annotated video")


def _picture(path: Path, words: str) -> str:
    return image(path.read_bytes(), "png", words)
