"""Output folder of an archive: one Parquet file per input, and what the run was.

The name of a record file follows from the path of its video, and a file appears under its name only
when it is complete. So each input is in the output once, whenever and however often a run is killed
and started again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from gasmcast.archive.parquet import import_pyarrow, is_complete
from gasmcast.errors import UsageError
from gasmcast.files import read_json, write_atomic

try:
    import fcntl
except ImportError:  # Windows: nothing is locked
    fcntl = None  # type: ignore[assignment]

__all__ = ["OutputFolder"]

_ABOUT = "archive.json"
_FAILED = "failed.jsonl"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_LONGEST_STEM = 64

State = Literal["missing", "complete", "failed"]


class OutputFolder:
    """Folder that `gasmcast classify` writes.

    `records/xx/NAME-KEY.parquet` holds the records of one input; `.failed.parquet` marks one that
    could not be read to its end. `archive.json` says which bundle and settings made them, and
    `failed.jsonl` lists the bad inputs.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    def open(self, facts: Mapping[str, Any]) -> None:
        """Create the folder or continue in it, and keep other runs out until `close`.

        Args:
            facts: what the records depend on; a folder with other facts is refused.

        Raises:
            UsageError: it holds other files or records of another run, or another run uses it.
        """
        about = self.path / _ABOUT
        if self.path.exists() and not about.exists() and any(self._foreign()):
            raise UsageError(
                f"{self.path} holds files that are no output of `gasmcast classify`.",
                "Give --out a new folder.",
            )
        self.path.mkdir(parents=True, exist_ok=True)
        self._take_lock()

        try:
            if about.exists():
                self.check(facts)
            else:
                write_atomic(about, json.dumps(facts, indent=1, sort_keys=True))
        except BaseException:
            self._unlock()
            raise
        self._remove_drafts()

    def check(self, facts: Mapping[str, Any]) -> None:
        """Check that the folder belongs to a run with these facts.

        Raises:
            UsageError: it is missing, or belongs to another run.
        """
        about = self.path / _ABOUT
        if not about.exists():
            raise UsageError(
                f"The output folder {self.path} is not the one of the main process.",
                "Put it where all machines see it under the same path.",
            )
        stored = read_json(about, dict)
        for name in sorted({*facts, *stored}):
            if stored.get(name) != facts.get(name):
                raise UsageError(
                    f"{self.path} was written with {name} {_short(stored.get(name))}, this run has "
                    f"{_short(facts.get(name))}.",
                    "Give another --out, or the same bundle and settings.",
                )

    def close(self) -> None:
        """Remove what killed workers left, and let other runs use the folder."""
        self._remove_drafts()
        self._unlock()

    def file(self, video: str, *, failed: bool = False) -> Path:
        """Return the record file of a video, by the video's absolute path."""
        # A path in bytes of another encoding has surrogates.
        key = hashlib.sha256(os.fsencode(video)).hexdigest()[:16]
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(video).stem)[:_LONGEST_STEM]
        ending = ".failed.parquet" if failed else ".parquet"
        return self.path / "records" / key[:2] / f"{stem}-{key}{ending}"

    def state(self, video: str) -> State:
        """Return whether the records of a video are there; a damaged file is removed."""
        for failed in (False, True):
            path = self.file(video, failed=failed)
            if is_complete(path):
                return "failed" if failed else "complete"
            path.unlink(missing_ok=True)
        return "missing"

    def forget_failure(self, video: str) -> None:
        """Remove the record file of a bad input, so that it is tried again."""
        self.file(video, failed=True).unlink(missing_ok=True)

    def _failures(self) -> Iterator[tuple[str, str]]:
        """Yield path and reason of all bad inputs in the folder."""
        _, parquet = import_pyarrow()
        for path in sorted(self.path.glob("records/*/*.failed.parquet")):
            table = parquet.read_table(path, columns=["input", "reason"])
            for row in table.slice(max(0, table.num_rows - 1)).to_pylist():
                yield str(row["input"]), str(row["reason"])

    def list_failures(self) -> dict[str, str]:
        """Write `failed.jsonl` from the record files of bad inputs; return reasons by path."""
        failures = dict(self._failures())
        lines = [json.dumps({"input": video, "reason": why}) for video, why in failures.items()]
        write_atomic(self.path / _FAILED, "".join(f"{line}\n" for line in lines))
        return failures

    def _foreign(self) -> Iterator[Path]:
        """Yield entries that a run which was killed at its very start cannot have left."""
        for entry in self.path.iterdir():
            if entry.name != ".lock" and not entry.name.startswith(".archive."):
                yield entry

    def _take_lock(self) -> None:
        """Lock the folder for this process; the system frees it however the process ends."""
        if fcntl is None:
            return
        lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise UsageError(
                f"Another `gasmcast classify` writes into {self.path}.",
                "Wait until it has ended, or give another --out.",
            ) from None
        except OSError as error:
            # Some network file systems have no locks.
            if error.errno not in _NO_LOCKS:
                os.close(lock)
                raise
        self._lock = lock

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _remove_drafts(self) -> None:
        """Remove files that were under construction when a run was killed."""
        for draft in [*self.path.glob("records/*/.*.parquet"), *self.path.glob(".archive.*")]:
            draft.unlink(missing_ok=True)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
