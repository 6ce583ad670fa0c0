"""The proof on a GPU: what it writes when stages pass, fail or take too long."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.commands.doctor import gpu_proof
from gasmcast.errors import GateError, MachineError


def test_without_a_gpu_it_is_one_sentence(tmp_path: Path) -> None:
    if not gpu_proof.missing_gpu():
        pytest.skip("this machine has a GPU")
    with pytest.raises(MachineError, match="There is no NVIDIA GPU"):
        gpu_proof.prove(tmp_path / "proof")
    assert not (tmp_path / "proof").exists()


def test_a_rehearsal_alone_is_refused() -> None:
    result = CliRunner().invoke(app, ["doctor", "--rehearse"])
    assert "belongs to --gpu-proof" in str(result.exception)


def test_results_are_written_stage_by_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_proof, "LIMITS_S", {"environment": 120.0, "no such stage": 60.0})
    seen: list[tuple[str, bool]] = []

    def look(result: gpu_proof.StageResult) -> None:
        stages = []
        if (tmp_path / "gpu-proof.json").is_file():
            stages = json.loads((tmp_path / "gpu-proof.json").read_text())["stages"]
        seen.append((result.name, bool(stages)))

    results = gpu_proof.prove(tmp_path, rehearse=True, on_stage=look)
    assert seen == [("environment", False), ("no such stage", True)]
    assert [bool(result) for result in results] == [True, False]

    record = json.loads((tmp_path / "gpu-proof.json").read_text())
    assert record["rehearsal"]
    assert record["complete"]
    assert not record["passed"]
    assert "no such stage" in (tmp_path / "gpu-proof.html").read_text()
    with pytest.raises(GateError, match="1 of 2 stages failed: no such stage"):
        gpu_proof.require_proof(results, tmp_path)


def test_a_stage_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_proof, "LIMITS_S", {"bundle": 1.5 / gpu_proof.REHEARSAL_PATIENCE})
    (result,) = gpu_proof.prove(tmp_path, rehearse=True)
    assert result.state == "failed"
    assert "longer than" in result.text
