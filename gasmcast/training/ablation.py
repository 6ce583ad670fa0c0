"""Runs the rows of a study and sets them side by side: size, work, accuracy with interval, difference from the first row."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.config import Config
from gasmcast.errors import MachineError, UsageError
from gasmcast.files import write_atomic
from gasmcast.insight.counts import count
from gasmcast.insight.plots import draw_bars
from gasmcast.training.checkpoint import load_checkpoint
from gasmcast.training.crossfit import gate_first
from gasmcast.training.evaluate import predict
from gasmcast.training.loop import train
from gasmcast.training.metrics import bootstrap_interval, hits
from gasmcast.training.prefill import open_prefilled
from gasmcast.training.start import Opened, open_run
from gasmcast.training.study import Study, base_config, row_settings
from gasmcast.training.subject import run_model

__all__ = ["Line", "run_study", "to_markdown"]

Interval = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One row of the table; shares 0..1. Accuracies are of the last weights: nothing was chosen on the clips that judge."""

    row: str
    trainable: int
    parameters: int
    macs: int
    seeds: dict[int, float]
    """Top-1 by seed."""
    top1: float | None
    """Mean over the seeds; None where the row could not be run."""
    interval: Interval | None
    """95 % bootstrap over clips of the mean over seeds."""
    difference: float | None
    """From the first row, clip by clip."""
    difference_interval: Interval | None
    not_run: str = ""
    """Why."""


class _Stopped(Exception):  # noqa: N818  # no error: a signal ended a run, whose state is on the disk
    pass


def run_study(
    study: Study, data: Path, out: Path, *, base: str | None = None, settings: dict[str, Any] | None = None
) -> tuple[list[Line], bool]:
    """Train every row with every seed, what is finished already excepted, and write the tables after each row.

    Args:
        study: rows and seeds.
        data: the set all rows are trained and judged on.
        out: `<row>/seed<n>` run folders, and table.md, table.csv, table.json, table.png; with `train.cache_views` also `features`, which
            all rows and seeds of the same backbones share.
        base: another base than the study's.
        settings: dotted settings of every row, over the study's.

    Returns:
        The lines, and whether all rows are there: a signal may have stopped the study.

    Raises:
        UsageError: a wrong study, or an `out` that holds another one.
        MachineError: the first row cannot be run.
    """
    source, common, base_configuration = base_config(study, base, settings or {})
    opened: dict[str, Opened] = {}
    lines: list[Line] = []
    first: NDArray[np.float64] | None = None
    for number, (name, row) in enumerate(study.all_rows().items()):
        found: dict[int, NDArray[np.bool_]] = {}
        changed = {**common, **row_settings(row, base_configuration)}
        try:
            for seed in study.seeds:
                ready = _open(opened, source, data, {**changed, "train.seed": seed}, out / "features")
                found[seed] = _one(ready, out / _slug(name) / f"seed{seed}")
        except _Stopped:
            return lines, False
        except MachineError as error:  # weights that are not to be had here must not cost the other rows
            if number == 0:
                raise
            lines.append(_line(name, ready.config if found else None, {}, None, not_run=error.what))
        else:
            lines.append(_line(name, ready.config, found, first))
            if first is None:
                first = np.mean(list(found.values()), axis=0)
        write_tables(out, study.about, lines)
    return lines, True


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "row"


def _open(opened: dict[str, Opened], source: str, data: Path, settings: dict[str, Any], caches: Path) -> Opened:
    """Configuration and clips of a run; sets that would be read or encoded alike are read or encoded once."""
    probe = open_run(source, data, {**settings, "train.memory_gb": 0.0})
    if probe.config.train.cache_views:
        return open_prefilled(source, data, settings, caches, probe.config.train.cache_views)
    key = probe.config.spec.model_dump_json() + probe.config.augment.model_dump_json()
    if key not in opened:
        opened[key] = open_run(source, data, settings)
    kept = opened[key]
    kept.clips.seed = probe.config.train.seed
    config = probe.config.model_copy(update={"train": probe.config.train.model_copy(update={"memory_gb": kept.config.train.memory_gb})})
    return Opened(config, kept.clips, kept.validation, kept.labels, kept.warnings)


def _one(ready: Opened, folder: Path) -> NDArray[np.bool_]:
    """Train one run if it is not finished; `(N,)` whether each validation clip is recognised."""
    if ready.validation is None:
        raise UsageError("A study needs a validation split.", "Add validation.json to the set.")
    result = folder / "validation.json"
    stated = ready.config.model_dump(mode="json")
    if result.is_file():
        known = json.loads(result.read_text(encoding="utf-8"))
        if known["config"] != stated:
            raise UsageError(f"{folder} holds a run of other settings.", "Give another --out.")
        return np.array(known["hits"], bool)
    config, _ = gate_first(ready, folder, resume=True)
    if config is None or train(config, ready.clips, ready.validation, ready.labels, folder, resume=True)["stopped"]:
        raise _Stopped
    model, _, _, _ = load_checkpoint(folder / "last.safetensors")
    logits, labels = predict(
        run_model(model), ready.validation, batch_size=ready.config.train.batch_size, workers=ready.config.train.workers
    )
    right = hits(logits, labels)
    write_atomic(result, json.dumps({"config": stated, "hits": right.astype(int).tolist()}))
    return right


def _line(
    name: str, config: Config | None, found: dict[int, NDArray[np.bool_]], first: NDArray[np.float64] | None, not_run: str = ""
) -> Line:
    counts = count(config) if config is not None else None
    size = (counts.parameters.trainable, counts.parameters.total, counts.macs.total) if counts else (0, 0, 0)
    if not_run:
        return Line(name, *size, {}, None, None, None, None, not_run)
    mean = np.mean(list(found.values()), axis=0)
    other = None if first is None else mean - first
    return Line(
        name,
        *size,
        {seed: float(right.mean()) for seed, right in found.items()},
        float(mean.mean()),
        bootstrap_interval(mean),
        None if other is None else float(other.mean()),
        None if other is None else bootstrap_interval(other),
    )


def to_markdown(about: str, lines: list[Line]) -> str:
    """The table as Markdown."""

    def share(value: float | None, interval: Interval | None, sign: str = "") -> str:
        if value is None or interval is None:
            return ""
        return f"{100 * value:{sign}.1f} [{100 * interval[0]:{sign}.1f}, {100 * interval[1]:{sign}.1f}]"

    head = "| row | trainable, M | all, M | multiply-adds, G | top-1, % [95 %] | from the first row | by seed |\n"
    head += "|---|---:|---:|---:|---:|---:|---|\n"
    body = ""
    for line in lines:
        if line.not_run:
            body += f"| {line.row} | | | | not run: {line.not_run} | | |\n"
            continue
        seeds = ", ".join(f"{100 * value:.1f}" for value in line.seeds.values())
        sizes = f"{line.trainable / 1e6:.3f} | {line.parameters / 1e6:.2f} | {line.macs / 1e9:.3g}"
        gain = share(line.difference, line.difference_interval, "+")
        body += f"| {line.row} | {sizes} | {share(line.top1, line.interval)} | {gain} | {seeds} |\n"
    note = "Last weights, mean over seeds; intervals: 95 % bootstrap over clips, differences clip by clip.\n"
    return f"{about.strip()}\n\n{head}{body}\n{note}"


def write_tables(out: Path, about: str, lines: list[Line]) -> None:
    """table.md, table.csv, table.json and table.png."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "table.md", to_markdown(about, lines))
    write_atomic(out / "table.json", json.dumps([asdict(line) for line in lines], indent=1))
    text = io.StringIO()
    writer = csv.writer(text)
    names = (
        "row",
        "trainable",
        "parameters",
        "macs",
        "top1",
        "low",
        "high",
        "difference",
        "difference_low",
        "difference_high",
        "seeds",
        "not_run",
    )
    writer.writerow(names)
    for line in lines:
        low, high = line.interval or ("", "")
        below, above = line.difference_interval or ("", "")
        seeds = " ".join(f"{seed}:{value:.4f}" for seed, value in line.seeds.items())
        size = (line.trainable, line.parameters, line.macs)
        writer.writerow((line.row, *size, line.top1, low, high, line.difference, below, above, seeds, line.not_run))
    write_atomic(out / "table.csv", text.getvalue())
    drawn = [line for line in lines if line.top1 is not None and line.interval is not None]
    if drawn:
        values = [100 * (line.top1 or 0.0) for line in drawn]
        errors = [(100 * line.interval[0], 100 * line.interval[1]) for line in drawn if line.interval]
        draw_bars(values, [line.row for line in drawn], "top-1, %", out / "table.png", errors)
