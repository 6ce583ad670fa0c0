"""Look for faults of a data set that do not stop a training but spoil what it shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gasmcast.data.annotations import has_split, read_split
from gasmcast.data.formats.detect import SSV2
from gasmcast.data.reading import leaks_of, open_index, read_format, read_options
from gasmcast.data.sample import Sample
from gasmcast.data.splits import Footage, Leak, check_leaks, find_leaks
from gasmcast.labels import Labels

__all__ = ["check_data", "describe_data", "describe_faults"]

SHOWN = 3


def describe_faults(
    train: Sequence[Sample], validation: Sequence[Sample], labels: Labels
) -> tuple[str, ...]:
    """Return a sentence for each fault: leaks that are allowed, classes without training clips.

    Args:
        train: clips of the training split.
        validation: clips of the validation split; empty without one.
        labels: classes of the set.

    Raises:
        UsageError: a source is in both splits, and `--allow-leak` was not given.
    """
    faults = []

    # Clips of one recording look alike, so a source on both sides makes the figures worthless.
    leak = check_leaks(
        find_sample_leaks(train, validation),
        "The data set",
        allowed=read_options().allow_leak,
    )
    if leak:
        faults.append(leak)

    # A class without training clips can never be recognized.
    occurring = {sample.label for sample in train}
    missing = [name for index, name in enumerate(labels.names) if index not in occurring]
    if missing:
        verb = "class has" if len(missing) == 1 else "classes have"
        faults.append(
            f"WARNING: {len(missing)} of {len(labels)} {verb} no training clips ({_some(missing)}):"
            " they can never be recognized. Add clips, or remove them from labels.json."
        )
    return tuple(faults)


def describe_data(data: Path) -> str:
    """Return in a sentence how a data set was read: its format, and a split that was made.

    Raises:
        UsageError: the annotations are wrong.
    """
    name = read_format(data)
    if name == SSV2:
        return f"{data}: format {name}."
    index = open_index(data)
    sources = len({clip.origin for clip in index.clips})
    made = f" A split was made by source, of {sources} sources." if index.is_split else ""
    return f"{data}: format {name}.{made}"


def check_data(data: Path) -> str:
    """Return a warning about leaks of a data set that are allowed; empty without any.

    Args:
        data: data set in any format.

    Raises:
        UsageError: a source is in both splits, and `--allow-leak` was not given.
    """
    if read_format(data) != SSV2:
        # The index knows the test split as well.
        leaks = leaks_of(open_index(data))
        return check_leaks(leaks, str(data), allowed=read_options().allow_leak)
    if not has_split(data, "train") or not has_split(data, "validation"):
        return ""
    leaks = find_sample_leaks(read_split(data, "train"), read_split(data, "validation"))
    return check_leaks(leaks, str(data), allowed=read_options().allow_leak)


def find_sample_leaks(train: Sequence[Sample], validation: Sequence[Sample]) -> list[Leak]:
    """Return the sources, videos and ids that are in both splits."""
    left, right = (
        Counter(Footage(sample.origin, sample.video, sample.id) for sample in samples)
        for samples in (train, validation)
    )
    return find_leaks(left, right)


def _some(names: Sequence[str]) -> str:
    """Return the first names as a list."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
