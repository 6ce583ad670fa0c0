"""List what a user should know about a data set before a training."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.check.check_result import Finding
from gasmcast.data.check.file_look import FileLook
from gasmcast.data.check.label_check import similar_labels
from gasmcast.data.check.thumbnails import near_duplicates
from gasmcast.data.clip_index import Clip, ClipIndex
from gasmcast.data.reading import leaks_of
from gasmcast.data.sample import Sample
from gasmcast.data.segment_ends import TOLERANCE_S
from gasmcast.data.splits import describe_leaks

__all__ = ["find_faults", "sources_of"]

FEW_CLIPS = 10
FEW_SOURCES = 3
IMBALANCE = 5.0
SHORT_SHARE = 0.5
LONG_SHARE = 3.0


def find_faults(
    index: ClipIndex,
    samples: Sequence[Sample],
    looked: FileLook,
    seconds: Sequence[float],
    window_s: float,
) -> list[Finding]:
    """Return everything that is wrong or suspicious, the worst kinds first.

    Args:
        index: clips of the set.
        samples: the same clips as samples.
        looked: what their files showed.
        seconds: duration of each clip, NaN where it is unknown.
        window_s: length of the model's window in seconds.
    """
    return [
        *_missing(index),
        *_unreadable(looked),
        *_beyond_end(samples, looked),
        *_splits(index),
        *_duplicates(samples, index, looked),
        *_balance(index),
        *_labels(index),
        *_lengths(samples, seconds, window_s),
    ]


def sources_of(clips: Iterable[Clip]) -> dict[str, set[str]]:
    """Return the sources of each class."""
    sources: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        sources[clip.label or ""].add(clip.origin)
    return sources


def _missing(index: ClipIndex) -> list[Finding]:
    missing = [clip for clip in index.clips if not clip.exists]
    if not missing:
        return []
    level = "error" if len(missing) > 0.01 * len(index) else "warning"
    names = _some(f"{clip.video} ({index.place(clip)})" for clip in missing)
    return [Finding(level, f"{len(missing)} of {len(index)} clips have no video file: {names}.")]


def _unreadable(looked: FileLook) -> list[Finding]:
    count, total = len(looked.unreadable), len(looked.unreadable) + len(looked.facts)
    if not count:
        return []
    level = "error" if count > 0.01 * total else "warning"
    texts = _some(looked.unreadable.values())
    return [Finding(level, f"{count} of {total} videos cannot be read: {texts}")]


def _beyond_end(samples: Sequence[Sample], looked: FileLook) -> list[Finding]:
    beyond = []
    for sample in samples:
        facts = looked.facts.get(sample.video or "")
        last_s = sample.start_s if sample.end_s is None else sample.end_s
        if facts is not None and last_s > facts.seconds + TOLERANCE_S:
            beyond.append(
                f"{sample.place}: to {last_s:.2f} s, but {sample.video} ends at {facts.seconds:.2f}"
            )
    if not beyond:
        return []
    return [Finding("error", f"{len(beyond)} spans end after their video: {_some(beyond)} s.")]


def _splits(index: ClipIndex) -> list[Finding]:
    findings = []
    leaks = leaks_of(index)
    if leaks:
        sources, clips = describe_leaks(leaks)
        text = f"LEAK: {sources}; the figures of {clips} would flatter."
        findings.append(Finding("error", text))

    # Without a validation split nobody learns how good the model is.
    if index.is_split:
        findings.append(
            Finding(
                "note",
                "The annotations state no split: one was made by source, stratified by class,"
                f" with the seed 0 ({len(index.of_split('validation'))} of {len(index)} clips for"
                " validation).",
            )
        )
    elif "validation" not in index.splits():
        findings.append(Finding("warning", "There is no validation split."))

    # A class on one side only is either never learned or never judged.
    for split in index.splits():
        held = {clip.label for clip in index.of_split(split)}
        without = [name for name in index.classes if name not in held]
        if without and split != "test":
            level = "error" if split == "train" else "warning"
            findings.append(Finding(level, f"No clips in {split} of: {_some(without)}."))
    return findings


def _duplicates(samples: Sequence[Sample], index: ClipIndex, looked: FileLook) -> list[Finding]:
    numbers = list(looked.pictures)
    training = [i for i in numbers if index.clips[i].split == "train"]
    validation = [i for i in numbers if index.clips[i].split == "validation"]
    findings = []
    if texts := _alike(samples, looked, validation, training, np.ones((1, 1), np.bool_)):
        text = (
            f"NEAR-DUPLICATES across the split: {len(texts)} of {len(validation)} validation clips"
            f" ({_some(texts)})."
        )
        findings.append(Finding("warning", text))

    # Folds are made by source, so a copy under another source is on both sides of one.
    origins = np.array([index.clips[i].origin for i in training])
    is_later = np.tri(len(training), k=-1, dtype=np.bool_)  # each pair once
    is_foreign = (origins[:, None] != origins) & is_later
    if texts := _alike(samples, looked, training, training, is_foreign):
        text = (
            f"NEAR-DUPLICATES across sources: {len(texts)} of {len(training)} training clips"
            f" ({_some(texts)}). Give them one source, or --folds judges a model on what it has"
            " learned."
        )
        findings.append(Finding("warning", text))
    return findings


def _alike(
    samples: Sequence[Sample],
    looked: FileLook,
    clips: Sequence[int],
    others: Sequence[int],
    may_match: NDArray[np.bool_],
) -> list[str]:
    """Return a text for each of `clips` that looks like one of `others`.

    Args:
        samples: all clips.
        looked: their pictures.
        clips: positions of N clips.
        others: positions of M clips.
        may_match: the pairs that count, of a shape that becomes `(N, M)`.
    """
    pairs = near_duplicates(
        [looked.pictures[i] for i in clips],
        [looked.pictures[i] for i in others],
        np.broadcast_to(may_match, (len(clips), len(others))),
    )
    return [
        f"{samples[clips[pair.clip]].id} looks like {samples[others[pair.other]].id}"
        for pair in pairs
    ]


def _balance(index: ClipIndex) -> list[Finding]:
    findings = []
    if len(index.classes) < 2:
        findings.append(
            Finding(
                "error", f"There is one class only ({index.classes[0]}): nothing to tell apart."
            )
        )

    counts = Counter(clip.label for clip in index.clips if clip.label is not None)
    sources = sources_of(index.clips)
    most, least = max(counts.values()), min(counts.values())
    if most > IMBALANCE * least:
        rare = min(counts, key=lambda name: counts[name])
        findings.append(
            Finding(
                "warning",
                f"The classes are unbalanced: {least} clips of {rare!r}, {most} of the most"
                " frequent one. Use --set train.balanced=true, or record more.",
            )
        )

    # Few clips are learned badly; few sources leave it open what was learned.
    few = [f"{name} ({n})" for name, n in counts.items() if n < FEW_CLIPS]
    if few:
        findings.append(Finding("warning", f"Fewer than {FEW_CLIPS} clips: {_some(few)}."))
    alone = [
        f"{name} ({len(sources[name])})" for name in counts if len(sources[name]) < FEW_SOURCES
    ]
    if alone:
        findings.append(
            Finding(
                "warning",
                f"Fewer than {FEW_SOURCES} sources: {_some(alone)}. Nothing tells whether they are"
                " recognized in another recording.",
            )
        )
    return findings


def _labels(index: ClipIndex) -> list[Finding]:
    return [
        Finding("warning", f"The labels {first!r} and {second!r} differ by little: one class?")
        for first, second in similar_labels(index.classes)
    ]


def _lengths(samples: Sequence[Sample], seconds: Sequence[float], window_s: float) -> list[Finding]:
    short = [s.id for s, t in zip(samples, seconds, strict=True) if t < SHORT_SHARE * window_s]
    long = [s.id for s, t in zip(samples, seconds, strict=True) if t > LONG_SHARE * window_s]

    findings = []
    if short:
        findings.append(
            Finding(
                "warning",
                f"{len(short)} clips are shorter than half of the window of {window_s:g} s:"
                f" {_some(short)}. Give spans a context, or use a shorter window.",
            )
        )
    if long:
        findings.append(
            Finding(
                "warning",
                f"{len(long)} clips are longer than {LONG_SHARE:g} windows of {window_s:g} s:"
                f" {_some(long)}. Only a part of each is seen; annotate spans.",
            )
        )
    return findings


def _some(texts: Iterable[str]) -> str:
    """Return the first texts as a list."""
    names = list(texts)
    return ", ".join(names[:3]) + (f", and {len(names) - 3} more" if len(names) > 3 else "")
