"""Write the records of one video as a Parquet file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from gasmcast.errors import MachineError
from gasmcast.missing import install_hint
from gasmcast.runtime.records import Decision, Event

__all__ = ["RecordFile", "import_pyarrow", "is_complete", "record_schema"]

_GROUP_ROWS = 8192
"""Rows that are kept in memory: about an hour of video."""
_MAGIC = b"PAR1"


def import_pyarrow() -> tuple[Any, Any]:
    """Return the modules `pyarrow` and `pyarrow.parquet`.

    Raises:
        MachineError: the package is not installed.
    """
    try:
        import pyarrow as arrow  # noqa: PLC0415 - an optional package
        from pyarrow import parquet  # noqa: PLC0415 - an optional package
    except ImportError:
        raise MachineError(
            "Parquet needs pyarrow, which is not installed.", install_hint("archive")
        ) from None
    return arrow, parquet


def record_schema() -> Any:  # noqa: ANN401 - pyarrow's types are not checked
    """Return the columns of a record file; those that a kind of row does not have are null.

    `kind` is `decision`, `event` or `error`. The names are those of the records of `live`;
    `window_start_s` is the start of a decision's window, whose end is `time_s`.
    """
    arrow, _ = import_pyarrow()
    share = arrow.struct([("label", arrow.string()), ("p", arrow.float64())])
    return arrow.schema(
        [
            ("input", arrow.string()),
            ("kind", arrow.string()),
            ("time_s", arrow.float64()),
            ("label", arrow.string()),
            ("label_id", arrow.int32()),
            ("p", arrow.float64()),
            ("window_start_s", arrow.float64()),
            ("best", arrow.string()),
            ("best_p", arrow.float64()),
            ("top", arrow.list_(share)),
            ("phase", arrow.string()),
            ("onset_s", arrow.float64()),
            ("detected_s", arrow.float64()),
            ("duration_s", arrow.float64()),
            ("report_delay_s", arrow.float64()),
            ("number", arrow.int32()),
            ("reason", arrow.string()),
        ]
    )


def is_complete(path: Path) -> bool:
    """Return whether a file begins and ends as a Parquet file does; its rows are not read."""
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
            stream.seek(-4, 2)
            return head == _MAGIC and stream.read(4) == _MAGIC and stream.tell() > 12
    except OSError:
        return False


class RecordFile:
    """Parquet file under construction; memory stays flat however long the video is.

    Args:
        path: file to write.
        video: path of the video, stored in each row.
        facts: texts about the run, stored in the schema's metadata.
    """

    def __init__(self, path: Path, video: str, facts: Mapping[str, str]) -> None:
        self._arrow, parquet = import_pyarrow()
        self._video = video
        self._schema = record_schema().with_metadata({f"gasmcast.{k}": v for k, v in facts.items()})
        self._rows: list[dict[str, Any]] = []
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self.decisions = self.events = 0
        """Decisions, and events that started."""

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def add(self, record: Decision | Event) -> None:
        """Add a decision or an event."""
        row = {
            "time_s": record.time_s,
            "label": record.label,
            "label_id": record.label_id,
            "p": record.p,
        }
        if isinstance(record, Decision):
            self.decisions += 1
            top = [{"label": label, "p": p} for label, p in record.top]
            self._add(
                "decision",
                **row,
                window_start_s=record.window[0],
                best=record.best,
                best_p=record.best_p,
                top=top,
            )
            return

        self.events += record.phase == "start"
        self._add(
            "event",
            **row,
            phase=record.phase,
            onset_s=record.onset_s,
            detected_s=record.detected_s,
            duration_s=record.duration_s,
            report_delay_s=record.report_delay_s,
            number=record.number,
        )

    def add_error(self, reason: str) -> None:
        """Add why the video, or the rest of it, could not be read."""
        self._add("error", reason=reason)

    def _add(self, kind: str, **row: object) -> None:
        self._rows.append({"input": self._video, "kind": kind, **row})
        if len(self._rows) >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        table = self._arrow.Table.from_pylist(self._rows, schema=self._schema)
        self._writer.write_table(table)
        self._rows = []
