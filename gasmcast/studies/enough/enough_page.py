"""Render the page of `gasmcast enough`: curves, forecasts, confusions, and clips that do harm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from gasmcast.data.check.thumbnails import clip_pictures, film_strip
from gasmcast.data.sample import Sample
from gasmcast.errors import SourceError
from gasmcast.progress import Progress, silent
from gasmcast.report.figures import BAR, LINE, MARK, inline_svg
from gasmcast.report.html import Share, Table, render
from gasmcast.report.percent import percent
from gasmcast.studies.enough.class_curve import ClassCurve
from gasmcast.studies.enough.enough_answer import Enough
from gasmcast.studies.enough.harm import ClipHarm

__all__ = ["render_enough"]

MAX_STRIPS = 20
"""Suspicious clips that are shown as film strips."""
COLUMNS = 4
"""Charts of classes side by side."""


class _Suspect(NamedTuple):
    strip: str
    """Frames as a data URI; empty for a clip that does not decode."""
    caption: str


def render_enough(
    study: Enough,
    samples: Sequence[Sample],
    names: Sequence[str],
    *,
    title: str,
    verdict: Sequence[str],
    progress: Progress = silent,
) -> str:
    """Return the study as a page that needs no other file.

    Args:
        study: result of `study_features`.
        samples: the clips, in its order.
        names: class names.
        title: heading of the page.
        verdict: answer in a few sentences.
        progress: called after each film strip.
    """
    suspects = []
    shown = study.suspects[:MAX_STRIPS]
    for number, clip in enumerate(shown):
        suspects.append(_suspect(clip, samples[clip.clip], names))
        progress("drawing film strips", number + 1, len(shown))

    pairs = [(pair.first, pair.second, Share(pair.share)) for pair in study.confused]
    return render(
        "enough.html.j2",
        title=title,
        verdict=verdict,
        overall=inline_svg(_draw((study.overall,)), "accuracy by number of sources"),
        charts=inline_svg(_draw(study.classes), "accuracy of each class", wide=True),
        classes=_class_table((study.overall, *study.classes)),
        pairs=Table(("class", "class", "clips of both"), pairs, numbers=(2,)),
        suspects=suspects,
        hidden=len(study.suspects) - len(shown),
        error=percent(1 - study.overall.accuracy[-1]),
        clips=len(samples),
        folds=study.folds,
        draws=study.draws,
    )


def _class_table(curves: Sequence[ClassCurve]) -> Table:
    """Return one row a curve: where it stands, and what more data would bring."""
    head = ("class", "clips", "sources", "accuracy", "curve", "+ 10 clips", "+ 3 sources", "twice")
    rows = [
        (
            curve.name,
            curve.clips,
            curve.sources,
            Share(curve.accuracy[-1], curve.interval),
            curve.trend,
            Share(curve.more_clips.accuracy, curve.more_clips.interval),
            Share(curve.more_sources.accuracy, curve.more_sources.interval),
            Share(curve.twice.accuracy, curve.twice.interval),
        )
        for curve in curves
    ]
    return Table(head, rows, numbers=(1, 2, 3, 5, 6, 7))


def _draw(curves: Sequence[ClassCurve]) -> Figure:
    """Draw learning curves with the forecasts for 3 more and for twice as many sources."""
    columns = min(COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    size = (6.4, 3.2) if len(curves) == 1 else (2.7 * columns, 2.2 * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()

    for axes, curve in zip(grid, curves, strict=False):
        axes.plot(curve.sizes, [100 * share for share in curve.accuracy], "o-", color=BAR)
        for forecast in sorted((curve.more_sources, curve.twice), key=lambda one: one.sources):
            low, high = (100 * bound for bound in forecast.interval)
            axes.plot([forecast.sources] * 2, [low, high], color=MARK, lw=2)
            axes.plot(forecast.sources, 100 * forecast.accuracy, "o", color=MARK, mfc="none")
        axes.set_title(curve.name if len(curve.name) < 30 else curve.name[:28] + "…", fontsize=8)
        axes.set_ylim(0, 103)
        axes.grid(color=LINE)

    # Places that are left over in the last row stay empty.
    for axes in grid[len(curves) :]:
        axes.set_axis_off()
    figure.supxlabel("sources to train on", fontsize=9)
    figure.supylabel("held-out accuracy, %", fontsize=9)
    return figure


def _suspect(clip: ClipHarm, sample: Sample, names: Sequence[str]) -> _Suspect:
    """Return the film strip of a clip, and why it is suspicious."""
    label = names[sample.label] if sample.label is not None else ""
    given = f"{names[clip.predicted]} ({percent(clip.probability)})"
    caption = f"{sample.id}: labeled {label}, looks like {given}. Likely {clip.likely}."
    try:
        return _Suspect(film_strip(clip_pictures(sample)), caption)
    except SourceError as error:
        return _Suspect("", f"{caption} It does not decode: {error}")
