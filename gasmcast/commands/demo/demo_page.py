"""Render the page of the demo: results, pictures, and a time line of the live run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from gasmcast.commands.demo.strongest import (
    choose_decisions,
    choose_strip,
    confidence,
    read_windows,
)
from gasmcast.errors import SourceError
from gasmcast.evaluation.metrics import confusion
from gasmcast.evaluation.predictions import FILE_NAME, read_predictions
from gasmcast.labels import class_name
from gasmcast.report.figures import inline_svg
from gasmcast.report.film_strip import encode_strip
from gasmcast.report.html import Share, Table, data_uri, render
from gasmcast.report.percent import percent
from gasmcast.report.plots import CURVES, draw_confusion, draw_panel
from gasmcast.report.time_line import Dot, Span, draw_time_line
from gasmcast.training.logs.listing import read_metrics

__all__ = ["Hits", "render_page"]

MOST_VIDEO_BYTES = 8_000_000
"""Size up to which the video is inside the page; a larger one is a file beside it."""


HEAD = ("", "measured", "target", "what it means")


class Hits(NamedTuple):
    """Decisions whose window lies within one action of the video."""

    correct: int
    total: int


class _Still(NamedTuple):
    """Strip of frames of a decision's window."""

    uri: str
    caption: str


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
        stills=_stills(folder / "stream.mp4", decisions),
        curves=_curves(folder / "run" / "metrics.csv"),
        confusion=_confusion(folder / "run" / "eval" / FILE_NAME),
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


def _time_line(actions: list[dict[str, Any]], decisions: list[dict[str, Any]]) -> Markup:
    """Return bars of the true actions and dots of the decisions."""
    spans = [
        Span(class_name(action["template"]), action["start_s"], action["end_s"])
        for action in actions
    ]
    dots = [Dot(one["label"], one["time_s"], one["p"]) for one in decisions]
    names = sorted({span.name for span in spans} | {dot.name for dot in dots})
    label = "time line: true actions and decisions by class"
    return inline_svg(draw_time_line(names, spans, dots), label, wide=True)


def _video(path: Path) -> str:
    """Return the address of the video: a data URI if it is small; empty if there is none."""
    if not path.is_file():
        return ""
    # A single file can be sent to somebody; a browser cannot seek in a large data URI.
    if path.stat().st_size <= MOST_VIDEO_BYTES:
        return data_uri(path.read_bytes(), "mp4")
    return path.name


def _stills(video: Path, decisions: list[dict[str, Any]]) -> list[_Still]:
    """Return strips of frames of the strongest decisions, for print and for a glance.

    There is none where the video is missing or cannot be read.
    """
    chosen = choose_decisions(decisions)
    if not chosen or not video.is_file():
        return []
    try:
        windows = read_windows(video, chosen)
    except SourceError:
        return []

    stills = []
    for decision, window in zip(chosen, windows, strict=True):
        if window:
            strip = data_uri(encode_strip(choose_strip(window)), "jpeg")
            begin_s, end_s = decision["window"]
            caption = f"{decision['label']}, {percent(confidence(decision))}"
            stills.append(_Still(strip, f"{caption}, {begin_s:.1f} to {end_s:.1f} s"))
    return stills


def _curves(metrics: Path) -> list[Markup]:
    """Return the panels of the training curves."""
    history = read_metrics(metrics)
    if not history:
        return []
    return [
        inline_svg(draw_panel(history, panel), f"{panel.title} by epoch") for panel in CURVES
    ]


def _confusion(predictions_file: Path) -> Markup | str:
    """Return the confusion matrix; empty for a demo of a version that kept no predictions."""
    if not predictions_file.is_file():
        return ""
    predictions = read_predictions(predictions_file)
    counts = confusion(predictions.logits, predictions.labels)
    return inline_svg(draw_confusion(counts, predictions.names), "confusion matrix", wide=True)
