"""Runs the rows of a study and sets them side by side: size, work, accuracy with interval, difference from the first row."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.config import Config, load_config, parse_config
from gasmcast.data.annotations import read_labels
from gasmcast.errors import UsageError
from gasmcast.evaluation.classifier import model_logits
from gasmcast.evaluation.metrics import bootstrap_interval, hits
from gasmcast.evaluation.predict import predict
from gasmcast.files import read_json, write_atomic
from gasmcast.models.backbones.weights import NoWeightsError
from gasmcast.models.checkpoint import load_checkpoint
from gasmcast.models.counts import Counts, count
from gasmcast.studies.study import Study, base_config, row_settings
from gasmcast.studies.table import Line, write_tables
from gasmcast.training.inputs.fill import open_prefilled
from gasmcast.training.inputs.training_set import Opened, open_run
from gasmcast.training.loop import train
from gasmcast.training.resume.check import differences
from gasmcast.training.stacking.folds import gate_first
from gasmcast.training.step import DivergedError
from gasmcast.yamlfile import read_yaml

__all__ = ["run_study"]

HARMLESS = {
    "train.workers",
    "train.checkpoint_minutes",
}  # how a run is carried out, not what comes of it


class _Stopped(Exception):  # noqa: N818  # no error: the signal of this name ended a run, whose state is on the disk
    pass


def run_study(
    study: Study,
    data: Path,
    out: Path,
    *,
    base: str | None = None,
    settings: dict[str, Any] | None = None,
) -> tuple[list[Line], str]:
    """Train every row with every seed, what is finished already excepted, and write the tables after each row.

    Args:
        study: rows and seeds.
        data: the set all rows are trained and judged on.
        out: `<row>/seed<n>` run folders, and table.md, table.csv, table.json, table.png; with `train.cache_views` also `features`, which
            all rows of the same backbones share, and all seeds (but for random weights); rows of one stream read those of both that came
            before.
        base: another base than the study's.
        settings: dotted settings of every row, over the study's.

    Returns:
        The lines; the name of the signal that stopped the study before all were there, or empty.

    Raises:
        UsageError: a wrong row, told before any is trained; an `out` that holds another study; a first row that diverges.
        MachineError: no space left, a worker died, or the first row's weights are not to be had.
    """
    source, common, base_configuration = base_config(study, base, settings or {})
    rows = {
        name: {**common, **row_settings(row, base_configuration)}
        for name, row in study.all_rows().items()
    }
    _check_names(rows)
    classes = len(read_labels(data))
    sizes = {
        name: _measure(source, name, {**changed, "model.classes": classes})
        for name, changed in rows.items()
    }
    opened: dict[str, Opened] = {}
    lines: list[Line] = []
    first: NDArray[np.float64] | None = None
    for number, (name, changed) in enumerate(rows.items()):
        found: dict[int, NDArray[np.bool_]] = {}
        try:
            for seed in study.seeds:
                ready = _open(
                    opened, source, data, {**changed, "train.seed": seed}, out / "features"
                )
                found[seed] = _one(ready, out / _slug(name) / f"seed{seed}")
        except _Stopped as stopped:
            return lines, str(stopped)
        except (
            NoWeightsError,
            DivergedError,
        ) as error:  # a fault of this row alone must not cost the others
            if number == 0:  # what all others are compared with
                raise
            why = (
                f"diverged (seed {seed}): {error.what.partition(';')[0]}"
                if isinstance(error, DivergedError)
                else error.what
            )
            lines.append(_line(name, sizes[name], {}, None, not_run=why))
        else:
            lines.append(_line(name, sizes[name], found, first))
            if first is None:
                first = np.mean(list(found.values()), axis=0)
        write_tables(out, study.about, lines)
    return lines, ""


def _measure(source: str, name: str, settings: dict[str, Any]) -> Counts:
    """The size of a row."""
    try:
        return count(load_config(source, settings))
    except UsageError as error:
        raise UsageError(f"Row {name!r}: {error.what}", error.hint) from None


def _check_names(rows: Iterable[str]) -> None:
    """Whether every row has a folder of its own.

    Raises:
        UsageError: two have one.
    """
    owners: dict[str, str] = {}
    for name in rows:
        if (first := owners.setdefault(_slug(name), name)) != name:
            raise UsageError(
                f"Rows {first!r} and {name!r} would have one folder, {_slug(name)}.",
                "Let their names differ in letters or digits.",
            )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "row"


def _open(
    opened: dict[str, Opened], source: str, data: Path, settings: dict[str, Any], caches: Path
) -> Opened:
    """Configuration and clips of a run; sets that would be read or encoded alike are read or encoded once."""
    probe = open_run(source, data, {**settings, "train.memory_gb": 0.0})
    if probe.config.train.cache_views:
        return open_prefilled(source, data, settings, caches, probe.config.train.cache_views)
    key = probe.config.spec.model_dump_json() + probe.config.augment.model_dump_json()
    if key not in opened:
        opened[key] = open_run(source, data, settings)
    kept = opened[key]
    kept.clips.seed = probe.config.train.seed
    config = probe.config.model_copy(
        update={
            "train": probe.config.train.model_copy(
                update={"memory_gb": kept.config.train.memory_gb}
            )
        }
    )
    return Opened(config, kept.clips, kept.validation, kept.labels, kept.warnings)


def _one(ready: Opened, folder: Path) -> NDArray[np.bool_]:
    """Train one run if it is not finished; `(N,)` whether each validation clip is recognized."""
    if ready.validation is None:
        raise UsageError("A study needs a validation split.", "Add validation.json to the set.")
    result = folder / "validation.json"
    stated = ready.config.model_dump(mode="json")
    if result.is_file():
        known = read_json(result, dict, "config", "hits")
        _compare(ready.config, known["config"], folder)
        return np.array(known["hits"], bool)
    for begun in folder.rglob("config.yaml"):  # its own, and those of the folds of its gate
        _compare(ready.config, read_yaml(begun), folder)
    config, stopped = gate_first(ready, folder, resume=True)
    stopped = (
        stopped
        or train(config, ready.clips, ready.validation, ready.labels, folder, resume=True)[
            "stopped"
        ]
    )
    if stopped:
        raise _Stopped(stopped)
    model, _, _, _ = load_checkpoint(folder / "last.safetensors")
    logits, labels = predict(
        model_logits(model),
        ready.validation,
        batch_size=ready.config.train.batch_size,
        workers=ready.config.train.workers,
    )
    right = hits(logits, labels)
    write_atomic(result, json.dumps({"config": stated, "hits": right.astype(int).tolist()}))
    return right


def _compare(ours: Config, theirs: dict[str, Any], folder: Path) -> None:
    """Raise where a run that was begun, or finished, is not the one of this row."""
    harmless = HARMLESS | (
        {"model.gate"} if ours.train.gate_folds else set()
    )  # which such a run fits for itself
    if changed := [
        name
        for name in differences(ours, parse_config(theirs, str(folder)))
        if name not in harmless
    ]:
        raise UsageError(
            f"{folder} holds a run of other settings ({', '.join(changed)}).",
            "Give another --out, or remove it.",
        )


def _line(
    name: str,
    counts: Counts,
    found: dict[int, NDArray[np.bool_]],
    first: NDArray[np.float64] | None,
    not_run: str = "",
) -> Line:
    size = (counts.parameters.trainable, counts.parameters.total, counts.macs.total)
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
