"""Render the explanation of one clip as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gasmcast.explain.attention_pictures import png
from gasmcast.explain.clip_pictures import ClipPicture
from gasmcast.explain.faithfulness import Faithfulness
from gasmcast.report.html import Share, Table, data_uri, render

if TYPE_CHECKING:  # the report renders its page
    from gasmcast.explain.clip_report import ClipReport

__all__ = ["faithfulness_table", "render_page"]

SHOWN_CLASSES = 5


def render_page(
    report: ClipReport, pictures: Sequence[ClipPicture], curves: str, motion_graphs: str
) -> str:
    """Return the page as HTML text.

    Args:
        report: figures of the clip.
        pictures: attention maps, in the order of the page.
        curves: SVG of the deletion and insertion curves.
        motion_graphs: SVG of the motion graphs; empty if there are none.
    """
    top = np.argsort(-report.whole)[:SHOWN_CLASSES]
    sections = [
        (title, [(data_uri(png(p.pixels), "png"), p.caption) for p in group])
        for title, group in groupby(pictures, key=lambda picture: picture.section)
    ]

    return render(
        "explain.html.j2",
        title=f"Why {report.labels[report.predicted]}?",
        report=report,
        verdict=str(report.faithfulness),
        probability=float(report.whole[report.predicted]),
        summary=_versions(report, top),
        sections=sections,
        curves=data_uri(curves.encode(), "svg+xml"),
        motion_graphs=data_uri(motion_graphs.encode(), "svg+xml") if motion_graphs else "",
        segments=_segments(report),
        check=faithfulness_table(report.faithfulness, "random orders"),
        depths=_classes(
            report,
            top,
            [(f"after layer {i}", row) for i, row in enumerate(report.depths, 1)],
        ),
        streams=_classes(report, top, _stream_columns(report)),
    )


def faithfulness_table(check: Faithfulness, over: str) -> Table:
    """Return the AUCs of the occlusion check as a table.

    Args:
        check: the result.
        over: what the intervals are over, as the title of their column.
    """
    rows = []
    for name, attention, random, gain in (
        (
            "deletion (smaller is better)",
            check.deletion_auc,
            check.random_deletion_auc,
            check.deletion,
        ),
        (
            "insertion (larger is better)",
            check.insertion_auc,
            check.random_insertion_auc,
            check.insertion,
        ),
    ):
        low, high = gain.interval
        difference = f"{gain.mean:+.3f} [{low:+.3f}, {high:+.3f}]"
        better = "yes" if gain else "no"
        rows.append((name, f"{attention:.3f}", f"{random:.3f}", difference, better))

    head = ("AUC", "attention", "random", f"advantage [95 % over {over}]", "better than random")
    return Table(head, rows, numbers=(1, 2, 3))


def _versions(report: ClipReport, top: NDArray[np.int64]) -> Table:
    """Return the probabilities of the clip, reversed and shuffled."""
    versions = [
        ("the clip", report.whole),
        ("played backwards", report.reversed),
        ("frames shuffled (mean)", report.shuffled),
    ]
    return _classes(report, top, versions)


def _classes(
    report: ClipReport, top: NDArray[np.int64], columns: Sequence[tuple[str, NDArray[np.float64]]]
) -> Table:
    """Return a table with the most probable classes of the clip as rows."""
    if not columns:
        return Table(("class",), ())
    rows: list[tuple[object, ...]] = []
    for i in top:
        shares = (Share(float(values[i])) for _, values in columns)
        rows.append((report.labels[i], *shares))

    # Another class than these may win a column.
    best = (report.labels[int(values.argmax())] for _, values in columns)
    rows.append(("most probable", *best))
    return Table(("class", *(name for name, _ in columns)), rows)


def _stream_columns(report: ClipReport) -> list[tuple[str, NDArray[np.float64]]]:
    """Return title and probabilities of each read-out, and of the answer that they give."""
    if report.independent:
        columns = [
            ("fused read-out" if name == "fused" else f"{name} only", row)
            for name, row in report.streams.items()
        ]
        return [*columns, ("the answer", report.whole)] if len(columns) > 1 else columns

    only = [(f"{name} only, exchange cut", row) for name, row in report.cut.items()]
    after = [(f"{name} read-out, after the exchange", row) for name, row in report.streams.items()]
    return [*only, *after, ("fused: the answer", report.whole)]


def _segments(report: ClipReport) -> Table:
    rows = []
    for number, (attention, drop) in enumerate(
        zip(report.segment_attention, report.segment_drops, strict=True), 1
    ):
        rows.append((number, Share(float(attention)), f"{100 * drop:+.1f}"))
    head = ("segment", "read-out attention", "fall of the probability when hidden, points")
    return Table(head, rows, numbers=(1, 2))
