"""Whether a run may go on from what a folder holds: the same model, clip spec, classes and clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from gasmcast.config import Config, parse_config
from gasmcast.errors import UsageError
from gasmcast.labels import Labels
from gasmcast.training.resume.state_file import has_state, load_state

__all__ = ["differences", "find_earlier"]


def find_earlier(
    folder: Path,
    config: Config,
    labels: Labels,
    set_sha: str,
    *,
    resume: bool,
    say: Callable[[str], None],
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The state to go on from: tensors and record; None for a fresh run.

    Args:
        folder: the run folder.
        config: what the run is to be now; all but the model and the clip spec may have changed.
        labels: the data set's classes.
        set_sha: the data set's clips (`clips.set_sha`); the order of clips is the run's.
        resume: go on, or begin where there is nothing; False: the folder must hold no run.
        say: takes remarks.

    Raises:
        UsageError: the folder holds a run and none was to be resumed, no whole state, or a run of something else.
    """
    if not resume:
        if has_state(folder) or (folder / "last.safetensors").exists():
            raise UsageError(
                f"{folder} holds a run already.",
                "Continue it with --resume, or give another --out.",
            )
        return None
    found = load_state(folder)
    if found is None:
        if has_state(folder):
            raise UsageError(
                f"No state in {folder} is whole.",
                "Start again with another --out; its best.safetensors can still be evaluated.",
            )
        say(f"note: nothing to resume in {folder}: a fresh run.")
        return None
    tensors, record, passed = found
    for sentence in passed:
        say(f"note: {sentence} The one before it is used.")
    changed = differences(config, parse_config(record["config"], str(folder)))
    if foreign := [name for name in changed if name.startswith(("model.", "spec."))]:
        raise UsageError(
            f"{folder} was begun with another {foreign[0]}.",
            "Resume with the same model and clip spec, or give another --out.",
        )
    _check_set(folder, record, labels, set_sha, say)
    if changed:
        say(f"note: settings changed since the run began: {', '.join(changed)}.")
    return tensors, record


def _check_set(
    folder: Path, record: dict[str, Any], labels: Labels, set_sha: str, say: Callable[[str], None]
) -> None:
    hint = "Give the data set it was begun with, or another --out."
    if tuple(record["labels"]) != labels.names:
        raise UsageError(f"{folder} was begun with other classes than the data set has.", hint)
    if "set" not in record:
        say(
            "note: the run was begun before its clips were kept track of: that this is the same set is not checked."
        )
    elif record["set"] != set_sha:
        raise UsageError(f"{folder} was begun with other clips than the data set has.", hint)


def differences(ours: Config, theirs: Config) -> list[str]:
    """Dotted names of the settings in which two configurations differ."""

    def walk(a: dict[str, Any], b: dict[str, Any], prefix: str) -> list[str]:
        found = []
        for key, value in a.items():
            if isinstance(value, dict) and isinstance(b[key], dict):
                found += walk(value, b[key], f"{prefix}{key}.")
            elif value != b[key]:
                found.append(f"{prefix}{key}")
        return found

    return walk(ours.model_dump(), theirs.model_dump(), "")
