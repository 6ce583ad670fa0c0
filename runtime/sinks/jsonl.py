"""Records as lines of JSON: appended, flushed one by one, rotated by size."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from gasmcast.errors import MachineError
from gasmcast.runtime.records import Record
from gasmcast.runtime.service.secrets import redact_tree

__all__ = ["JsonlSink"]


class JsonlSink:
    """Appends to `path`; `-` is standard output. A pipe or a terminal is written to as long as it lasts.

    At `max_bytes` the file becomes `path.1`, the one before it `path.2`, and so on up to `keep`. A line is there whole or not at all:
    what a full disk cuts off is taken back.

    Raises:
        MachineError: the file cannot be written.
    """

    def __init__(self, path: Path, *, max_bytes: int = 100_000_000, keep: int = 5) -> None:
        self._path, self._max_bytes, self._keep = path, max_bytes, keep
        self._stream: BinaryIO | None = None
        self._regular = True  # it has a size, and what was written can be taken back
        self._open()

    def write(self, record: Record) -> None:
        """Raises: MachineError, after which the file is as it was before."""
        line = (
            json.dumps(redact_tree(record.to_json()), ensure_ascii=False, separators=(",", ":"))
            + "\n"
        ).encode()
        if str(self._path) == "-":
            sys.stdout.write(line.decode())
            sys.stdout.flush()
            return
        if self._stream is None:
            self._open()
        assert self._stream is not None
        size = self._stream.tell() if self._regular else 0
        if size and size + len(line) > self._max_bytes:
            self._rotate()
            size = 0
        try:
            written = self._stream.write(line)
        except OSError as error:
            self._take_back(size)
            raise self._trouble(error) from None
        if written != len(line):
            self._take_back(size)
            raise self._trouble(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _open(self) -> None:
        if str(self._path) == "-":
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: one write a line, so that a line either went out or raised here.
            self._stream = self._path.open("ab", buffering=0)
            self._regular = stat.S_ISREG(os.fstat(self._stream.fileno()).st_mode)
            if self._regular and (size := self._stream.seek(0, os.SEEK_END)):
                with self._path.open("rb") as before:
                    before.seek(size - 1)
                    if (
                        before.read(1) != b"\n"
                    ):  # a crash of the machine cut the last line: the next one must not suffer
                        self._stream.write(b"\n")
        except OSError as error:
            self.close()
            raise self._trouble(error) from None

    def _rotate(self) -> None:
        self.close()
        try:
            for number in range(self._keep, 0, -1):
                older = self._numbered(number - 1)
                if older.exists():
                    older.replace(self._numbered(number))
        except OSError as error:
            raise self._trouble(error) from None
        self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def _take_back(self, size: int) -> None:
        assert self._stream is not None
        if self._regular:
            with contextlib.suppress(OSError):
                os.ftruncate(self._stream.fileno(), size)
                self._stream.seek(size)

    def _trouble(self, error: OSError) -> MachineError:
        return MachineError(
            f"{self._path} cannot be written ({error.strerror}).",
            "Free space, or give --jsonl another path.",
        )
