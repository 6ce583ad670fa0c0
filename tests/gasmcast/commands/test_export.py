"""`export --build-engines` and `bench live --engine tensorrt` without a GPU.

The bundle is written, and exit code 3 says what is missing.

And what `export` prints of precisions that are not in the bundle.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.errors import GateError, MachineError
from gasmcast.files import sha256_of
from gasmcast.manifest import BundleFile, Manifest
from gasmcast.spec import ClipSpec


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch):
    """The export itself, which other tests do, in an instant; and no TensorRT."""
    from gasmcast.export import source, stages
    from gasmcast.export.result import ExportResult

    manifest = Manifest(
        gasmcast="0",
        created="",
        labels=("a",),
        spec=ClipSpec(),
        model={},
        checkpoint_sha256="",
        files={},
        precisions={},
    )

    def write(_source, out: Path, _plan, **_):
        out.mkdir(parents=True)
        (out / "manifest.json").write_text(manifest.model_dump_json())
        return ExportResult(out, manifest, verdicts=(), not_judged={}, report={})

    model = SimpleNamespace(config=SimpleNamespace(motion_context="previous"))
    monkeypatch.setattr(source, "open_source", lambda *_: SimpleNamespace(model=model))
    monkeypatch.setattr(stages, "export_bundle", write)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)


@pytest.mark.parametrize(
    ("engine", "lacks"),
    [
        ("tensorrt", "no graphs for TensorRT"),
        ("torch-tensorrt", "torch-tensorrt cannot be used here"),
    ],
)
def test_the_bundle_is_written_before_the_engine_is_missed(
    exporter, tmp_path: Path, engine: str, lacks: str
) -> None:
    out = tmp_path / "model.gasm"
    result = CliRunner().invoke(
        app, ["export", "demo", "--out", str(out), "--build-engines", engine]
    )
    assert lacks in str(result.exception)
    assert (out / "manifest.json").is_file()
    assert f"Wrote {out}" in result.output


@pytest.mark.parametrize(
    ("failed", "hint"),
    [
        ("int8", "says which blocks lose; more calibration"),
        ("bf16", "compares it with FP32 part by part."),
    ],
)
def test_what_is_not_in_the_bundle_is_told_with_the_reason(
    exporter, failed, hint, *, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gasmcast.export import export_plan, stages
    from gasmcast.export.checks.accuracy_gate import judge_precision
    from gasmcast.export.checks.gate_verdict import GateRecipe
    from gasmcast.export.result import ExportResult

    logits = np.eye(3)
    verdict = judge_precision(
        failed, "an engine", logits, logits, None, recipe=GateRecipe(agreement=1.01)
    )
    asked = []

    def export_bundle(_origin, _out, wanted, **_):
        asked.append(wanted)
        report = {"search": {"int8": {}}}
        return ExportResult(
            tmp_path / "m", SimpleNamespace(files={}), (verdict,), wanted.left_out, report
        )

    monkeypatch.setattr(stages, "export_bundle", export_bundle)
    monkeypatch.setattr(
        export_plan, "missing_bf16", lambda _: "this processor does not compute in BF16"
    )
    flags = [
        "export",
        "demo",
        "--precision",
        "all",
        "--data",
        str(tiny_set),
        "--out",
        str(tmp_path / "m"),
    ]
    done = CliRunner().invoke(app, flags)
    assert "int8_bf16 was not judged: this processor does not compute in BF16." in done.stdout
    assert isinstance(done.exception, GateError)
    assert hint in done.exception.hint
    assert ("more calibration" in done.exception.hint) == (failed == "int8")
    printed = CliRunner().invoke(app, [*flags, "--json"])
    assert (
        set(json.loads(printed.stdout)["not_judged"])
        == {"int8_bf16", "bf16"}
        == set(asked[1].left_out)
    )


def test_an_engine_that_is_none(exporter, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["export", "demo", "--out", str(tmp_path / "m"), "--build-engines", "cudnn"]
    )
    assert result.exit_code == 2
    assert "'cudnn' is not one of" in result.output
    assert not (tmp_path / "m").exists()


def test_bench_says_at_once_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    result = CliRunner().invoke(app, ["bench", "live", "--engine", "tensorrt"])
    assert isinstance(result.exception, MachineError)
    assert "the package tensorrt is missing" in str(result.exception)
    assert result.exception.exit_code == 3


def test_a_graph_that_tensorrt_does_not_take_is_told_before_anything_is_compiled(
    tmp_path: Path,
) -> None:
    from onnx import TensorProto, helper, save

    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4]),
        helper.make_tensor_value_info("y", TensorProto.INT64, None),
    ]
    body = helper.make_graph(
        [helper.make_node("Bernoulli", ["x"], ["y"], name="dice", dtype=TensorProto.INT64)],
        "g",
        ends[:1],
        ends[1:],
    )
    save(
        helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10),
        str(tmp_path / "encoder.onnx"),
    )
    size = (tmp_path / "encoder.onnx").stat().st_size
    file = BundleFile(
        sha256=sha256_of(tmp_path / "encoder.onnx"), size=size, graph="encoder", precision="fp32"
    )
    files = {"encoder.onnx": file}
    manifest = Manifest(
        gasmcast="0",
        created="",
        labels=("a",),
        spec=ClipSpec(),
        model={},
        checkpoint_sha256="",
        files=files,
        precisions={},
    )
    (tmp_path / "manifest.json").write_text(manifest.model_dump_json())
    result = CliRunner().invoke(app, ["engine", "check", str(tmp_path)])
    assert isinstance(result.exception, GateError)
    assert "encoder.onnx" in result.exception.what
    assert "Bernoulli" in result.exception.what
