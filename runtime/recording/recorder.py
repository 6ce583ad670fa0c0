"""The recording of a run (`--record run.jsonl`): what every decision was made of, so that it can be made again.

One JSON object a line: `run` (settings, labels, calibration), `camera` (with its region and mask), then in order of time `segment`
(which frames it took), `drop`, `window` (the head's logits, exactly), `mark` (gap or end), `record` (what was told), and `lost` (so
many lines are missing here). No pictures are stored, and no secrets.
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
from typing import Any, BinaryIO

from gasmcast import __version__
from gasmcast.errors import MachineError
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import Record
from gasmcast.runtime.service.secrets import redact, redact_tree
from gasmcast.runtime.stages import Model

__all__ = ["JOURNAL_VERSION", "Journal"]

_log = logging.getLogger(__name__)
JOURNAL_VERSION = 1
_AT_ONCE = 64  # lines a write
_HANGS_S = 5.0  # files wait no longer for room


class Journal:
    """Writes a recording; a sink for records and the pipeline's `trace` at once. Lines are whole even if the power goes.

    A thread of its own writes, so a disk that is slow or hangs holds up no camera and no stage: lines wait for it, and what comes while
    `room` of them do is lost, counted, and told of by a line in its place. A run of files only waits for the disk instead, unless that
    hangs. A disk that runs full ends the recording, with an error in the log, and nothing else. A recording that is there already is left
    alone: the new one is `run-2.jsonl`, and so on.

    Args:
        path: where to; `path` afterwards is where it really goes.
        model: whose labels and calibration are noted.
        config: the settings of the run.
        engine: what the model runs on, in one line.
        room: lines that wait at most, some 3 KB each: half an hour of one camera, 30 MB.

    Raises:
        MachineError: the file cannot be written at the start.
    """

    name = "recording"

    def __init__(
        self, path: Path, model: Model, config: LiveConfig, engine: str, *, room: int = 10_000
    ) -> None:
        self.trouble = ""
        """Why it ended early; empty while all is well."""
        self._room = room
        self._waiting: deque[tuple[str, Record | dict[str, Any]]] = deque()
        self._changed = threading.Condition()
        self._closing, self._files_only = False, True
        self._written = self._lost = self._in_hand = 0
        head = {
            "version": JOURNAL_VERSION,
            "gasmcast": __version__,
            "engine": engine,
            "labels": model.labels.names,
        }
        known = {
            "spec": model.spec.model_dump(),
            "temperature": model.temperature,
            "no_action": model.no_action,
        }
        try:
            self.path, self._file = _open_new(path)
            self._file.write(
                _line("run", {**head, **known, "config": config.model_dump(mode="json")})
            )
            self._file.flush()
        except OSError as error:
            raise MachineError(
                f"{path} cannot be written ({error.strerror}).", "Give --record another path."
            ) from None
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def camera(
        self,
        name: str,
        source: str,
        live: bool,
        config: LiveConfig | None = None,
        part: Mapping[str, object] | None = None,
    ) -> None:
        """A source is taken in; `part`: the `region` and `mask` through which it is seen, where it has any."""
        self._files_only &= not live
        own = config and config.model_dump(mode="json")
        self._put(
            "camera",
            {"camera": name, "source": source, "live": live, "config": own, **(part or {})},
        )

    def trace(self, kind: str, fields: dict[str, Any]) -> None:
        """What the pipeline tells beside its records; `fields` is not changed afterwards. Never blocks where a source is live."""
        self._put(kind, fields)

    def write(self, record: Record) -> None:
        """What was told."""
        self._put("record", record)

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits, as far as that goes in the time there is, and finish the file."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        with self._changed:
            if left := len(self._waiting) + self._in_hand:
                _log.error("%s: closed with %d lines of the recording unwritten", self.path, left)
                self._lost += left
                self._waiting.clear()

    def stats(self) -> dict[str, int]:
        """Lines `written`, `lost` and `waiting`."""
        with self._changed:
            return {"written": self._written, "lost": self._lost, "waiting": len(self._waiting)}

    def _put(self, kind: str, what: Record | dict[str, Any]) -> None:
        with self._changed:
            if self._files_only and self._full() and self._waiting[-1][0] != "lost":
                self._changed.wait_for(
                    lambda: not self._full() or self.trouble or self._closing, _HANGS_S
                )
            if self.trouble or self._closing:
                self._lost += 1
            elif not self._full() or kind == "camera":  # without its camera no line can be read
                self._waiting.append((kind, what))
                self._changed.notify_all()
            else:
                self._leave_out()

    def _full(self) -> bool:
        return len(self._waiting) >= self._room

    def _leave_out(self) -> None:
        """Count a line in the `lost` line that stands in its place."""
        if not self._lost:
            _log.error(
                "%s: the disk is too slow: lines of the recording are lost, and counted in it",
                self.path,
            )
        self._lost += 1
        kind, what = self._waiting[-1]
        if kind == "lost" and isinstance(what, dict):
            what["lines"] += 1
        else:
            self._waiting.append(("lost", {"lines": 1}))

    def _run(self) -> None:
        """The thread."""
        while True:
            with self._changed:
                self._in_hand = 0
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    break
                lines = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
                self._in_hand = len(lines)
                self._changed.notify_all()
            try:
                self._file.write(b"".join(itertools.starmap(_line, lines)))
                self._file.flush()
            except Exception as error:  # noqa: BLE001 - a full disk, or a bug: recognition goes on in any case
                self._give_up(error)
                break
            with self._changed:
                self._written += len(lines)
        with contextlib.suppress(OSError):
            self._file.close()

    def _give_up(self, error: Exception) -> None:
        why = (
            error.strerror
            if isinstance(error, OSError)
            else f"{type(error).__name__}: {redact(error)}"
        )
        with self._changed:
            self.trouble = f"{self.path} cannot be written ({why})."
            self._lost += self._in_hand + len(self._waiting)
            self._in_hand = 0
            self._waiting.clear()
        _log.error("%s The recording ends here; recognition goes on.", self.trouble)


def _open_new(path: Path) -> tuple[Path, BinaryIO]:
    """The file, or the next one by number that is not there yet: a restart must not erase what the run before it recorded."""
    if path.exists() and not path.is_file():
        return path, path.open("wb")  # a pipe or a device
    for number in itertools.count(1):
        place = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        with contextlib.suppress(FileExistsError):
            return place, place.open("xb")
    raise AssertionError


def _line(kind: str, what: Record | dict[str, Any]) -> bytes:
    fields = what if isinstance(what, dict) else what.to_json()
    return (
        json.dumps(redact_tree({"is": kind, **fields}), ensure_ascii=False, separators=(",", ":"))
        + "\n"
    ).encode()
