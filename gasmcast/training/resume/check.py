"""Check that a run may resume from a folder: the same model, clip spec, classes and clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gasmcast.config import Config, parse_config
from gasmcast.errors import UsageError
from gasmcast.labels import Labels
from gasmcast.tensorfile import TornFileError
from gasmcast.training.resume.state_file import SavedState, has_state, load_state

__all__ = ["differences", "find_state"]


def find_state(
    folder: Path,
    config: Config,
    labels: Labels,
    set_sha: str,
    *,
    resume: bool,
    note: Callable[[str], None],
) -> SavedState | None:
    """Return the state from which the run resumes; None for a fresh run.

    Args:
        folder: the run folder.
        config: present configuration; all but the model and the clip spec may have changed.
        labels: classes of the data set.
        set_sha: hash of the data set's clips (`clip_set.set_sha`); the run depends on their order.
        resume: resume if the folder holds a state; False: the folder must not hold a run.
        note: called with remarks.

    Raises:
        UsageError: the folder holds a run and `resume` is off, or a run with another model, clip
            spec or data set.
        TornFileError: every state in the folder is damaged.
    """
    # A fresh run never overwrites another one.
    if not resume:
        if has_state(folder) or (folder / "last.safetensors").exists():
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
        note(f"note: nothing to resume in {folder}: a fresh run.")
        return None
    for sentence in state.damaged:
        note(f"note: {sentence} The previous state is used.")

    # Model, clip spec and data set must be those of the run; other settings may change.
    changed = differences(config, parse_config(state.record["config"], str(folder)))
    foreign = [name for name in changed if name.startswith(("model.", "spec."))]
    if foreign:
        raise UsageError(
            f"{folder} was started with another {foreign[0]}.",
            "Resume with the same model and clip spec, or give another --out.",
        )

    _check_set(folder, state.record, labels, set_sha, note)
    if changed:
        note(f"note: settings changed since the run was started: {', '.join(changed)}.")
    return state


def _check_set(
    folder: Path,
    record: dict[str, Any],
    labels: Labels,
    set_sha: str,
    note: Callable[[str], None],
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
        note(
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
