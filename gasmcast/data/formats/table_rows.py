"""Turn rows of a table into clips, a million of them in a few seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gasmcast.data.clip_index import Clip, FrameRange, Split, split_name
from gasmcast.data.formats.table_columns import number, seconds
from gasmcast.data.formats.video_names import FoundVideo, VideoFinder
from gasmcast.errors import UsageError
from gasmcast.labels import class_name

__all__ = ["RowParser"]


class RowParser:
    """Parser of the rows of one table. What repeats is looked up, so that rows are cheap."""

    def __init__(
        self, path: Path, unit: str, head: Sequence[str], columns: Mapping[str, int]
    ) -> None:
        """Make a parser.

        Args:
            path: annotation file, which paths of videos are relative to.
            unit: what rows are counted in: "line" or "entry".
            head: names of the columns.
            columns: number of each column, from `find_columns`.
        """
        self.in_frames = "start_frame" in columns and "end_frame" in columns
        """Whether spans may be given in frames."""
        self._path, self._unit, self._columns = path, unit, columns
        self._is_kinetics = "youtube_id" in [text.strip().lower() for text in head]
        self._video_at, self._label_at = columns["video"], columns["label"]
        self._start_at, self._end_at = columns.get("start", -1), columns.get("end", -1)
        self._split_at, self._source_at = columns.get("split", -1), columns.get("source", -1)

        self._finder = VideoFinder(path.parent)
        self._videos: dict[object, FoundVideo] = {}
        self._labels: dict[object, str] = {}
        self._splits: dict[object, Split | None] = {}

    def clip(self, row: int, cells: Sequence[object]) -> Clip:
        """Return the clip of a row.

        Raises:
            UsageError: a cell is empty or wrong.
        """
        start_s = self._seconds(row, cells, self._start_at, "start")
        end_s = self._seconds(row, cells, self._end_at, "end")
        raw = cells[self._video_at]
        if self._is_kinetics and start_s is not None and end_s is not None:
            video, is_cut = self._kinetics_video(row, cells, start_s, end_s)
            if is_cut:
                start_s = end_s = None
        else:
            video = self._videos.get(raw) or self._find(row, raw)

        split = None
        if self._split_at >= 0:
            key = cells[self._split_at]
            if key not in self._splits:
                self._splits[key] = split_name(str(key or ""), self._place(row))
            split = self._splits[key]

        # Official test splits have no labels.
        raw_label = cells[self._label_at]
        label = self._labels.get(raw_label)
        if label is None and not (split == "test" and raw_label in {"", None}):
            label = self._label(row, raw_label)
        source = str(cells[self._source_at] or "").strip() if self._source_at >= 0 else ""
        return Clip(video.path, label, start_s, end_s, split, source or None, row, video.exists)

    def frames(self, row: int, cells: Sequence[object]) -> FrameRange:
        """Return the span of a row that is given in frames, the last one included.

        Raises:
            UsageError: a cell is empty or wrong.
        """
        place, columns = self._place(row), self._columns
        first = number(cells[columns["start_frame"]], place, "start_frame")
        last = number(cells[columns["end_frame"]], place, "end_frame")
        fps = number(cells[columns["fps"]], place, "fps") if "fps" in columns else None
        if first is None or last is None:
            raise UsageError(f"{place}: start_frame and end_frame must both be given.")
        return FrameRange(int(first), int(last) + 1, fps)

    def _place(self, row: int) -> str:
        return f"{self._path}, {self._unit} {row}"

    def _seconds(self, row: int, cells: Sequence[object], at: int, column: str) -> float | None:
        if at < 0:
            return None
        cell = cells[at]
        # Almost all cells are plain numbers; `check_index` refuses those that are not finite.
        try:
            return float(cell)  # type: ignore[arg-type] # what it does not take is caught
        except (TypeError, ValueError):
            return seconds(cell, self._place(row), column)

    def _find(self, row: int, raw: object) -> FoundVideo:
        name = str("" if raw is None else raw).strip()
        if not name:
            raise UsageError(f"{self._place(row)}: the video is empty.", "Give each clip a video.")
        self._videos[raw] = self._finder.find(name)
        return self._videos[raw]

    def _kinetics_video(
        self, row: int, cells: Sequence[object], start_s: float, end_s: float
    ) -> tuple[FoundVideo, bool]:
        """Return the video of a row of Kinetics, and whether it is cut to the span.

        Downloaders cut the clips and name them by id and whole seconds, with six digits. Some put
        them into a folder per class, with spaces or underscores.
        """
        raw = cells[self._video_at]
        if 0 <= start_s < end_s < 1e6:
            name = f"{raw}_{int(start_s):06d}_{int(end_s):06d}"
            label = str(cells[self._label_at] or "")
            folders = dict.fromkeys(("", f"{label}/", f"{label.replace(' ', '_')}/"))
            cut = self._finder.find(*(f"{folder}{name}" for folder in folders if folder != "/"))
            if cut.exists:
                return cut, True
        return self._videos.get(raw) or self._find(row, raw), False

    def _label(self, row: int, value: object) -> str:
        if isinstance(value, bool | float):
            raise UsageError(
                f"{self._place(row)}: the label {str(value)[:60]!r} is not a class.",
                "Name each class by text or a whole number.",
            )
        if isinstance(value, str) and value.startswith(("[{", '{"')):
            raise UsageError(
                f"{self._place(row)}: the label {value[:60]!r} is JSON, not a class.",
                "Export a project of Label Studio as JSON.",
            )
        label = class_name(str("" if value is None else value)).strip()
        if not label:
            raise UsageError(f"{self._place(row)}: the label is empty.", "Give each clip a class.")
        self._labels[value] = label
        return label
