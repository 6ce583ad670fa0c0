"""Law: the records of `classify` are those of `live` on the same file."""

from __future__ import annotations

import pytest

from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import Decision, Event
from gasmcast.runtime.session import Session
from gasmcast.runtime.sources.file import FileSource
from gasmcast.runtime.streaming_model import open_model

SETTINGS = {"on": 0.4, "off": 0.35, "refractory_s": 0.0, "smooth_s": 0.2}


class Records:
    def __init__(self):
        self.records = []

    def write(self, record):
        if isinstance(record, Decision | Event):
            self.records.append(record)

    def close(self):
        pass


def as_rows(records):
    """Return records as rows of the Parquet file, without its nulls."""
    rows = []
    for record in records:
        row = record.to_json()
        for name in ("camera", "ts", "latency_ms"):
            row.pop(name, None)
        if "window" in row:
            row["window_start_s"] = row.pop("window")[0]
            row["top"] = [{"label": label, "p": p} for label, p in row["top"]]
        rows.append(row)
    return rows


def test_every_record_equals_that_of_live(tiny_bundle, moving_video, short_video, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    from gasmcast import classify

    videos = [moving_video, short_video]
    result = classify(
        videos, bundle=tiny_bundle, out=tmp_path / "out", settings=SETTINGS, workers=1
    )
    assert (result.labeled, bool(result)) == (2, True)

    model, _ = open_model(tiny_bundle, threads=1)
    for video in videos:
        sink = Records()
        session = Session(model, LiveConfig(**SETTINGS), [sink])
        session.add(FileSource(video, video.stem))
        assert session.run() == []

        (path,) = (tmp_path / "out").glob(f"records/*/{video.stem}-*.parquet")
        rows = parquet.read_table(path).to_pylist()
        assert {row.pop("input") for row in rows} == {str(video)}
        ours = [{name: value for name, value in row.items() if value is not None} for row in rows]
        assert ours == as_rows(sink.records)
        assert {row["kind"] for row in ours} == {"decision", "event"}
