"""Check a data set: read its annotations, look at its files, and say what was understood."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gasmcast.data.annotations import to_samples
from gasmcast.data.check.check_result import ClassRow, DataCheck, Finding
from gasmcast.data.check.file_look import FileLook, clip_seconds, look_at_files
from gasmcast.data.check.findings import find_faults, sources_of
from gasmcast.data.check.shortcuts import LEAST_CLIPS, Shortcut, find_shortcuts
from gasmcast.data.check.thumbnails import film_strip
from gasmcast.data.clip_index import ClipIndex
from gasmcast.data.reading import open_any_index
from gasmcast.missing import install_hint
from gasmcast.progress import Progress, silent

__all__ = ["check_set"]


def check_set(data: Path, window_s: float, progress: Progress = silent) -> DataCheck:
    """Return what was understood of a data set and what is wrong with it.

    Args:
        data: folder or annotation file, in any format.
        window_s: length of the model's window in seconds.
        progress: called for each video and clip.

    Raises:
        UsageError: the annotations cannot be read at all.
    """
    index = open_any_index(data)
    samples = to_samples(index, list(index.clips))
    looked = look_at_files(index, samples, progress)
    seconds = [clip_seconds(sample, looked) for sample in samples]

    findings = find_faults(index, samples, looked, seconds, window_s)
    shortcuts, hint = _shortcuts(index, seconds, looked)
    findings += [Finding("warning", _shortcut_text(one)) for one in shortcuts if one.is_shortcut]
    if hint:
        findings.append(Finding("note", hint))
    return DataCheck(
        path=str(data),
        format=index.format,
        clips=len(index),
        sources=len({clip.origin for clip in index.clips}),
        seconds=float(np.nansum(np.array(seconds, np.float64))),
        splits={split: len(index.of_split(split)) for split in index.splits()},
        split_is_made=index.is_split,
        classes=tuple(_class_rows(index, seconds, looked)),
        files=_file_counts(looked),
        shortcuts=tuple(shortcuts),
        findings=tuple(findings),
    )


def _shortcuts(
    index: ClipIndex, seconds: Sequence[float], looked: FileLook
) -> tuple[list[Shortcut], str]:
    """Return the shortcuts, and a note where they cannot be looked for."""
    rows = [
        (clip, length_s)
        for clip, length_s in zip(index.clips, seconds, strict=True)
        if clip.label is not None and clip.video in looked.facts
    ]
    try:
        found = find_shortcuts(
            [looked.facts[clip.video] for clip, _ in rows],
            [length_s for _, length_s in rows],
            [str(clip.label) for clip, _ in rows],
            [clip.origin for clip, _ in rows],
        )
    except ModuleNotFoundError:
        return [], f"Shortcuts were not looked for: {install_hint('data')}"
    if not found:
        return [], (
            f"Shortcuts were not looked for: that needs two classes and {LEAST_CLIPS} clips whose"
            " files can be read."
        )
    return found, ""


def _shortcut_text(shortcut: Shortcut) -> str:
    # Classes of one source were judged otherwise: the reader must know.
    names, count = shortcut.one_source, len(shortcut.one_source)
    some = ", ".join(names[:3]) + (f" and {count - 3} more" if count > 3 else "")
    noun = "which has one source" if count == 1 else "which have one source each"
    besides = f" (of other clips of the same source for {some}, {noun})" if names else ""
    return (
        f"SHORTCUT: {shortcut.name} predicts the class of {100 * shortcut.accuracy:.0f} % of the"
        f" clips of unseen sources{besides}, chance is {100 * shortcut.chance:.0f} %: a model may"
        " learn the files instead of the actions."
    )


def _class_rows(index: ClipIndex, seconds: Sequence[float], looked: FileLook) -> list[ClassRow]:
    sources = sources_of(index.clips)
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, clip in enumerate(index.clips):
        if clip.label is not None:
            numbers[clip.label].append(number)

    rows = []
    for name in index.classes:
        own = numbers[name]
        shown = next((i for i in own if i in looked.pictures), None)
        lengths = np.array([seconds[i] for i in own], np.float64)
        known = lengths[np.isfinite(lengths)]
        counts = Counter(index.clips[i].split for i in own)
        row = ClassRow(
            name=name,
            clips=len(own),
            training_clips=counts["train"],
            validation_clips=counts["validation"],
            sources=len(sources[name]),
            seconds=float(known.sum()),
            median_s=float(np.median(known)) if len(known) else 0.0,
            strip="" if shown is None else film_strip(looked.pictures[shown]),
        )
        rows.append(row)
    return rows


def _file_counts(looked: FileLook) -> dict[str, dict[str, int]]:
    """Return how many files have each value of each property, the most frequent first."""
    facts = list(looked.facts.values())
    columns = {
        "frame rate": [f"{fact.fps:g}" for fact in facts],
        "size": [f"{fact.width} x {fact.height}" for fact in facts],
        "codec": [fact.codec for fact in facts],
        "encoder": [fact.encoder or "not stated" for fact in facts],
    }
    return {name: dict(Counter(values).most_common(10)) for name, values in columns.items()}
