"""Read CVAT's XML: runs of frame tags, and tracks.

Frame tags (`<image><tag label=.../></image>`) on consecutive frames become one span. A track
(`<track label=...>`) becomes a span for each run of frames in which it is inside the picture;
where its shapes have an attribute that the label's classes are in (`action`, `activity`, `class`,
`label`), the runs of equal values are the spans and the value is the class.

The exports of tasks and jobs number frames as the video file does, from 0, whatever the task's
`start_frame` is. With a frame filter `step=N`, consecutive frames of the task differ by N
(`abs_frame_id` in `cvat/apps/dataset_manager/bindings.py` of cvat-ai/cvat).
"""

from __future__ import annotations

import re
import zipfile
import zlib
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
_STEP = re.compile(r"step\s*=\s*([1-9]\d*)")
"""Frame filter of a task, as CVAT itself reads it."""
_MEMBER = "annotations.xml"
"""Name of the annotations in an archive that CVAT exports."""


class _Task(NamedTuple):
    """Facts of the task, from the head of the file."""

    video: str
    last: int | None
    """Last frame of the task, by the numbers of the file; None where it is not stated."""
    step: int
    """Difference of the numbers of consecutive frames."""


def read_cvat(path: Path) -> ClipIndex:
    """Return the annotated spans of a CVAT file ("CVAT for video" or "CVAT for images").

    The video is the task's `source`, or a file beside the XML with the task's or the file's name.

    Args:
        path: XML of a task or a job, or the archive (ZIP) that CVAT exports.

    Raises:
        UsageError: the file is no XML, defines entities, or is the export of a whole project.
    """
    root = _parse(path, _content(path))
    if root.tag != "annotations":
        raise UsageError(
            f"{path}: the root is <{root.tag}>, CVAT's is <annotations>.",
            'Export the task again as "CVAT for video" or "CVAT for images".',
        )
    if root.find("meta/project") is not None or any(child.get("task_id") for child in root):
        raise UsageError(
            f"{path} is the export of a CVAT project, which numbers the frames of all its tasks"
            " in one row.",
            "Export each task by itself.",
        )
    task = _task(root, path)
    finder = VideoFinder(path.parent)
    video = finder.find(task.video, path.stem)

    clips: list[Clip] = []
    ranges: dict[int, FrameRange] = {}
    runs = sorted([*_tag_runs(root, path, task.step), *_track_runs(root, task.step)])
    for number, (first, last, label) in enumerate(runs, 1):
        # A frame of the task stands for the frames up to the next one; after the last one, the
        # file may end.
        stop = last + task.step
        if task.last is not None:
            stop = min(stop, max(task.last, last) + 1)
        ranges[len(clips)] = FrameRange(
            first, stop, frames=None if task.last is None else task.last + 1
        )
        clips.append(Clip(video.path, class_name(label).strip(), row=number, exists=video.exists))
    return ClipIndex(path, "cvat", clips, unit="span", frame_ranges=ranges)


def _content(path: Path) -> bytes:
    """Return the XML of a file, or that in an archive."""
    if path.stat().st_size > MAX_BYTES:
        raise UsageError(f"{path} is larger than {MAX_BYTES / 1e9:.1f} GB.", "Split the task.")
    if not zipfile.is_zipfile(path):
        return path.read_bytes()

    # The size that an archive states may be wrong: it is not read further than the limit.
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_MEMBER) as stream:
            content = stream.read(MAX_BYTES + 1)
    except KeyError:
        raise UsageError(
            f"{path} is a ZIP file without {_MEMBER}, which the exports of CVAT have.",
            "Unpack it, and give the folder or the annotation file.",
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, OSError) as error:
        raise UsageError(f"{path} cannot be unpacked ({error}).", "Export it again.") from None
    if len(content) > MAX_BYTES:
        raise UsageError(
            f"{path}: {_MEMBER} is larger than {MAX_BYTES / 1e9:.1f} GB.", "Split the task."
        )
    return content


def _parse(path: Path, content: bytes) -> ElementTree.Element:
    """Return the root of an XML file that defines no entities: they could fill the memory."""
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
        parser.Parse(content, True)
        return builder.close()
    except (expat.ExpatError, AssertionError) as error:
        raise UsageError(f"{path} is not XML ({error}).", "Export the task again.") from None


def _task(root: ElementTree.Element, path: Path) -> _Task:
    meta = root.find("meta")
    task = None
    if meta is not None:
        task = meta.find("task") if meta.find("task") is not None else meta.find("job")
    if meta is None or task is None:
        return _Task(path.stem, None, 1)

    # `source` holds the file of a video task; older versions have only the name of the task.
    source = meta.findtext("source") or task.findtext("source") or task.findtext("name") or ""
    step = _STEP.search(task.findtext("frame_filter", ""))
    last = task.findtext("stop_frame", "").strip()
    return _Task(
        source.strip() or path.stem,
        int(last) if last.isdecimal() else None,
        int(step.group(1)) if step else 1,
    )


def _tag_runs(root: ElementTree.Element, path: Path, step: int) -> Iterator[tuple[int, int, str]]:
    """Yield first frame, last frame and label of each run of frames with the same tag."""
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
        for first, last in _runs(numbers, step):
            yield first, last, label


def _track_runs(root: ElementTree.Element, step: int) -> Iterator[tuple[int, int, str]]:
    """Yield first frame, last frame and label of each run of frames of a track."""
    for track in root.iter("track"):
        frames: dict[str, list[int]] = defaultdict(list)
        for shape in track:
            if shape.get("outside") == "1" or not shape.get("frame", "").isdecimal():
                continue
            values = {a.get("name", "").lower(): (a.text or "").strip() for a in shape}
            value = next((values[name] for name in _ATTRIBUTES if values.get(name)), "")
            frames[value or track.get("label", "")].append(int(shape.get("frame", "0")))
        for label, numbers in frames.items():
            for first, last in _runs(numbers, step):
                yield first, last, label


def _runs(frames: list[int], step: int) -> Iterator[tuple[int, int]]:
    """Yield first and last number of each run of numbers that differ by `step` or less."""
    numbers = sorted(set(frames))
    first = 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or numbers[i] > numbers[i - 1] + step:
            yield numbers[first], numbers[i - 1]
            first = i
