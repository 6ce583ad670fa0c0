"""Frames of a recorded file as a source (`replay:run.jsonl`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gasmcast.errors import SourceError, UsageError
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.recording.replay_decisions import read_recording
from gasmcast.runtime.sources.file import FileSource

__all__ = ["ReplaySource"]

# Causes of drops that leave a hole between the frames that were taken.
_HOLES = ("gap", "late", "restart", "skip", "turn")


class ReplaySource:
    """The frames that a recorded run took from its file; images of cameras are not stored.

    Args:
        path: file that `--record` wrote.
        name: name of the source.
    """

    live = reconnects = False

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._path = path

    def frames(self) -> Iterator[Frame]:
        """Yield the frames of the file that the recorded run took.

        Raises:
            SourceError: not the complete recording of a single file, or the file is gone.
        """
        try:
            lines = list(read_recording(self._path))
        except UsageError as error:
            raise SourceError(error.what, error.hint) from None

        cameras = [line for line in lines if line["is"] == "camera"]
        obstacle = _obstacle(lines, cameras)
        if obstacle:
            raise SourceError(
                f"{self._path} {obstacle}.", f"Replay its decisions: gasmcast replay {self._path}."
            )

        # Frames that no segment took would change nothing, but cost time.
        taken: set[float] = set()
        for line in lines:
            if line["is"] == "segment":
                taken.update(line["stamps"])

        for frame in FileSource(Path(cameras[0]["source"]), self.name).frames():
            if frame.stamp_s in taken:
                yield frame


def _obstacle(lines: list[dict[str, Any]], cameras: list[dict[str, Any]]) -> str:
    """Return why the frames of the file would not give the recorded windows; empty if they would.

    Args:
        lines: all lines of the recording.
        cameras: its `camera` lines.
    """
    if len(cameras) != 1 or not Path(cameras[0]["source"]).is_file():
        return "is not the recording of one file that is still there"

    parts = [part for part in ("region", "mask") if cameras[0].get(part)]
    if parts:
        return (
            f"was made of a part of the picture ({' and '.join(parts)}), and the frames of the "
            "file are whole"
        )

    for line in lines:
        if line["is"] == "lost" or (line["is"] == "drop" and line["cause"] in _HOLES):
            return "has holes, which windows over the frames that it took would span"
    return ""
