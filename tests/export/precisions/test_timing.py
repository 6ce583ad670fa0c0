from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from gasmcast.calibration.quantize import quantize
from gasmcast.errors import UsageError
from gasmcast.export.graphs.fp16 import to_fp16
from gasmcast.export.precisions.speed_notes import add_notes
from gasmcast.export.precisions.timing import CallTime, SpeedReport, time_engine, time_graphs
from gasmcast.runtime.engines import TensorSpec
from gasmcast.spec import ClipSpec


class Fake:
    """An engine whose every call takes `step` seconds of a fake clock."""

    def __init__(self, step):
        self.now, self.step, self.calls = 0.0, step, 0
        self.inputs = {
            "clip": TensorSpec((None, 4), np.dtype(np.uint8)),
            "x": TensorSpec((None, 2), np.dtype(np.float32)),
        }

    def run(self, feeds):
        assert feeds["clip"].shape == (1, 4)
        assert feeds["clip"].dtype == np.uint8
        self.calls += 1
        self.now += self.step
        return {}


@pytest.mark.parametrize(("step", "runs"), [(0.001, 30), (1.0, 6), (100.0, 3)])
def test_the_budget_bounds_the_runs(step, runs):
    fake = Fake(step)
    median, p90, count = time_engine(fake, budget_s=6.0, clock=lambda: fake.now)
    assert count == runs
    assert fake.calls == runs + 1  # one to warm up
    assert median == pytest.approx(1000 * step)
    assert p90 == pytest.approx(1000 * step)


@pytest.fixture
def picked(tmp_path, monkeypatch):
    """Report of graphs with the given times: `{precision: {component: ms}}`.

    ONNX Runtime takes a third of the time of OpenVINO.
    """

    def picked(ms: dict[str, dict[str, float]]) -> SpeedReport:
        def opener(path, threads, **_):
            return float(path.read_text())

        monkeypatch.setattr("gasmcast.export.precisions.timing.open_uncached", opener)
        monkeypatch.setattr("gasmcast.export.precisions.timing.open_reference", opener)
        monkeypatch.setattr(
            "gasmcast.export.precisions.timing._open_optimized",
            lambda path, threads: opener(path, threads) / 3,
        )
        monkeypatch.setattr(
            "gasmcast.export.precisions.timing.time_engine", lambda took: CallTime(took, took, 3)
        )
        graphs = {}
        for precision, parts in ms.items():
            graphs[precision] = {
                component: tmp_path / f"{component}.{precision}" for component in parts
            }
            for component, took in parts.items():
                graphs[precision][component].write_text(str(took))
        return add_notes(time_graphs(graphs), ClipSpec())

    return picked


def test_a_smaller_type_that_loses_to_what_it_is_made_of_is_written_down(picked):
    ms = {"fp32": 9.0, "int8": 12.0, "int8_bf16": 13.0, "bf16": 10.0, "fp16": 5.0, "int8_fp16": 6.0}
    notes = picked({precision: {"head": took} for precision, took in ms.items()}).notes
    assert [n for n in notes if "lost" in n] == [
        "head: INT8 lost to FP32 here (12.0 ms against 9.0 ms)",
        "head: INT8 lost to FP16 here (12.0 ms on openvino against 5.0 ms on onnxruntime)",
        "head: INT8 lost to BF16 here (12.0 ms against 10.0 ms)",
        "head: INT8_BF16 lost to INT8 here (13.0 ms against 12.0 ms)",
        "head: BF16 lost to FP32 here (10.0 ms against 9.0 ms)",
        "head: INT8_FP16 lost to FP16 here (6.0 ms against 5.0 ms)",
    ]


def test_a_decision_costs_what_one_precision_takes_and_no_mix(picked):
    found = picked(
        {
            "fp32": {"encoder": 20.0, "head": 4.0},
            "int8": {"encoder": 9.0, "head": 6.0},
            "fp16": {"encoder": 5.0, "head": 5.0},
        }
    )
    assert {component: t.precision for component, t in found.fastest.items()} == {
        "encoder": "fp16",
        "head": "fp32",
    }
    assert found.taken == found.to_json()["taken"] == "int8"
    assert (
        "a decision in int8, which a CPU takes, costs 15 ms of the 500 ms of a segment (3 %)"
        in found.notes
    )
    compared = (
        "encoder: fp16 on onnxruntime is the fastest here, 5.0 ms; "
        "it was timed to compare, `live` does not take it on a CPU"
    )
    assert compared in found.notes
    assert "head: fp32 on openvino is the fastest here, 4.0 ms" in found.notes


def test_every_precision_is_timed_on_both_engines(vit_block, tmp_path):
    model, feeds = vit_block
    onnx.save(model, str(tmp_path / "head.onnx"))
    onnx.save(quantize(model, lambda: iter(feeds)), str(tmp_path / "head.int8.onnx"))
    graphs = {
        "fp32": {"head": tmp_path / "head.onnx"},
        "int8": {"head": tmp_path / "head.int8.onnx"},
    }
    said = []
    report = time_graphs(graphs, threads=1, progress=said.append)
    picked = add_notes(report, ClipSpec())
    assert {(t.precision, t.engine) for t in picked.timings} == {
        (p, e) for p in graphs for e in ("openvino", "onnxruntime")
    }
    judged = {t.precision: t.median_ms for t in picked.timings if t.engine == "openvino"}
    assert picked.fastest["head"].median_ms == min(judged.values())
    assert picked.total_ms == judged
    assert picked.to_json()["fastest"]["head"]["precision"] in graphs
    assert len(said) == 4
    assert SimpleNamespace(**picked.to_json()).notes


def test_fp16_is_timed_where_it_was_judged_and_nowhere_else(vit_block, tmp_path):
    """OpenVINO computes an FP16 file in FP32 on a CPU: such a time would be another precision's."""
    onnx.save(vit_block[0], str(tmp_path / "head.onnx"))
    onnx.save(to_fp16(vit_block[0]), str(tmp_path / "head.fp16.onnx"))
    graphs = {
        "fp32": {"head": tmp_path / "head.onnx"},
        "fp16": {"head": tmp_path / "head.fp16.onnx"},
    }
    picked = time_graphs(graphs, threads=1)
    assert [t.engine for t in picked.timings if t.precision == "fp16"] == ["onnxruntime"]


def test_a_file_that_one_engine_cannot_read_is_told_and_the_rest_is_timed(
    vit_block, tmp_path, monkeypatch
):
    def refuse(path, threads, **_):
        raise UsageError(f"OpenVINO cannot read {path}.")

    monkeypatch.setattr("gasmcast.export.precisions.timing.open_uncached", refuse)
    onnx.save(vit_block[0], str(tmp_path / "encoder.onnx"))
    picked = time_graphs({"fp32": {"encoder": tmp_path / "encoder.onnx"}})
    assert [t.engine for t in picked.timings] == ["onnxruntime"]
    assert picked.unread[0].startswith("encoder fp32: OpenVINO cannot read")
    assert picked.to_json()["notes"][0] == picked.unread[0]
