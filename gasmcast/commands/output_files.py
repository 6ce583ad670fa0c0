"""Files that `live` and `replay` write, and the check that none of them replaces an input."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gasmcast.errors import UsageError

if TYPE_CHECKING:
    from gasmcast.runtime.camera_list import CameraEntry

__all__ = ["OutputFiles", "check_outputs"]


@dataclass(frozen=True)
class OutputFiles:
    """Paths of the output options of `live`; None where an option was not given."""

    jsonl: Path | None
    save: Path | None
    record: Path | None

    def videos(self, entries: Sequence[CameraEntry]) -> list[Path]:
        """Return the annotated videos of a run, one per source."""
        from gasmcast.runtime.sinks.video_file import video_path

        if self.save is None:
            return []

        # Several sources have a video each, named after the source.
        several = len(entries) > 1
        return [video_path(self.save, entry.source.name, several) for entry in entries]

    def check(self, entries: Sequence[CameraEntry]) -> None:
        """Check that no output replaces a source or another output.

        Raises:
            UsageError: one would.
        """
        outputs = [self.jsonl, *self.videos(entries), self.record]
        check_outputs([entry.recorded_as for entry in entries], [path for path in outputs if path])

    def written(self, entries: Sequence[CameraEntry], recording: Path | None) -> list[Path]:
        """Return the files that exist after the run.

        Args:
            entries: sources of the run.
            recording: path of the recording, which may differ from `record`.
        """
        outputs = [self.jsonl, *self.videos(entries), recording]
        return [path for path in outputs if path and str(path) != "-" and path.exists()]


def check_outputs(sources: Sequence[str], outputs: Sequence[Path]) -> None:
    """Check that no output replaces a file that is being read, or another output.

    Args:
        sources: sources as the user wrote them.
        outputs: files that will be written.

    Raises:
        UsageError: one would.
    """
    # Resolved, because ./a.mp4 and a link to it are the same file.
    read = {os.path.realpath(source.removeprefix("replay:")) for source in sources}
    written = set()
    for path in outputs:
        resolved = os.path.realpath(path)  # unlike Path.resolve, also of a link to itself
        if resolved in read:
            raise UsageError(
                f"{path} is a source of this run and would be overwritten.",
                "Give the output another name.",
            )

        if resolved in written:
            raise UsageError(
                f"{path} is where two outputs of this run would go.", "Give each its own name."
            )
        written.add(resolved)
