from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from gasmcast.calibration.quantise import quantise
from gasmcast.errors import UsageError
from gasmcast.export.fp16 import to_fp16
from gasmcast.export.picker import Timing, _notes, pick, time_engine
from gasmcast.runtime.engines import TensorSpec
from gasmcast.spec import ClipSpec


class Fake:
    """An engine whose every call takes `step` seconds of a fake clock."""

    def __init__(self, step):
        self.now, self.step, self.calls = 0.0, step, 0
        self.inputs = {"clip": TensorSpec((None, 4), np.dtype(np.uint8)), "x": TensorSpec((None, 2), np.dtype(np.float32))}

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


def timing(component, precision, median):
    return Timing(component, precision, "openvino", median, median, 3, 1)


def test_int8_that_loses_is_written_down():
    timings = [timing("head", "fp32", 9.0), timing("head", "int8", 12.0), timing("head", "fp16", 5.0)]
    fastest = {"head": timings[2]}
    notes = _notes(timings, fastest, ClipSpec())
    assert "head: INT8 lost to FP16 here (12.0 ms against 5.0 ms)" in notes
    assert "head: INT8 lost to FP32 here (12.0 ms against 9.0 ms)" in notes
    assert any("a decision costs 5 ms of the 500 ms" in n for n in notes)


def test_every_precision_is_timed_on_both_engines(vit_block, tmp_path):
    model, feeds = vit_block
    onnx.save(model, str(tmp_path / "head.onnx"))
    onnx.save(quantise(model, lambda: iter(feeds)), str(tmp_path / "head.int8.onnx"))
    graphs = {"fp32": {"head": tmp_path / "head.onnx"}, "int8": {"head": tmp_path / "head.int8.onnx"}}
    said = []
    picked = pick(graphs, ClipSpec(), threads=1, each=said.append)
    assert {(t.precision, t.engine) for t in picked.timings} == {(p, e) for p in graphs for e in ("openvino", "onnxruntime")}
    judged = {t.precision: t.median_ms for t in picked.timings if t.engine == "openvino"}
    assert picked.fastest["head"].median_ms == min(judged.values())
    assert picked.total_ms == judged
    assert picked.to_json()["picked"]["head"]["precision"] in graphs
    assert len(said) == 4
    assert SimpleNamespace(**picked.to_json()).notes


def test_fp16_is_timed_where_it_was_judged_and_nowhere_else(vit_block, tmp_path):
    """OpenVINO computes an FP16 file in FP32 on a CPU: such a time would be another precision's."""
    onnx.save(vit_block[0], str(tmp_path / "head.onnx"))
    onnx.save(to_fp16(vit_block[0]), str(tmp_path / "head.fp16.onnx"))
    graphs = {"fp32": {"head": tmp_path / "head.onnx"}, "fp16": {"head": tmp_path / "head.fp16.onnx"}}
    picked = pick(graphs, ClipSpec(), threads=1)
    assert [t.engine for t in picked.timings if t.precision == "fp16"] == ["onnxruntime"]


def test_a_file_that_one_engine_cannot_read_is_told_and_the_rest_is_timed(vit_block, tmp_path, monkeypatch):
    def refuse(path, threads, **_):
        raise UsageError(f"OpenVINO cannot read {path}.")

    monkeypatch.setattr("gasmcast.export.picker.open_uncached", refuse)
    onnx.save(vit_block[0], str(tmp_path / "encoder.onnx"))
    picked = pick({"fp32": {"encoder": tmp_path / "encoder.onnx"}}, ClipSpec())
    assert [t.engine for t in picked.timings] == ["onnxruntime"]
    assert picked.notes[0].startswith("encoder fp32: OpenVINO cannot read")
