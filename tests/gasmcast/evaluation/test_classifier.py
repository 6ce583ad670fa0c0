"""`gasmcast eval` of a bundle: its engines score what the export measured, on the same clips."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.data.annotations import read_labels
from gasmcast.errors import UsageError
from gasmcast.export import stages
from gasmcast.export.checks.gate_verdict import GateRecipe
from gasmcast.export.export_plan import ExportPlan
from gasmcast.export.source import ExportSource
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.engines.openvino_import import the_core

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(tiny_export, tiny_set, tmp_path_factory):
    """The tiny model in FP32, INT8 and INT8 with BF16, judged on 12 validation clips."""
    model, config, paths = tiny_export
    gate = GateRecipe(agreement=0.0, top1_loss=1.0, ece_shift=1.0)
    plan = ExportPlan(
        precisions=("int8", "int8_bf16"),
        calibration_clips=4,
        held_out=12,
        parity_clips=1,
        threads=1,
        measure=False,
        search=False,
        gate=gate,
    )
    origin = ExportSource(
        model, config, read_labels(tiny_set), "0" * 64, "runs/test/best.safetensors"
    )
    with pytest.MonkeyPatch.context() as patch:  # the graphs are there already
        patch.setattr(
            stages,
            "export_onnx",
            lambda _, folder, each: {n: shutil.copy(p, folder / p.name) for n, p in paths.items()},
        )
        return stages.export_bundle(
            origin, tmp_path_factory.mktemp("bundle") / "m.gasm", plan, data=tiny_set
        ).path


@pytest.fixture
def with_bf16(monkeypatch):
    """A processor that computes in BF16; OpenVINO rounds alike on any, only slower."""
    monkeypatch.setattr("gasmcast.runtime.engines.openvino.missing_bf16", lambda: "")


def _eval(*words: object) -> dict:
    done = CliRunner().invoke(
        app, ["eval", *map(str, words), "--workers", "0", "--json"], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.usefixtures("with_bf16")
@pytest.mark.parametrize("precision", ["fp32", "int8", "int8_bf16"])
def test_eval_says_what_the_export_judged(bundle, tiny_set, precision):
    found = _eval(bundle, "--data", tiny_set, "--precision", precision)
    judged = Bundle.open(bundle).measured(precision)
    assert (found["clips"], judged.clips) == (12, 12)
    assert found["top1"] == pytest.approx(judged.top1)
    assert f" {precision} (" in found["classifier"]
    # Where the processor has no BF16, the engine says that it computes in FP32.
    computes = "BF16" in the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    in_bf16 = "the rest in BF16" in found["classifier"]
    assert in_bf16 == (precision == "int8_bf16" and computes)
    assert not (bundle / "eval").exists()  # a bundle is data, and is left as it was


def test_a_precision_that_the_bundle_has_not(bundle, tiny_set):
    with pytest.raises(UsageError, match=r"has no fp16\. It has fp32, int8, int8_bf16\."):
        _eval(bundle, "--data", tiny_set, "--precision", "fp16")


def test_inspect_shows_a_precision_that_runs_the_files_of_another(bundle):
    done = CliRunner().invoke(app, ["inspect", str(bundle), "--json"], catch_exceptions=False)
    record = json.loads(done.stdout)
    assert set(record["precisions"]) == {"fp32", "int8", "int8_bf16"}
    assert {precision for _, precision, _ in record["graphs"].values()} == {"fp32", "int8"}
    assert (
        "int8_bf16"
        in CliRunner().invoke(app, ["inspect", str(bundle)], catch_exceptions=False).stdout
    )
