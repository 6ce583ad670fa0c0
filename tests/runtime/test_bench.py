from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.errors import MachineError
from gasmcast.runtime.bench import Task, measure_apart


def test_rows_are_measured_in_their_own_process(tiny_bundle):
    cached = measure_apart(Task("cached", str(tiny_bundle), "fp32", threads=1, batches=(1, 2), repeats=2))
    assert set(cached["batches"]) == {"1", "2"}
    assert cached["batches"]["1"]["ms_per_camera"] > 0
    assert 20 < cached["rss_mb"] < 1000


def test_a_row_that_fails_says_why(tiny_bundle):
    with pytest.raises(MachineError, match="no complete in fp32"):
        measure_apart(Task("complete", str(tiny_bundle), "fp32"))


@pytest.mark.slow
def test_bench_live_prints_json(tiny_bundle):
    done = CliRunner().invoke(
        app, ["bench", "live", "--bundle", str(tiny_bundle), "--no-naive", "--seconds", "2", "--threads", "1", "--most", "2", "--json"]
    )
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    (row,) = result["rows"]
    assert row["name"] == "cached segments, fp32"
    assert {"ms_per_decision", "cpu_ms", "cameras_realtime", "rss_mb", "latency_ms"} <= set(row)
    assert set(result["peak_macs_per_s"]) == {"fp32", "int8"}
