"""Check that a run may resume from a folder: the same model, clip spec, classes and clips."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gasmcast.config import Config, parse_config
from gasmcast.errors import UsageError
from gasmcast.labels import Labels
from gasmcast.tensorfile import TornFileError
from gasmcast.training.resume.snapshot import RunProgress
from gasmcast.training.resume.state_file import SavedState, has_results, has_state, load_state

__all__ = ["check_tensors", "differences", "find_state", "foreign_state"]

_RECORD: dict[str, type] = {
    "config": dict,
    "labels": list,
    "steps": int,
    "progress": dict,
    "world": int,
    "groups": list,
}


def find_state(
    folder: Path,
    config: Config,
    labels: Labels,
    set_sha: str,
    *,
    resume: bool,
    report: Callable[[str], None],
) -> SavedState | None:
    """Return the state from which the run resumes; None for a fresh run.

    Args:
        folder: the run folder.
        config: present configuration; all but the model and the clip spec may have changed.
        labels: classes of the data set.
        set_sha: hash of the data set's clips (`clip_set.set_sha`); the run depends on their order.
        resume: resume if the folder holds a state; False: the folder must not hold a run.
        report: called with remarks.

    Raises:
        UsageError: the folder holds a run and `resume` is off; its weights without any state; or a
            run with another model, clip spec or data set.
        TornFileError: every state in the folder is damaged, or the newest is of another kind.
    """
    # A fresh run never overwrites another one.
    if not resume:
        if has_state(folder) or has_results(folder):
            raise UsageError(
                f"{folder} holds a run already.",
                "Continue it with --resume, or give another --out.",
            )
        return None

    # The newest state that is complete.
    state = load_state(folder)
    if state is None:
        if has_state(folder):
            raise TornFileError(
                f"No state in {folder} is complete.",
                "Start again with another --out; its best.safetensors can still be evaluated.",
            )
        # States are the largest files of a run, so people remove them to gain space.
        if has_results(folder):
            raise UsageError(
                f"{folder} holds the weights of a run but none of its states: there is nothing to"
                " resume, and a fresh run would overwrite them.",
                "Give another --out; these weights can still be evaluated and exported.",
            )
        report(f"note: nothing to resume in {folder}: a fresh run.")
        return None
    for sentence in state.damaged:
        report(f"note: {sentence} The previous state is used.")

    _check_record(state.record, folder)

    # Model, clip spec and data set must be those of the run; other settings may change.
    changed = differences(config, parse_config(state.record["config"], str(folder)))
    foreign = [name for name in changed if name.startswith(("model.", "spec."))]
    if foreign:
        raise UsageError(
            f"{folder} was started with another {foreign[0]}.",
            "Resume with the same model and clip spec, or give another --out.",
        )

    _check_set(folder, state.record, labels, set_sha, report)
    if changed:
        report(f"note: settings changed since the run was started: {', '.join(changed)}.")
    return state


def check_tensors(state: SavedState, model: nn.Module, frozen: set[str], folder: Path) -> None:
    """Check that a state has every trained weight of a model; none may stay random.

    Moments and averages belong to weights of the model and have their shape.

    Args:
        state: the state of the run.
        model: built for the present configuration.
        frozen: names of frozen weights, which `frozen.safetensors` holds.
        folder: the run folder.

    Raises:
        TornFileError: a weight is missing, of another shape or of another model.
    """
    weights = {name: t.shape for name, t in model.state_dict().items() if name not in frozen}
    trained = {name: p.shape for name, p in model.named_parameters() if p.requires_grad}

    # Names are `<part>/<name>`, with the moment behind it for the optimizer.
    parts: dict[str, dict[str, Tensor]] = {"weights": {}, "average": {}, "optimizer": {}}
    for full_name, tensor in state.tensors.items():
        part, _, name = full_name.partition("/")
        parts.setdefault(part, {})[name.removeprefix("model.")] = tensor

    expected = {"weights": weights}
    if parts["average"]:
        expected["average"] = trained
    for part, shapes in expected.items():
        differing = sorted(shapes.keys() ^ parts[part].keys())
        differing += [n for n, t in parts[part].items() if n in shapes and t.shape != shapes[n]]
        if differing:
            raise foreign_state(folder, f"{part} of {differing[0]}")

    # Random generators of another kind would be refused by torch without a name.
    for name, generator in parts.get("random", {}).items():
        if generator.dtype not in (torch.uint8, torch.int64) or generator.ndim != 1:
            raise foreign_state(folder, f"random: {name}")

    # A moment is a scalar or has the shape of its weight.
    for name, tensor in parts["optimizer"].items():
        shape = trained.get(name.rpartition("/")[0])
        if shape is None or tensor.shape not in (shape, ()):
            raise foreign_state(folder, f"optimizer: {name}")
    if state.record["progress"].get("updates") and not parts["optimizer"]:
        raise foreign_state(folder, "the optimizer has no moments")


def _check_record(record: dict[str, Any], folder: Path) -> None:
    """Check that a record has everything that a run resumes from.

    Raises:
        TornFileError: it has not.
    """
    for key, kind in _RECORD.items():
        if not isinstance(record.get(key), kind):
            raise foreign_state(folder, key)
    if record["steps"] < 1 or not all(isinstance(group, dict) for group in record["groups"]):
        raise foreign_state(folder, "steps or groups")

    # The position must be one within a run: every number finite, no count negative.
    progress, fresh = record["progress"], asdict(RunProgress())
    for key, default in fresh.items():
        value = progress.get(key, default)
        if isinstance(default, list):
            is_right = isinstance(value, list) and all(_is_figures(entry) for entry in value)
        else:
            is_right = _is_number(value) and isinstance(value, int | type(default)) and value >= -1
        if not is_right:
            raise foreign_state(folder, f"progress.{key}")
    if not progress.keys() <= fresh.keys():
        raise foreign_state(folder, "progress")
    if progress.get("best_epoch", -1) >= len(progress.get("history", [])):
        raise foreign_state(folder, "progress.best_epoch")


def _is_figures(entry: object) -> bool:
    """Return whether an entry of the history is a mapping of names to numbers."""
    return isinstance(entry, dict) and all(isinstance(v, int | float) for v in entry.values())


def _is_number(value: object) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def foreign_state(folder: Path, what: str) -> TornFileError:
    """Return the error of a state that is complete but not one of this run."""
    return TornFileError(
        f"The state in {folder} is not one of this program's runs ({what}).",
        "Start again with another --out; its best.safetensors can still be evaluated.",
    )


def _check_set(
    folder: Path,
    record: dict[str, Any],
    labels: Labels,
    set_sha: str,
    report: Callable[[str], None],
) -> None:
    """Check that classes and clips are those of the run.

    Raises:
        UsageError: they are not.
    """
    hint = "Give the data set it was started with, or another --out."
    if tuple(record["labels"]) != labels.names:
        raise UsageError(f"{folder} was started with other classes than the data set has.", hint)

    # Class names match, but the clips may still be others.
    if "set" not in record:
        report(
            "note: the run is older than the record of its clips: that this is the same data set "
            "is not checked."
        )
    elif record["set"] != set_sha:
        raise UsageError(f"{folder} was started with other clips than the data set has.", hint)


def differences(ours: Config, theirs: Config) -> list[str]:
    """Return the dotted names of the settings in which two configurations differ."""

    def compare(a: dict[str, Any], b: dict[str, Any], prefix: str) -> list[str]:
        names = []
        for key, value in a.items():
            if isinstance(value, dict) and isinstance(b[key], dict):
                names += compare(value, b[key], f"{prefix}{key}.")
            elif value != b[key]:
                names.append(f"{prefix}{key}")
        return names

    return compare(ours.model_dump(), theirs.model_dump(), "")
