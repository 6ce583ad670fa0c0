"""Render the export report as one HTML page, with thumbnails of clips that change their class."""

from __future__ import annotations

from typing import Any

from gasmcast.export.checks.heldout_clips import Clips
from gasmcast.labels import Labels
from gasmcast.report.film_strip import thumbnail
from gasmcast.report.html import Share, Table, bar_table, render

__all__ = ["render_page"]

MAX_ROWS = 24
"""Rows shown of a long list, worst first."""
MAX_CLIPS = 12
OUTLIER_RATIO = 20
"""Largest over median channel above which ordinary channels keep less than 4 bits."""
_DEVIATION = ("max error", "mean error", "cosine", "SNR", "top-1", "top-5", "worst clips")


def render_page(report: dict[str, Any], labels: Labels, clips: Clips | None) -> str:
    """Return the page as HTML text.

    Args:
        report: the content of `report.json`.
        labels: class names of the model.
        clips: held-out clips that the precisions were judged on; None where only the report is
            left, and the page then shows no clips.
    """
    # The template reads the report itself where no figure has to be prepared.
    steps = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in report["steps_s"].items())
    engines = "; ".join(f"{precision}: {line}" for precision, line in report["engines"].items())

    return render(
        "export.html.j2",
        title="gasmcast export",
        report=report,
        judged_on=_judged_on(report["clips"]),
        steps=steps,
        engines=engines,
        gate=_gate(report["verdicts"]),
        parity=_parity(report["parity"]),
        deviation=_deviation(report),
        speed=_speed(report),
        calibration=report.get("calibration"),
        outliers=_outliers(report.get("calibration")),
        searches=_searches(report.get("search", {})),
        disagreements=_disagreements(report["verdicts"], labels, clips) if clips else [],
        rules=_rules(report["rules"]),
    )


def _judged_on(clips: dict[str, Any]) -> str:
    origin = "held-out" if clips["origin"] == "validation" else clips["origin"]
    sentence = f"Judged on {clips['count']} {origin} clips"
    if clips["origin"] == "training":
        sentence += ", which the model has learned: agreement only"
    elif not clips["labeled"]:
        sentence += ", without labels of its classes: agreement only"
    return sentence


def _share(value: float | None) -> Share | None:
    return None if value is None else Share(value)


def _gate(verdicts: list[dict[str, Any]]) -> Table:
    # Reports of earlier exports have no such figure.
    taught = any(verdict.get("teacher_agreement") is not None for verdict in verdicts)
    quiet = any(verdict.get("background_reported") is not None for verdict in verdicts)
    rows = []
    for verdict in verdicts:
        loss = threshold = None
        if verdict["loss_interval"] is not None:
            # Losses are differences, so they are shown in points and not in percent.
            low, high = verdict["loss_interval"]
            loss = f"{100 * verdict['top1_loss']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        if verdict["no_action"] is not None:
            threshold = f"{verdict['no_action']:.2f}"

        rows.append(
            (
                verdict["precision"],
                verdict["passed"],
                _share(verdict["agreement"]),
                # Only students have one.
                *([_share(verdict["teacher_agreement"])] if taught else []),
                _share(verdict["top1"]),
                loss,
                _share(verdict["ece"]),
                f"{verdict['temperature']:.2f}",
                threshold,
                *(
                    [_share(verdict["background_reported"]), _share(verdict["right_reported"])]
                    if quiet
                    else []
                ),
            )
        )
    head = (
        "precision",
        "gate",
        "agreement",
        *(["with the teacher"] if taught else []),
        "top-1",
        "loss, points [95 %]",
        "ECE",
        "temperature",
        "no action below",
        *(["background reported", "right clips reported"] if quiet else []),
    )
    return Table(head, rows, numbers=range(2, len(head)))


def _parity(parity: dict[str, Any]) -> Table:
    rows = []
    for comparison in parity["comparisons"]:
        figures = _deviation_cells(comparison, parity["clips"])
        rows.append((_tensor(comparison), comparison["engine"], comparison["passed"], *figures))
    return _deviation_table(("tensor", "engine", ""), rows)


def _deviation(report: dict[str, Any]) -> Table:
    rows = []
    for precision, comparisons in report["deviation"].items():
        for comparison in comparisons:
            figures = _deviation_cells(comparison, report["parity"]["clips"])
            rows.append((_tensor(comparison), precision, *figures))
    return _deviation_table(("tensor", "precision"), rows)


def _deviation_table(first: tuple[str, ...], rows: list[tuple[object, ...]]) -> Table:
    # The last column holds names of clips, which read better from the left.
    head = (*first, *_DEVIATION)
    return Table(head, rows, numbers=range(len(first), len(head) - 1))


def _tensor(comparison: dict[str, Any]) -> str:
    return f"{comparison['component']}.{comparison['tensor']}"


def _deviation_cells(comparison: dict[str, Any], clips: list[str]) -> tuple[object, ...]:
    return (
        f"{comparison['max_error']:.1e}",
        f"{comparison['mean_error']:.1e}",
        f"{comparison['cosine']:.6f}",
        f"{comparison['snr_db']:.0f} dB",
        _share(comparison["top1"]),
        _share(comparison["top5"]),
        ", ".join(str(clips[i]) for i in comparison["worst"][:2]),
    )


def _speed(report: dict[str, Any]) -> dict[str, Any] | None:
    speed = report.get("speed")
    if not speed:
        return None

    bars = [
        (f"{timing['component']} {timing['precision']} {timing['engine']}", timing["median_ms"])
        for timing in speed["timings"]
    ]
    # Sizes stand beside the timings, because both decide the choice of a precision.
    sizes = [(name, f"{size / 1e6:.1f}") for name, size in report["files"].items()]
    return {
        "chart": bar_table(("component, precision and engine", "median"), bars, "ms"),
        "notes": speed["notes"],
        "sizes": Table(("file", "MB"), sizes, numbers=(1,)),
    }


def _outliers(calibration: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the outlier chart and the smoothed tensors of each calibrated graph."""
    if not calibration:
        return []
    graphs = []
    for name, tensors in calibration["tensors"].items():
        worst = sorted(tensors, key=lambda tensor: -tensor["outlier_ratio"])[:MAX_ROWS]
        bars = [(_end_of(tensor["tensor"], 46), tensor["outlier_ratio"]) for tensor in worst]
        marks = [tensor["outlier_ratio"] > OUTLIER_RATIO for tensor in worst]

        smoothed = {entry["tensor"]: entry for entry in calibration["smoothed"][name]}
        graphs.append(
            {
                "name": name,
                "chart": bar_table(("tensor", "ratio"), bars, "x", marks=marks, log=True),
                "smoothed_count": len(smoothed),
                "smoothed": _smoothed(list(smoothed.values())),
            }
        )
    return graphs


def _end_of(name: str, letters: int) -> str:
    """Return the end of a long scope name: that is where names differ."""
    return name if len(name) <= letters else f"...{name[3 - letters :]}"


def _smoothed(entries: list[dict[str, Any]]) -> Table:
    worst = sorted(entries, key=lambda entry: -entry["outlier_ratio"])[:MAX_ROWS]
    rows = [
        (
            _end_of(entry["tensor"], 60),
            f"{entry['outlier_ratio']:.0f} x",
            entry["power"],
            "LayerNorm" if entry["folded"] else "Mul",
            f"{entry['error_before']:.2e}",
            f"{entry['error_after']:.2e}",
        )
        for entry in worst
    ]

    # The last two columns are relative errors of the product.
    head = ("smoothed tensor", "outliers before", "power", "into", "error before", "after")
    return Table(head, rows, numbers=(1, 2, 4, 5))


def _searches(searches: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the sensitivity chart, its table and the attempts of each precision's search."""
    shown = []
    for precision, search in searches.items():
        # The list is ranked already, worst first.
        losses = search["sensitivity"][:MAX_ROWS]
        bars = [(str(loss["block"]), loss["noise"]) for loss in losses]
        moved_back = set(search["moved_back"])
        marks = [loss["block"] in moved_back for loss in losses]
        rows = [
            (loss["block"], loss["component"], f"{loss['noise']:.2e}", _share(loss["agreement"]))
            for loss in losses
        ]

        attempts = [
            f"{attempt['moved_back']} back: {'passes' if attempt['passed'] else 'fails'}"
            for attempt in search["tried"]
        ]
        shown.append(
            {
                "precision": precision,
                "chart": bar_table(("block", "noise"), bars, marks=marks, log=True),
                "blocks": Table(("block", "component", "noise", "agreement"), rows, numbers=(2, 3)),
                "tried": "; ".join(attempts),
            }
        )
    return shown


def _disagreements(
    verdicts: list[dict[str, Any]], labels: Labels, clips: Clips
) -> list[dict[str, str]]:
    """Return thumbnail and caption of clips that a precision decides otherwise than FP32."""
    shown = []
    for verdict in verdicts:
        # A few clips of each precision show which kind of clip changes.
        for i in verdict["disagree"][:4]:
            caption = f"{verdict['precision']}: clip {clips.ids[i]}"
            if clips.labels is not None:
                caption += f", {labels.names[int(clips.labels[i])]}"
            shown.append({"uri": thumbnail(clips.pixels[i]), "caption": caption})
    return shown[:MAX_CLIPS]


def _rules(rules: list[dict[str, Any]]) -> Table:
    rows = [(rule["file"], rule["passed"], rule["nodes"]) for rule in rules]
    return Table(("file", "", "nodes"), rows, numbers=(2,))
