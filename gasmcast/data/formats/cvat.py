"""Read CVAT's XML: runs of frame tags, and tracks.

Frame tags (`<image><tag label=.../></image>`) on consecutive frames become one span. A track
(`<track label=...>`) becomes a span for each run of frames in which it is inside the picture;
where its shapes have an attribute that the label's classes are in (`action`, `activity`, `class`,
`label`), the runs of equal values are the spans and the value is the class.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

from gasmcast.data.clip_index import Clip, ClipIndex, FrameRange
from gasmcast.data.formats.json_file import MAX_BYTES
from gasmcast.data.formats.video_names import VideoFinder
from gasmcast.errors import UsageError
from gasmcast.labels import class_name

__all__ = ["read_cvat"]

_ATTRIBUTES = ("action", "activity", "class", "label")


class _Task(NamedTuple):
    """Facts of the task, from the head of the file."""

    video: str
    size: int | None
    start: int
    step: int


def read_cvat(path: Path) -> ClipIndex:
    """Return the annotated spans of a CVAT file ("CVAT for video" or "CVAT for images").

    The video is the task's `source`, or a file beside the XML with the task's or the file's name.

    Raises:
        UsageError: the file is no XML, defines entities, or has no tags and no tracks.
    """
    root = _parse(path)
    if root.tag != "annotations":
        raise UsageError(
            f"{path}: the root is <{root.tag}>, CVAT's is <annotations>.",
            'Export the task again as "CVAT for video" or "CVAT for images".',
        )
    task = _task(root, path)
    finder = VideoFinder(path.parent)
    video = finder.find(task.video, path.stem)

    # Frames of the task are every step-th frame of the file, from the first one on.
    clips: list[Clip] = []
    ranges: dict[int, FrameRange] = {}
    last = None if task.size is None else task.start + task.size * task.step
    runs = sorted([*_tag_runs(root, path), *_track_runs(root)])
    for number, (first, stop, label) in enumerate(runs, 1):
        frames = FrameRange(
            task.start + first * task.step, task.start + stop * task.step, frames=last
        )
        ranges[len(clips)] = frames
        clips.append(Clip(video.path, class_name(label).strip(), row=number, exists=video.exists))
    return ClipIndex(path, "cvat", clips, unit="span", frame_ranges=ranges)


def _parse(path: Path) -> ElementTree.Element:
    """Return the root of an XML file that defines no entities: they could fill the memory."""
    if path.stat().st_size > MAX_BYTES:
        raise UsageError(f"{path} is larger than {MAX_BYTES / 1e9:.1f} GB.", "Split the task.")

    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> None:
        raise UsageError(
            f"{path} defines a document type or entities, which CVAT never writes.",
            "Remove the <!DOCTYPE ...>.",
        )

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
        return builder.close()
    except (expat.ExpatError, AssertionError) as error:
        raise UsageError(f"{path} is not XML ({error}).", "Export the task again.") from None


def _task(root: ElementTree.Element, path: Path) -> _Task:
    meta = root.find("meta")
    task = None
    if meta is not None:
        task = meta.find("task") if meta.find("task") is not None else meta.find("job")
    if meta is None or task is None:
        return _Task(path.stem, None, 0, 1)

    def number(name: str) -> int | None:
        text = task.findtext(name, "").strip()
        return int(text) if text.isdecimal() else None

    # `source` holds the file of a video task; older versions have only the name of the task.
    source = meta.findtext("source") or task.findtext("source") or task.findtext("name") or ""
    filters = task.findtext("frame_filter", "").replace(" ", "")
    step = int(filters.removeprefix("step=")) if filters.startswith("step=") else 1
    return _Task(source.strip() or path.stem, number("size"), number("start_frame") or 0, step)


def _tag_runs(root: ElementTree.Element, path: Path) -> Iterator[tuple[int, int, str]]:
    """Yield first frame, stop and label of each run of consecutive frames with the same tag."""
    frames: dict[str, list[int]] = defaultdict(list)
    for image in root.iter("image"):
        frame = image.get("id", "")
        if not frame.isdecimal():
            raise UsageError(
                f"{path}: an image has the id {frame[:20]!r}, which is no number.",
                "Export the task again.",
            )
        for tag in image.findall("tag"):
            frames[tag.get("label", "")].append(int(frame))
    for label, numbers in frames.items():
        for first, stop in _runs(numbers):
            yield first, stop, label


def _track_runs(root: ElementTree.Element) -> Iterator[tuple[int, int, str]]:
    """Yield first frame, stop and label of each run of frames of a track."""
    for track in root.iter("track"):
        frames: dict[str, list[int]] = defaultdict(list)
        for shape in track:
            if shape.get("outside") == "1" or not shape.get("frame", "").isdecimal():
                continue
            values = {a.get("name", "").lower(): (a.text or "").strip() for a in shape}
            value = next((values[name] for name in _ATTRIBUTES if values.get(name)), "")
            frames[value or track.get("label", "")].append(int(shape.get("frame", "0")))
        for label, numbers in frames.items():
            for first, stop in _runs(numbers):
                yield first, stop, label


def _runs(frames: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the runs of consecutive numbers as first and stop."""
    numbers = sorted(set(frames))
    first = 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or numbers[i] != numbers[i - 1] + 1:
            yield numbers[first], numbers[i - 1] + 1
            first = i
