"""The recording of a run (`--record run.jsonl`): what every decision was made of, so that it can be made again.

One JSON object a line: `run` (settings, labels, calibration), `camera`, then in order of time `segment` (which frames it took),
`drop`, `window` (the head's logits, exactly), `mark` (gap or end), and `record` (what was told). No pictures are stored.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from pathlib import Path
from typing import Any

from gasmcast import __version__
from gasmcast.errors import MachineError
from gasmcast.runtime.config import LiveConfig
from gasmcast.runtime.records import Record
from gasmcast.runtime.stages import Model

__all__ = ["JOURNAL_VERSION", "Journal"]

_log = logging.getLogger(__name__)
JOURNAL_VERSION = 1


class Journal:
    """Writes a recording; a sink for records and the pipeline's `trace` at once. Lines are whole even if the power goes.

    A disk that runs full ends the recording, with an error in the log, and nothing else.

    Raises:
        MachineError: the file cannot be written at the start.
    """

    def __init__(self, path: Path, model: Model, config: LiveConfig, engine: str) -> None:
        self._lock = threading.Lock()
        self._path = path
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise MachineError(f"{path} cannot be written ({error.strerror}).", "Give --record another path.") from None
        head = {"version": JOURNAL_VERSION, "gasmcast": __version__, "engine": engine, "labels": model.labels.names}
        known = {"spec": model.spec.model_dump(), "temperature": model.temperature, "no_action": model.no_action}
        self._line("run", {**head, **known, "config": config.model_dump(mode="json")})

    def camera(self, name: str, source: str, live: bool, config: LiveConfig | None = None) -> None:
        """A source is taken in; `source` must hold no secret."""
        self._line("camera", {"camera": name, "source": source, "live": live, "config": config and config.model_dump(mode="json")})

    def trace(self, kind: str, fields: dict[str, Any]) -> None:
        """What the pipeline tells beside its records."""
        self._line(kind, fields)

    def write(self, record: Record) -> None:
        """What was told."""
        self._line("record", record.to_json())

    def close(self) -> None:
        """Finish the file."""
        with self._lock:
            self._file.close()

    def _line(self, kind: str, fields: dict[str, Any]) -> None:
        text = json.dumps({"is": kind, **fields}, ensure_ascii=False, separators=(",", ":"))
        with self._lock:
            if self._file.closed:
                return
            try:
                self._file.write(text + "\n")
                self._file.flush()
            except OSError as error:
                with contextlib.suppress(OSError):
                    self._file.close()
                trouble = MachineError(f"{self._path} cannot be written ({error.strerror}).", "Make room, or give --record another path.")
                if kind == "run":
                    raise trouble from None
                _log.error("%s The recording ends here; recognition goes on.", trouble.what)
