"""Recorder of idle logits: takes the windows of a pipeline and writes them in parts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gasmcast.errors import MachineError
from gasmcast.runtime.alarms.idle_store import Columns, IdleHead, add_part, merge_parts
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import Record

__all__ = ["IdleRecorder"]

_log = logging.getLogger(__name__)
# Rows that are lost at most when the power fails: a quarter of an hour of one camera.
_PART_ROWS = 1800


class IdleRecorder:
    """Store the logits and times of all windows; no picture and no URL is stored.

    It is the pipeline's `trace` and a sink that takes no records. A disk that is full ends the
    recording with `trouble` set; what was written stays.

    Args:
        path: file of the recording; existing rows are kept.
        head: facts of this run; with the cameras that the file already holds.
        first_run: number of the first uninterrupted stretch.
        part_rows: rows in one part.
    """

    name = "idle logits"

    def __init__(
        self, path: Path, head: IdleHead, *, first_run: int = 0, part_rows: int = _PART_ROWS
    ) -> None:
        self.path = path
        self.trouble = ""
        self.rows = 0
        """Windows of this run."""

        # Guards everything below: the stages and the sources call at the same time.
        self._lock = threading.Lock()
        self._head = head
        self._next_run = first_run
        self._runs: dict[str, int] = {}
        self._part_rows = part_rows
        self._waiting: list[tuple[list[float], float, int, int]] = []

    def add_camera(
        self,
        name: str,
        source: str,  # noqa: ARG002 - the recorder of `live` stores it, this one does not
        live: bool,  # noqa: ARG002 - as above
        config: LiveConfig | None = None,  # noqa: ARG002 - as above
        crop: Mapping[str, object] | None = None,  # noqa: ARG002 - as above
    ) -> None:
        """Give a source a number, and start a stretch of its own."""
        with self._lock:
            if name not in self._head.cameras:
                cameras = (*self._head.cameras, name)
                self._head = self._head.model_copy(update={"cameras": cameras})
            self._start_run(name)

    def trace(self, kind: str, fields: dict[str, Any]) -> None:
        """Take a step of the pipeline; windows and marks are used."""
        with self._lock:
            if kind == "window":
                camera = self._head.cameras.index(fields["camera"])
                run = self._runs[fields["camera"]]
                row = (fields["logits"], float(fields["window"][1]), camera, run)
                self._waiting.append(row)
                self.rows += 1
            elif kind == "mark":
                self._start_run(fields["camera"])
            if len(self._waiting) >= self._part_rows:
                self._flush()

    def finish_file(self, name: str) -> None:
        """Note that a file was read to its end, so that a resumed run leaves it out."""
        with self._lock:
            finished = dict.fromkeys((*self._head.finished, name))
            self._head = self._head.model_copy(update={"finished": tuple(finished)})

    def write(self, record: Record) -> None:
        """Ignore a record: decisions follow from the logits."""

    def close(self) -> None:
        """Write the waiting rows; `merge` follows when all files are marked as finished."""
        with self._lock:
            self._flush()

    def merge(self) -> None:
        """Write waiting rows and merge all parts into the file.

        Raises:
            MachineError: the disk is full or failed; the parts stay, and the next run merges them.
        """
        with self._lock:
            # An empty part carries the list of finished files.
            self._flush(always=True)
        try:
            merge_parts(self.path)
        except OSError as error:
            raise MachineError(
                f"{self.path} cannot be written ({error.strerror}).",
                "Free some space and run the same command again: nothing is lost.",
            ) from None

    def _start_run(self, name: str) -> None:
        self._runs[name] = self._next_run
        self._next_run += 1

    def _flush(self, *, always: bool = False) -> None:
        """Write the waiting rows as one part; the caller holds the lock."""
        if self.trouble or not (self._waiting or always):
            return
        classes = len(self._head.labels)
        logits = [row[0] for row in self._waiting]
        columns: Columns = {
            "logits": np.asarray(logits, np.float32).reshape(-1, classes),  # (N, classes)
            "time_s": np.asarray([row[1] for row in self._waiting], np.float64),
            "camera": np.asarray([row[2] for row in self._waiting], np.int32),
            "run": np.asarray([row[3] for row in self._waiting], np.int32),
        }
        try:
            add_part(self.path, self._head, columns)
        except OSError as error:
            self.trouble = f"{self.path} cannot be written ({error.strerror})"
            _log.error("%s; the recording ends here", self.trouble)
        self._waiting.clear()
