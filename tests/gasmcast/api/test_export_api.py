"""`gasmcast.api.export`: arguments reach the plan, and results say what happened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gasmcast.api.export import export
from gasmcast.errors import UsageError
from gasmcast.manifest import Manifest
from gasmcast.spec import ClipSpec


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list:
    """Calls of the export itself, which other tests do; every one of them succeeds."""
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
    calls = []

    def export_bundle(_source, out, plan, **options):
        calls.append((out, plan, options))
        return ExportResult(out, manifest, (), plan.left_out, {})

    monkeypatch.setattr(source, "open_source", lambda *_: SimpleNamespace(model=None))
    monkeypatch.setattr(stages, "export_bundle", export_bundle)
    return calls


def test_arguments_reach_the_plan(exported: list, tmp_path: Path) -> None:
    result = export(
        "runs/a",
        tmp_path / "m.gasm",
        data=str(tmp_path),
        precisions=["int8", "fp16"],
        agreement=0.9,
        method="entropy",
        threads=2,
        measure=False,
    )
    [(out, plan, options)] = exported
    assert (out, options["data"], options["calibration"]) == (tmp_path / "m.gasm", tmp_path, None)
    assert plan.precisions == ("int8", "fp16")
    assert (plan.gate.agreement, plan.recipe.method, plan.threads) == (0.9, "entropy", 2)
    assert not plan.measure
    assert result
    assert result.to_json()["passed"]
    assert f"Wrote {tmp_path / 'm.gasm'}" in str(result)


def test_engines_are_part_of_the_result(
    exported: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gasmcast.runtime import engine_build

    engine = engine_build.DeviceEngine("head.onnx", "head", "fp32", 1, 2.0, "head.plan", 1.0)
    monkeypatch.setattr(engine_build, "build_engines", lambda *_, **__: [engine])
    result = export("runs/a", tmp_path / "m.gasm", build_engines="tensorrt")
    assert result.engines == (engine,)
    assert result.to_json()["engines"][0]["passed"]


def test_wrong_arguments_are_refused_before_anything_is_opened(exported: list, tmp_path) -> None:
    with pytest.raises(UsageError, match="No precision 'int4'"):
        export("runs/a", tmp_path / "m.gasm", precisions=["int4"])
    (tmp_path / "thesis").write_text("mine")
    with pytest.raises(UsageError, match="is not a bundle"):
        export("runs/a", tmp_path / "thesis")
    assert not exported


def test_a_result_with_a_failed_precision_is_falsy(tmp_path: Path) -> None:
    from gasmcast.export.checks.accuracy_gate import judge_precision
    from gasmcast.export.checks.gate_verdict import GateRecipe
    from gasmcast.export.result import ExportResult

    logits = np.eye(3)
    strict = GateRecipe(agreement=1.01)
    verdict = judge_precision("int8", "an engine", logits, logits, None, recipe=strict)
    result = ExportResult(tmp_path, SimpleNamespace(files={}), (verdict,), {}, {})
    assert not result
    assert result.failed == (verdict,)
    assert not result.to_json()["passed"]


def test_the_function_is_imported_without_torch_and_onnx() -> None:
    code = (
        "import gasmcast.api.export, sys; "
        "assert not {'torch', 'onnx', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("before", ["", "import gasmcast.export.export_plan"])
def test_the_package_is_called_like_the_verb(before: str, tmp_path: Path) -> None:
    code = f"""
import gasmcast
{before}
try:
    gasmcast.export("none", "m.gasm")
except gasmcast.UsageError as error:
    print(error)
import gasmcast.export.export_plan
assert callable(gasmcast.export)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "none" in done.stdout
