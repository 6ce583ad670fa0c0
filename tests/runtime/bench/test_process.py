from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.commands.bench.camera_load import largest_in_time
from gasmcast.commands.bench.decision_cost import measure_decision
from gasmcast.commands.bench.printout import print_result
from gasmcast.commands.bench.rows import add_speedups, make_row
from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.bench.process import BenchProcess, measure_once
from gasmcast.runtime.bench.task import Task


def test_rows_are_measured_in_their_own_process_turn_by_turn(tiny_bundle):
    task = Task("cached", str(tiny_bundle), "fp32", threads=1, batches=(1, 8))
    with BenchProcess(task) as process:
        first, second = process.turn(), process.turn()
    for turn in first, second:
        assert min(turn["encode_1"] + turn["fuse_8"]) > 0
        assert len(turn["encode_1"]) == len(turn["encode_1_cpu"]) > 1  # quick work is repeated
        assert 20 < turn["rss_mb"] < 1000


def test_a_row_that_fails_says_why(tiny_bundle):
    with pytest.raises(MachineError, match="no complete in fp32"):
        BenchProcess(Task("complete", str(tiny_bundle), "fp32"))


def test_a_row_that_hangs_is_given_up(tiny_bundle):
    with pytest.raises(MachineError, match="longer than 0 s"):
        BenchProcess(Task("cached", str(tiny_bundle), "fp32"), timeout_s=0.05)


def test_cameras_may_play_slower_than_real_time(tiny_bundle):
    found = measure_once(
        Task("cameras", str(tiny_bundle), "fp32", threads=1, cameras=2, seconds=2.0, slowdown=2.0)
    )
    assert found["kept_up"]
    assert 6 <= found["decisions"] <= 10, "4 s are 2 s of the cameras' time: four segments each"


def test_a_bundle_that_cannot_stream_is_told_before_a_row_is_begun(tiny_bundle, tmp_path):
    path = shutil.copytree(tiny_bundle, tmp_path / "clip.gasm") / "manifest.json"
    manifest = json.loads(path.read_text())
    for entry in manifest["files"].values():
        entry["graph"] = entry["graph"] and "complete"
    path.write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="no streaming graphs"):
        measure_decision(
            Task("cached", str(path.parent), "fp32", "openvino", threads=1, seconds=2.0),
            max_cameras=1,
            naive=True,
            progress=lambda _: pytest.fail("it began"),
        )


@pytest.fixture
def with_all(tiny_bundle, tmp_path):
    """The tiny bundle, as if it had every precision except BF16 of FP32."""
    path = shutil.copytree(tiny_bundle, tmp_path / "all.gasm") / "manifest.json"
    manifest = json.loads(path.read_text())
    for precision in ("int8", "fp16", "int8_fp16"):
        for graph in ("encoder", "head"):
            name = shutil.copy(
                path.parent / f"{graph}.onnx", path.parent / f"{graph}.{precision}.onnx"
            ).name
            manifest["files"][name] = {**manifest["files"][f"{graph}.onnx"], "precision": precision}
    manifest["precisions"]["int8_bf16"] = manifest["precisions"]["fp32"]
    path.write_text(json.dumps(manifest))
    return path.parent


@pytest.mark.parametrize(
    ("engine", "lacking", "rows"),
    [
        ("openvino", "", ["fp32", "int8", "int8_bf16"]),
        ("openvino", "no BF16", ["fp32", "int8"]),
        ("onnxruntime", "no BF16", ["fp32", "int8", "fp16", "int8_fp16"]),
    ],
)
def test_a_row_is_what_its_name_says(engine, lacking, rows, with_all, monkeypatch):
    """No BF16 where there is none, and no FP16 where OpenVINO would compute it in FP32."""
    said = []

    def stop(tasks, *_, **__):
        raise StopIteration(*(task.precision for task in tasks.values()))

    monkeypatch.setattr("gasmcast.commands.bench.decision_cost.missing_bf16", lambda _: lacking)
    monkeypatch.setattr("gasmcast.commands.bench.decision_cost.measure_rows", stop)
    with pytest.raises(StopIteration) as raised:
        measure_decision(
            Task("cached", str(with_all), "fp32", engine, threads=1, seconds=2.0),
            max_cameras=1,
            naive=False,
            progress=said.append,
        )
    assert list(raised.value.args) == rows
    assert any(
        "without fp16, int8_fp16: OpenVINO computes FP16 in FP32" in line for line in said
    ) == (engine == "openvino")


@pytest.mark.slow
def test_bench_live_prints_json(tiny_bundle, monkeypatch, capsys):
    monkeypatch.setattr("gasmcast.commands.bench.rows._MIN_ROUNDS", 2)
    monkeypatch.setattr("gasmcast.commands.bench.rows._MAX_ROUNDS", 2)
    flags = ["--no-naive", "--seconds", "2", "--threads", "1", "--max-cameras", "2", "--json"]
    done = CliRunner().invoke(app, ["bench", "live", "--bundle", str(tiny_bundle), *flags])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    (row,) = result["rows"]
    assert row["name"] == "cached segments, fp32"
    assert {
        "ms_per_decision",
        "cpu_ms",
        "cameras_realtime",
        "rss_mb",
        "rss_mb_4_cameras",
        "rss_mb_per_camera",
        "latency_ms",
    } <= set(row)
    assert set(result["growth"]["cameras"]) == {"1", "2", "4", "8"}
    assert {"fp32", "int8"} <= set(result["peak_macs_per_s"])
    assert {"encoder", "head"} <= set(result["profile_ms"])
    assert "round 2" in done.stderr
    print_result(result)
    assert "memory: one camera" in capsys.readouterr().out


def test_what_cameras_were_not_put_to_is_an_estimate_and_says_so(capsys):
    task = Task("naive", "bundle", "fp32")
    row = make_row(
        "naive",
        task,
        [{"ms": [150.0], "ms_cpu": [150.0], "rss_mb": 900.0, "engine": "torch"}] * 2,
        500.0,
    )
    assert (row["cameras_realtime"], row["cameras_measured"]) == (3, False)
    cached = {
        "name": "cached",
        "kind": "cached",
        "precision": "fp32",
        "ms_per_decision": 50.0,
        "cpu_ms": 50.0,
    }
    cached |= {
        "cameras_realtime": 7,
        "cameras_measured": True,
        "rss_mb": 500.0,
        "rss_mb_4_cameras": 560.0,
        "rss_mb_per_camera": 20.0,
        "latency_ms": {},
    }
    print_result(
        {
            "bundle": "b",
            "took_s": 1.0,
            "rows": [row, cached],
            "growth": {"precision": "fp32", "cameras": {}},
        }
    )
    lines = capsys.readouterr().out.splitlines()
    assert ["~3" in line for line in lines if "900" in line] == [True]
    assert ["~" in line for line in lines if "cached" in line] == [False]


def test_speedups_are_ratios_against_the_naive_row_and_the_window_of_the_same_precision():
    costs = [
        ("naive", "fp32", 800.0),
        ("complete", "int8", 200.0),
        ("cached", "int8", 40.0),
        ("cached", "fp32", 100.0),
    ]
    rows = [
        {"kind": kind, "precision": precision, "ms_per_decision": ms}
        for kind, precision, ms in costs
    ]
    add_speedups(rows)
    assert [row["speedup_vs_naive"] for row in rows] == [1.0, 4.0, 20.0, 8.0]
    assert [row.get("speedup_vs_window") for row in rows] == [
        None,
        1.0,
        5.0,
        None,
    ]  # no window in fp32


@pytest.mark.parametrize("true", [1, 2, 3, 7, 16, 40, 64])
@pytest.mark.parametrize("expected", [2, 5, 16, 64])
def test_the_number_of_cameras_is_found_by_bisection_around_the_expected_one(true, expected):
    tried = []

    def keeps_up(count: int) -> bool:
        tried.append(count)
        return count <= true

    assert largest_in_time(expected, 64, keeps_up) == true
    assert len(tried) == len(set(tried)) <= 12
    if true == expected:
        assert len(tried) <= 2


def test_quick_measures_cameras_of_the_fastest_precision_alone(tiny_bundle):
    stages = []
    result = measure_decision(
        Task("cached", str(tiny_bundle), "fp32", "openvino", threads=1, seconds=2.0),
        max_cameras=2,
        naive=True,
        progress=lambda stage, *_: stages.append(stage),
        quick=True,
    )
    assert {row["kind"] for row in result["rows"]} == {"cached"}
    assert sum(row["cameras_measured"] for row in result["rows"]) == 1
    assert not any("peak" in stage or "naive" in stage for stage in stages)
