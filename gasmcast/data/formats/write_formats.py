"""Write an index of clips in another format: CSV, SSv2, ActivityNet or Label Studio."""

from __future__ import annotations

import csv
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.clip_index import Clip, ClipIndex
from gasmcast.errors import UsageError
from gasmcast.files import write_atomic
from gasmcast.video.frame_times import frame_times_s

__all__ = ["TARGETS", "count_splits", "write_index"]

_SUBSETS = {"train": "training", "validation": "validation", "test": "testing"}


def write_index(index: ClipIndex, out: Path, target: str) -> list[Path]:
    """Write an index in another format, and return the files.

    Videos are not copied: files of annotations name them by paths relative to `out`, and a folder
    in SSv2's format gets links to them.

    Args:
        index: clips of any format.
        out: file to write; a folder for `ssv2`. It must not exist.
        target: one of `TARGETS`.

    Raises:
        UsageError: `out` exists, or the format cannot hold the clips.
    """
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise UsageError(f"{out} exists already.", "Give another name, or remove it first.")
    return TARGETS[target](index, out)


def _write_csv(index: ClipIndex, out: Path) -> list[Path]:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("video", "label", "start", "end", "split", "source"))
    for clip in index.clips:
        writer.writerow(
            (
                _relative(clip.video, out.parent),
                clip.label or "",
                _number(clip.start_s),
                _number(clip.end_s),
                clip.split or "",
                _source(clip, out.parent),
            )
        )
    write_atomic(out, text.getvalue())
    return [out]


def _write_activitynet(index: ClipIndex, out: Path) -> list[Path]:
    _check_spans_have_labels(index, "ActivityNet's")
    database: dict[str, dict[str, Any]] = {}
    for clip in index.clips:
        # The name without ending is ActivityNet's; the whole one is what finds the file again.
        name = _relative(clip.video, out.parent)
        subset = _SUBSETS[clip.split] if clip.split else ""
        entry = database.setdefault(name, {"subset": subset, "annotations": []})
        if entry["subset"] != subset:
            raise UsageError(
                f"{clip.video} has clips in two splits, which ActivityNet's format cannot hold.",
                "Use --to csv, or split by video.",
            )
        if clip.source:
            entry["source"] = clip.source

        # Whole videos have an annotation without `segment`; those without a class have none.
        if clip.label is None:
            continue
        annotation: dict[str, Any] = {"label": clip.label}
        if clip.is_segment:
            end_s = clip.end_s
            if end_s is None:
                end_s = float(_frame_times(clip)[-1])
            annotation["segment"] = [clip.start_s or 0.0, end_s]
        entry["annotations"].append(annotation)

    tree = {"version": "gasmcast", "taxonomy": [], "database": database}
    write_atomic(out, json.dumps(tree, ensure_ascii=False, indent=1))
    return [out]


def _write_label_studio(index: ClipIndex, out: Path) -> list[Path]:
    _check_spans_have_labels(index, "Label Studio's")
    by_video: dict[tuple[str, str | None, str | None], list[Clip]] = defaultdict(list)
    for clip in index.clips:
        by_video[clip.video, clip.source, clip.split].append(clip)

    tasks = []
    for number, ((video, source, split), clips) in enumerate(by_video.items(), 1):
        data: dict[str, str | float] = {"video": _relative(video, out.parent)}
        if source:
            data["source"] = source
        if split:
            data["split"] = split

        # With frameRate="$fps" the tag Video counts frames at the rate of the file.
        times = np.empty(0)
        if any(clip.is_segment for clip in clips):
            times = _frame_times(clips[0])
        if len(times) > 1:
            data["fps"] = round((len(times) - 1) / float(times[-1]), 4)

        labeled = [clip for clip in clips if clip.label is not None]
        results = [_region(clip, position, times) for position, clip in enumerate(labeled, 1)]
        annotations = [{"result": results}] if results else []
        tasks.append({"id": number, "data": data, "annotations": annotations})
    write_atomic(out, json.dumps(tasks, ensure_ascii=False, indent=1))
    return [out]


def _check_spans_have_labels(index: ClipIndex, whose: str) -> None:
    """Refuse spans without a class, in formats in which a span is a class and its times."""
    clip = next((c for c in index.clips if c.label is None and c.is_segment), None)
    if clip is not None:
        raise UsageError(
            f"{index.place(clip)}: a span of {clip.video} has no class, which {whose} format cannot"
            " hold.",
            "Use --to csv.",
        )


def _region(clip: Clip, number: int, times: NDArray[np.float64]) -> dict[str, Any]:
    """Return one result of Label Studio: a choice for a whole video, a range for a span."""
    region = {"id": str(number), "to_name": "video", "origin": "manual"}
    if not clip.is_segment:
        value: dict[str, Any] = {"choices": [clip.label]}
        return {**region, "from_name": "action", "type": "choices", "value": value}

    # Label Studio counts frames from 1, and the last one belongs to the range.
    first = int(np.searchsorted(times, (clip.start_s or 0.0) - 1e-3))
    stop = len(times)
    if clip.end_s is not None:
        stop = max(first + 1, int(np.searchsorted(times, clip.end_s - 1e-3)))
    value = {"ranges": [{"start": first + 1, "end": stop}], "timelinelabels": [clip.label]}
    return {**region, "from_name": "timeline", "type": "timelinelabels", "value": value}


def _write_ssv2(index: ClipIndex, out: Path) -> list[Path]:
    segment = next((clip for clip in index.clips if clip.is_segment), None)
    if segment is not None:
        raise UsageError(
            f"{index.place(segment)}: a span of {segment.video} is no file of its own, as SSv2's"
            " format needs.",
            "Use --to csv, activitynet or labelstudio.",
        )
    videos = out / "videos"
    videos.mkdir(parents=True)
    table = {name: str(number) for number, name in enumerate(index.classes)}
    files = [out / "labels.json"]
    write_atomic(files[0], json.dumps(table, ensure_ascii=False, indent=1))

    width = len(str(len(index)))
    numbers = {id(clip): f"{number:0{width}d}" for number, clip in enumerate(index.clips)}
    for split in index.splits():
        rows = []
        for clip in index.of_split(split):
            name = numbers[id(clip)]
            if clip.exists:
                link = videos / f"{name}{Path(clip.video).suffix}"
                link.symlink_to(Path(clip.video).resolve())
            row = {"id": name, "template": clip.label, "source": _source(clip, out)}
            rows.append(row if split != "test" else {"id": name})
        files.append(out / f"{split}.json")
        write_atomic(files[-1], json.dumps(rows, ensure_ascii=False, indent=1))
    return files


TARGETS: dict[str, Callable[[ClipIndex, Path], list[Path]]] = {
    "csv": _write_csv,
    "ssv2": _write_ssv2,
    "activitynet": _write_activitynet,
    "labelstudio": _write_label_studio,
}
"""Writers by the name that `--to` takes."""


def _relative(video: str, folder: Path) -> str:
    return os.path.relpath(video, folder) if os.path.exists(video) else video  # noqa: PTH110


def _source(clip: Clip, folder: Path) -> str:
    """Return the source of a clip: the stated one, or the path of its video."""
    return clip.source or _relative(clip.video, folder)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}" if value < 1 else f"{value:.4f}".rstrip("0")


def _frame_times(clip: Clip) -> NDArray[np.float64]:
    if not clip.exists:
        raise UsageError(f"{clip.video} does not exist: its frames cannot be counted.")
    return frame_times_s(clip.video)


def count_splits(clips: Iterable[Clip]) -> dict[str, int]:
    """Return the number of clips of each split."""
    counts: dict[str, int] = {}
    for clip in clips:
        counts[clip.split or "no split"] = counts.get(clip.split or "no split", 0) + 1
    return counts
