"""Result of the check of a data set, as text, JSON and a page."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from gasmcast.data.check.shortcuts import Shortcut
from gasmcast.report.html import Share, Table, render

__all__ = ["ClassRow", "DataCheck", "Finding"]

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """Something that a user should know before a training."""

    level: str
    """"error" (a training would refuse or mislead), "warning" or "note"."""
    text: str

    def __str__(self) -> str:
        return f"{self.level}: {self.text}"


@dataclass(frozen=True)
class ClassRow:
    """Counts of one class."""

    name: str
    clips: int
    training_clips: int
    validation_clips: int
    sources: int
    seconds: float
    """Sum of the durations of its clips."""
    median_s: float
    """Median duration of its clips in seconds."""
    strip: str
    """Data URI of the frames of a clip; empty if none can be read."""


@dataclass(frozen=True)
class DataCheck:
    """Findings about a data set; true if nothing is an error."""

    path: str
    format: str
    clips: int
    sources: int
    seconds: float
    """Sum of the durations of all clips."""
    splits: dict[str, int]
    """Number of clips of each split."""
    split_is_made: bool
    """Whether the split was made by gasmcast."""
    classes: tuple[ClassRow, ...]
    files: dict[str, dict[str, int]]
    """Number of files with each value of frame rate, size, codec and encoder."""
    shortcuts: tuple[Shortcut, ...]
    findings: tuple[Finding, ...]

    def __bool__(self) -> bool:
        return not any(finding.level == "error" for finding in self.findings)

    def __str__(self) -> str:
        splits = ", ".join(f"{count} {split}" for split, count in self.splits.items())
        return (
            f"{self.path}: format {self.format}, {self.clips} clips of {len(self.classes)} classes"
            f" from {self.sources} sources, {self.seconds / 60:.1f} minutes ({splits})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON data, without pictures."""
        record = asdict(self)
        for row in record["classes"]:
            del row["strip"]
        return {**record, "passed": bool(self)}

    def to_html(self) -> str:
        """Return the result as a page that needs no other file."""
        rows = [
            (row.name, row.clips, row.training_clips, row.validation_clips, row.sources,
             f"{row.seconds:.0f}", f"{row.median_s:.1f}")
            for row in self.classes
        ]  # fmt: skip
        head = ("class", "clips", "train", "validation", "sources", "seconds", "median s")

        # What the files are like, and which of it gives a class away.
        files = [
            (name, value, count)
            for name, counts in self.files.items()
            for value, count in counts.items()
        ]
        shortcuts = [
            (one.name, Share(one.accuracy, passed=not one.is_shortcut), Share(one.chance))
            for one in self.shortcuts
        ]

        return render(
            "data_check.html.j2",
            title=f"Data set {self.path}",
            summary=str(self),
            findings=self.findings,
            classes=Table(head, rows, numbers=range(1, len(head))),
            strips=[row for row in self.classes if row.strip],
            files=Table(("property", "value", "files"), files, numbers=(2,)),
            shortcuts=Table(("property", "accuracy", "chance"), shortcuts, numbers=(1, 2)),
        )
