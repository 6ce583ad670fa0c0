"""Render the report of a training run: curves, and the error analysis of its evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gasmcast.errors import UsageError
from gasmcast.evaluation.evaluation_page import analyze
from gasmcast.evaluation.predictions import FILE_NAME, read_predictions
from gasmcast.files import read_json
from gasmcast.report.figures import inline_svg
from gasmcast.report.html import Share, Table, render
from gasmcast.report.percent import percent
from gasmcast.report.plots import CURVES, Panel, draw_panel
from gasmcast.training.logs.listing import read_metrics, read_run

__all__ = ["render_run"]

_PANELS = (
    *CURVES,
    Panel("time waiting for data, %", {"wait_share": "waiting"}, factor=100.0),
    Panel("clips per second", {"clips_per_s": "clips per second"}),
)


def render_run(run: Path, data: Path | None = None) -> str:
    """Return the report of a run as HTML text.

    Args:
        run: folder that `gasmcast train` wrote, perhaps with the `eval` folder of `gasmcast eval`.
        data: data set, for the frames of clips; None: the one that was evaluated, if it is there.

    Raises:
        UsageError: a file of the run is damaged, or `data` is no data set.
    """
    history = read_metrics(run / "metrics.csv")
    panels = []
    for panel in _PANELS:
        # An older run may lack a column.
        if any(key in row for row in history for key in panel.lines):
            svg = inline_svg(draw_panel(history, panel), f"{panel.title} by epoch")
            panels.append({"svg": svg, "name": panel.title})

    # Tests of time are kept in the scores, because they need logits of other clips.
    analysis, evaluated, tests = None, "", Table(("test", "result"), ())
    if (run / "eval" / FILE_NAME).is_file():
        predictions = read_predictions(run / "eval" / FILE_NAME)
        analysis, evaluated = analyze(predictions, data), predictions.title
        tests = _time_tests(run / "eval" / "scores.json")

    starts = _read_starts(run / "environment.json")
    return render(
        "run.html.j2",
        title=f"Training run {run.absolute().name}",
        summary=_summary(read_run(run)),
        # A run that was resumed was warned again.
        warnings=list(
            dict.fromkeys(text for start in starts for text in start.get("warnings", ()))
        ),
        panels=panels,
        analysis=analysis,
        evaluated=evaluated,
        time_tests=tests,
        starts=_start_table(starts),
        settings=(run / "config.yaml").read_text(encoding="utf-8"),
    )


def _summary(row: dict[str, Any]) -> Table:
    """Return the figures of the best epoch."""
    finished = row.get("finished", False)
    rows: list[tuple[str, object]] = [
        ("state", "finished" if finished else "unfinished"),
        ("epochs", row["epochs"]),
        ("best epoch" if finished else "epochs so far", f"{row.get('epoch', 0):.0f}"),
    ]
    shares = {"top1": "top-1", "top5": "top-5", "mean_class": "mean-class"}
    rows += [(title, Share(row[key])) for key, title in shares.items() if key in row]

    if "out_of_fold_top1" in row:
        judged = Share(row["out_of_fold_top1"], row["out_of_fold_interval"])
        rows.append(("top-1 out of fold (95 % over sources)", judged))

    # Figures of the whole run, as far as it has come.
    if "trainable" in row:
        rows.append(("trainable parameters", f"{row['trainable'] / 1e6:.2f} M"))
    if "hours" in row:
        rows.append(("hours", f"{row['hours']:.2f}"))
    if "clips_per_s" in row:
        rows.append(("clips per second", f"{row['clips_per_s']:.1f}"))
    if "wait_share" in row:
        rows.append(("time waiting for data", percent(row["wait_share"])))
    if "git" in row:
        rows.append(("source tree", row["git"]))
    return Table(("run", "value"), rows, numbers=(1,))


def _time_tests(scores_file: Path) -> Table:
    rows: list[tuple[str, Share]] = []
    scores = read_json(scores_file, dict) if scores_file.is_file() else {}
    tests = (
        ("reversed", "changed", None, "played backwards: another class is given"),
        (
            "reversed",
            "reversed_top1",
            "reversed_interval",
            "played backwards: the reversed class is given (paired classes)",
        ),
        ("shuffled", "shuffled_top1", "shuffled_interval", "frames shuffled: top-1"),
        (
            "shuffled",
            "blind_ceiling",
            None,
            "the most that a model blind to order can reach",
        ),
    )

    for test, key, interval, title in tests:
        measured = scores.get(test) or {}
        # A set without reversed pairs has only the share of changed answers.
        if measured.get(key) is not None:
            rows.append((title, Share(measured[key], measured.get(interval or ""))))
    return Table(("test", "result"), rows, numbers=(1,))


def _read_starts(file: Path) -> list[dict[str, Any]]:
    """Return what is stored of each start of the run."""
    starts = read_json(file, list) if file.is_file() else []
    if not all(isinstance(start, dict) for start in starts):
        raise UsageError(f"{file} is damaged.", "Restore it, or remove it.")
    return starts


def _start_table(starts: list[dict[str, Any]]) -> Table:
    """Return what each start of the run found on its machine."""
    rows = []
    for start in starts:
        versions = start.get("packages") or {}
        rows.append(
            (
                start.get("from_step", ""),
                start.get("python", ""),
                ", ".join(f"{name} {version}" for name, version in versions.items()),
                str(start.get("machine") or start.get("platform") or ""),
            )
        )
    return Table(("from update", "Python", "packages", "machine"), rows, numbers=(0,))
