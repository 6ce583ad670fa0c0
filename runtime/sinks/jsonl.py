"""Records as lines of JSON, appended, flushed one by one and rotated by size."""

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
    """Append to a file, a pipe or a terminal; `-` is standard output.

    At `max_bytes` the file becomes `path.1`, the one before it `path.2`, and so on up to `keep`. A
    line is written completely or not at all: what a full disk cuts off is removed again.

    Args:
        path: the file.
        max_bytes: size at which it is rotated.
        keep: number of rotated files.

    Raises:
        MachineError: the file cannot be written.
    """

    def __init__(self, path: Path, *, max_bytes: int = 100_000_000, keep: int = 5) -> None:
        self._path, self._max_bytes, self._keep = path, max_bytes, keep
        self._stream: BinaryIO | None = None
        self._regular = True  # a regular file: it has a size and can be truncated
        self._open()

    def write(self, record: Record) -> None:
        """Append a record.

        Raises:
            MachineError: it could not be written; the file is as it was before.
        """
        tree = redact_tree(record.to_json())
        text = json.dumps(tree, ensure_ascii=False, separators=(",", ":")) + "\n"
        if str(self._path) == "-":
            sys.stdout.write(text)
            sys.stdout.flush()
            return

        line = text.encode()

        # The file is closed after a rotation that failed.
        if self._stream is None:
            self._open()
        assert self._stream is not None

        size = self._stream.tell() if self._regular else 0
        if size and size + len(line) > self._max_bytes:
            self._rotate()
            size = 0

        # A full disk may write a part of the line, with or without an error.
        try:
            written = self._stream.write(line)
        except OSError as error:
            self._truncate(size)
            raise self._error(error) from None
        if written != len(line):
            self._truncate(size)
            raise self._error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

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
            # Unbuffered: one system call per line, so that errors are raised by its `write`.
            self._stream = self._path.open("ab", buffering=0)

            self._regular = stat.S_ISREG(os.fstat(self._stream.fileno()).st_mode)
            if self._regular:
                self._end_last_line()
        except OSError as error:
            self.close()
            raise self._error(error) from None

    def _end_last_line(self) -> None:
        """End a line that a crash of the machine cut, so that the next one is intact."""
        assert self._stream is not None
        size = self._stream.seek(0, os.SEEK_END)
        if not size:
            return

        with self._path.open("rb") as before:
            before.seek(size - 1)
            if before.read(1) != b"\n":
                self._stream.write(b"\n")

    def _rotate(self) -> None:
        self.close()
        try:
            # From the oldest to the newest; the oldest is overwritten.
            for number in range(self._keep, 0, -1):
                older = self._numbered(number - 1)
                if older.exists():
                    older.replace(self._numbered(number))
        except OSError as error:
            raise self._error(error) from None
        self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def _truncate(self, size: int) -> None:
        assert self._stream is not None
        if self._regular:
            # The error that led here is the one to report.
            with contextlib.suppress(OSError):
                os.ftruncate(self._stream.fileno(), size)
                self._stream.seek(size)

    def _error(self, error: OSError) -> MachineError:
        return MachineError(
            f"{self._path} cannot be written ({error.strerror}).",
            "Free space, or give --jsonl another path.",
        )
