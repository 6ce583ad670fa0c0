"""Run the rows of a study and compare them: size, multiply-adds, accuracy with interval."""

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
from gasmcast.evaluation.metrics import hits
from gasmcast.evaluation.predict import predict
from gasmcast.files import read_json, write_atomic
from gasmcast.models.backbones.weight_files import NoWeightsError
from gasmcast.models.checkpoint import load_checkpoint
from gasmcast.models.counts import Counts, count
from gasmcast.studies.shared_clips import SharedClips
from gasmcast.studies.study import Study, base_config, row_settings
from gasmcast.studies.table import Hits, TableRow, failed_row, finished_row, write_tables
from gasmcast.training.distributed import Distributed
from gasmcast.training.inputs.training_set import TrainingSet
from gasmcast.training.loop import train
from gasmcast.training.resume.check import differences
from gasmcast.training.stacking.fitted_config import with_stream_weights
from gasmcast.training.step import DivergedError
from gasmcast.yamlfile import read_yaml

__all__ = ["run_study"]

# Settings that change how a run is carried out, but not its result.
HARMLESS = {"train.workers", "train.checkpoint_minutes"}


class _Stopped(Exception):  # noqa: N818 - no error: the run ends as requested
    """A signal, whose name is the message, ended a run; its state is saved."""


def run_study(
    study: Study,
    data: Path,
    out: Path,
    *,
    base: str | None = None,
    settings: dict[str, Any] | None = None,
) -> tuple[list[TableRow], str]:
    """Train every row with every seed and write the tables after each row.

    Runs that are finished are not repeated.

    Args:
        study: rows and seeds.
        data: data set on which all rows are trained and evaluated.
        out: takes `<row>/seed<n>` run folders, and table.md, table.csv, table.json and table.png;
            with `train.cache_views` also `features`. All rows and seeds with the same backbones
            share them (random weights differ by seed); rows of one stream read the features of
            both that came before.
        base: another base than the study's.
        settings: dotted settings of every row, in addition to the study's.

    Returns:
        The rows; the name of the signal that stopped the study early, or empty.

    Raises:
        UsageError: a wrong row (reported before any is trained), or an `out` that holds another
            study.
        DivergedError: the first row diverges.
        MachineError: no space left, a worker died, or the first row's weights are not available.
    """
    # Everything that can be wrong in a row is checked before the first is trained.
    start = base_config(study, base, settings or {})
    rows = {
        name: {**start.settings, **row_settings(row, start.config)}
        for name, row in study.all_rows().items()
    }
    _check_names(rows)

    classes = len(read_labels(data))
    sizes = {
        name: _measure(start.source, name, {**changed, "model.classes": classes})
        for name, changed in rows.items()
    }

    # Rows in order: each is compared with the first.
    shared = SharedClips(start.source, data, out)
    table: list[TableRow] = []
    first: NDArray[np.float64] | None = None
    for name, changed in rows.items():
        seed_hits: dict[int, Hits] = {}
        seed = study.seeds[0]

        try:
            for seed in study.seeds:
                training_set = shared.open({**changed, "train.seed": seed})
                seed_hits[seed] = _train_and_score(training_set, out / _slug(name) / f"seed{seed}")
        except _Stopped as stopped:
            return table, str(stopped)
        except (NoWeightsError, DivergedError) as error:
            # The other rows go on, unless there is nothing to compare them with.
            if not table:
                raise
            reason = error.what
            if isinstance(error, DivergedError):
                # The names of the clips, after the semicolon, are too long for a table.
                reason = f"diverged (seed {seed}): {error.what.partition(';')[0]}"
            table.append(failed_row(name, sizes[name], reason))
        else:
            table.append(finished_row(name, sizes[name], seed_hits, first))
            if first is None:
                first = np.mean(list(seed_hits.values()), axis=0)

        # Tables are complete after each row, should the study be stopped.
        write_tables(out, study.about, table)
    return table, ""


def _measure(source: str, name: str, settings: dict[str, Any]) -> Counts:
    """Return parameters and multiply-adds of a row.

    Raises:
        UsageError: the row is wrong.
    """
    try:
        return count(load_config(source, settings))
    except UsageError as error:
        raise UsageError(f"Row {name!r}: {error.what}", error.hint) from None


def _check_names(rows: Iterable[str]) -> None:
    """Check that every row has its own folder.

    Raises:
        UsageError: two rows share one.
    """
    owners: dict[str, str] = {}
    for name in rows:
        first = owners.setdefault(_slug(name), name)
        if first != name:
            raise UsageError(
                f"Rows {first!r} and {name!r} would have one folder, {_slug(name)}.",
                "Let their names differ in letters or digits.",
            )


def _slug(name: str) -> str:
    """Return the folder name of a row."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "row"


def _train_and_score(training_set: TrainingSet, folder: Path) -> Hits:
    """Train one run if it is not finished, and return which validation clips it recognizes.

    Raises:
        UsageError: no validation split, or the folder holds a run of other settings.
        _Stopped: a signal ended the run.
    """
    validation, config = training_set.validation, training_set.config
    if validation is None:
        raise UsageError("A study needs a validation split.", "Add validation.json to the set.")

    # A finished run has a result. An unfinished one, or its folds, must have the same settings.
    result = folder / "validation.json"
    if result.is_file():
        stored = read_json(result, dict, "config", "hits")
        _check_settings(config, stored["config"], folder)
        return np.array(stored["hits"], bool)

    for config_file in folder.rglob("config.yaml"):
        _check_settings(config, read_yaml(config_file), folder)

    # Train: folds first, if the stream weights are fitted.
    fitted = with_stream_weights(training_set, folder, resume=True)
    stopped = fitted.stopped
    if not stopped:
        summary = train(
            fitted.config,
            training_set.clips,
            validation,
            training_set.labels,
            folder,
            resume=True,
            warnings=training_set.warnings,
        )
        stopped = summary["stopped"]

    if stopped:
        raise _Stopped(stopped)

    # The last weights: the best ones were chosen on these very clips.
    model = load_checkpoint(folder / "last.safetensors")[0]
    logits, labels = predict(
        model_logits(model),
        validation,
        batch_size=config.train.batch_size,
        workers=config.train.workers,
        processes=Distributed(),
    )

    # The result makes the run a finished one.
    recognized = hits(logits, labels)
    content = {
        "config": config.model_dump(mode="json"),
        "hits": recognized.astype(int).tolist(),
    }
    write_atomic(result, json.dumps(content))
    return recognized


def _check_settings(ours: Config, theirs: dict[str, Any], folder: Path) -> None:
    """Check that the run in a folder is the one of this row.

    Raises:
        UsageError: the run has other settings.
    """
    # A run that fits its stream weights has others than its row.
    harmless = HARMLESS | ({"model.stream_weights"} if ours.train.stream_weight_folds else set())

    changed = [
        name
        for name in differences(ours, parse_config(theirs, str(folder)))
        if name not in harmless
    ]
    if changed:
        raise UsageError(
            f"{folder} holds a run of other settings ({', '.join(changed)}).",
            "Give another --out, or remove it.",
        )
