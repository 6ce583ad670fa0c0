"""Recording of a run (`--record run.jsonl`): everything a decision is made of, to make it again.

One JSON object per line: `run` (settings, labels, calibration), `camera` (with its region and
mask), then in order of time `segment` (the frames it took), `drop`, `window` (the head's logits,
exactly), `mark` (gap or end), `record` (what was emitted) and `lost` (number of lines missing
here). It contains no images and no secrets.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from gasmcast import __version__
from gasmcast.errors import MachineError
from gasmcast.files import open_fifo
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.recording.lines import RECORDING_VERSION
from gasmcast.runtime.records import Record
from gasmcast.runtime.service.secrets import redact, redact_tree
from gasmcast.runtime.streaming_model import Model

__all__ = ["Recorder"]

_log = logging.getLogger(__name__)
# Lines in one write.
_BATCH_LINES = 64
# Files wait at most this long for room.
_HANGS_S = 5.0


class _Line(NamedTuple):
    """Line of a recording that waits to be written."""

    kind: str
    content: Record | dict[str, Any]

    def encode(self) -> bytes:
        """Return the line as JSON without secrets, in UTF-8."""
        content = self.content
        fields = content if isinstance(content, dict) else content.to_json()
        tree = redact_tree({"is": self.kind, **fields})
        text = json.dumps(tree, ensure_ascii=False, separators=(",", ":")) + "\n"
        # The name of a file may hold bytes that are not UTF-8: `\\udce9` is JSON, and replays.
        return text.encode("utf-8", "backslashreplace")


class Recorder:
    """Write a recording; both a sink for records and the pipeline's `trace`.

    A thread of its own writes, so a slow disk delays no camera and no stage. Lines wait for it; a
    line that finds `room` lines waiting is lost, and a `lost` line in its place counts it. A run
    of files only waits for the disk instead, unless the disk hangs. A full disk ends the recording
    with an error in the log, and nothing else. Lines are whole even after a power failure. An
    existing recording is never overwritten: the new one is `run-2.jsonl`, and so on.

    Args:
        path: file to write; the attribute `path` is the one that was really opened.
        model: its labels and calibration are recorded.
        config: settings of the run.
        engine: description of the engines, in one line.
        room: lines that may wait, about 3 KB each: half an hour of one camera, 30 MB.

    Raises:
        MachineError: the file cannot be created.
    """

    name = "recording"

    def __init__(
        self, path: Path, model: Model, config: LiveConfig, engine: str, *, room: int = 10_000
    ) -> None:
        self.trouble = ""
        """Why the recording ended early; empty while it goes on."""
        self._room = room
        self._waiting: deque[_Line] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._files_only = True
        # Lines that were written, that were lost, and that the thread is writing now.
        self._written = self._lost = self._in_hand = 0

        head = {
            "version": RECORDING_VERSION,
            "gasmcast": __version__,
            "engine": engine,
            "labels": model.labels.names,
            "spec": model.spec.model_dump(),
            "temperature": model.temperature,
            "no_action": model.no_action,
            "config": config.model_dump(mode="json"),
        }
        try:
            self.path, self._file = _open_new(path)
            self._file.write(_Line("run", head).encode())
            self._file.flush()
        except OSError as error:
            raise MachineError(
                f"{path} cannot be written ({error.strerror}).", "Give --record another path."
            ) from None

        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def add_camera(
        self,
        name: str,
        source: str,
        live: bool,
        config: LiveConfig | None = None,
        crop: Mapping[str, object] | None = None,
    ) -> None:
        """Record that a source was added.

        Args:
            name: name of the camera.
            source: path or URL; the secrets of a URL are not recorded.
            live: whether it is a live source.
            config: settings of this camera; None: those of the run.
            crop: the `region` and `mask` of its images, if it has any.
        """
        self._files_only &= not live

        # The path of a file stays whole, or a replay would not find it.
        where = redact(source) if "://" in source else source
        settings = config and config.model_dump(mode="json")
        fields = {"camera": name, "source": where, "live": live, "config": settings}
        self._put(_Line("camera", {**fields, **(crop or {})}))

    def trace(self, kind: str, fields: dict[str, Any]) -> None:
        """Record a step of the pipeline; never blocks if a source is live.

        Args:
            kind: `segment`, `window`, `mark` or `drop`.
            fields: plain data, which the caller does not change afterwards.
        """
        self._put(_Line(kind, fields))

    def write(self, record: Record) -> None:
        """Record what was emitted."""
        self._put(_Line("record", record))

    def close(self, timeout_s: float = 5.0) -> None:
        """Write the waiting lines as far as `timeout_s` allows, and close the file."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

        with self._changed:
            left = len(self._waiting) + self._in_hand
            if left:
                _log.error("%s: closed with %d lines of the recording unwritten", self.path, left)
                self._lost += left
                self._waiting.clear()

    def stats(self) -> dict[str, int]:
        """Return the numbers of lines `written`, `lost` and `waiting`."""
        with self._changed:
            return {"written": self._written, "lost": self._lost, "waiting": len(self._waiting)}

    def _put(self, line: _Line) -> None:
        with self._changed:
            # A run without cameras can wait, but not again for each line while the disk hangs.
            if self._files_only and self._full() and self._waiting[-1].kind != "lost":
                self._changed.wait_for(
                    lambda: not self._full() or self.trouble or self._closing, _HANGS_S
                )

            if self.trouble or self._closing:
                self._lost += 1
            elif not self._full() or line.kind == "camera":
                # A camera's line always fits: without it none of its lines could be read.
                self._waiting.append(line)
                self._changed.notify_all()
            else:
                self._count_lost()

    def _full(self) -> bool:
        return len(self._waiting) >= self._room

    def _count_lost(self) -> None:
        """Count a line in the `lost` line that takes its place."""
        if not self._lost:
            _log.error(
                "%s: the disk is too slow: lines of the recording are lost, and counted in it",
                self.path,
            )
        self._lost += 1

        newest = self._waiting[-1]
        if newest.kind == "lost" and isinstance(newest.content, dict):
            newest.content["lines"] += 1
        else:
            self._waiting.append(_Line("lost", {"lines": 1}))

    def _run(self) -> None:
        """Write waiting lines until the recording is closed; runs on the recorder's thread."""
        while lines := self._take():
            try:
                self._file.write(b"".join(line.encode() for line in lines))
                self._file.flush()
            except Exception as error:  # noqa: BLE001 - even with a bug here, recognition goes on
                self._give_up(error)
                break

            with self._changed:
                self._written += len(lines)

        # A full disk may fail again at the close, which changes nothing any more.
        with contextlib.suppress(OSError):
            self._file.close()

    def _take(self) -> list[_Line]:
        """Wait for lines and take some; return an empty list at the end."""
        with self._changed:
            self._in_hand = 0
            self._changed.wait_for(lambda: self._waiting or self._closing)

            # Several lines per write, because every write is flushed.
            count = min(_BATCH_LINES, len(self._waiting))
            lines = [self._waiting.popleft() for _ in range(count)]
            self._in_hand = count
            self._changed.notify_all()
        return lines

    def _give_up(self, error: Exception) -> None:
        """End the recording, and count everything that was not written."""
        if isinstance(error, OSError):
            why = error.strerror
        else:
            why = f"{type(error).__name__}: {redact(error)}"

        # Cleared at once, or `close` would count these lines again.
        with self._changed:
            self.trouble = f"{self.path} cannot be written ({why})."
            self._lost += self._in_hand + len(self._waiting)
            self._in_hand = 0
            self._waiting.clear()
        _log.error("%s The recording ends here; recognition goes on.", self.trouble)


def _open_new(path: Path) -> tuple[Path, BinaryIO]:
    """Open `path`, or the next numbered one that does not exist.

    A restart must not erase what the previous run recorded.
    """
    if path.is_fifo():
        return path, open_fifo(path)
    if path.exists() and not path.is_file():
        # A device cannot be overwritten.
        return path, path.open("wb")
    for number in itertools.count(1):
        candidate = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        with contextlib.suppress(FileExistsError):
            return candidate, candidate.open("xb")
    raise AssertionError
