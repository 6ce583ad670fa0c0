"""`gasmcast.evaluate` on a checkpoint: what it returns, what it writes, and bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from gasmcast.api.evaluate import EvaluationResult, evaluate
from gasmcast.cli import app
from gasmcast.errors import UsageError

pytestmark = pytest.mark.slow


def test_the_result_is_what_the_verb_prints(tiny_run, tiny_set):
    calls = []
    result = evaluate(
        tiny_run,
        str(tiny_set),
        reversed=True,
        workers=0,
        progress=lambda stage, done, total: calls.append((stage, done, total)),
    )
    assert result
    assert result.scores.clips == 12
    assert result.reversal is not None
    assert result.shuffle is None
    assert "on 12 clips of validation: top-1 " in str(result)
    assert calls[-1] == ("evaluating", 12, 12)
    assert result.folder == tiny_run / "eval"
    assert {file.name for file in result.files} == {
        "confusion.png",
        "reliability.png",
        "temperature.json",
    }

    words = [
        "eval",
        str(tiny_run),
        "--data",
        str(tiny_set),
        "--reversed",
        "--workers",
        "0",
        "--json",
    ]
    printed = CliRunner().invoke(app, words, catch_exceptions=False)
    assert json.loads(printed.stdout) == json.loads(json.dumps(result.to_json()))
    assert json.loads((tiny_run / "eval" / "scores.json").read_text()) == json.loads(printed.stdout)


def test_a_result_that_misses_clips_is_false(tiny_run, tiny_set, tmp_path):
    result = evaluate(tiny_run, tiny_set, out=tmp_path / "out", workers=0)
    assert result
    assert (result.folder, (tiny_run / "eval").exists()) == (tmp_path / "out", False)
    partial = replace(result, unreadable=("18",))
    assert not partial
    assert partial.to_json()["unreadable"] == ["18"]


def test_few_clips_that_may_have_chosen_the_epoch_are_told(tiny_run, tiny_set):
    result = evaluate(tiny_run, tiny_set, workers=0)
    assert "the figures are optimistic" in result.caution
    assert replace(result, split="train").caution == ""
    assert replace(result, checkpoint=tiny_run / "last.safetensors").caution == ""
    assert replace(result, scores=replace(result.scores, clips=1000)).caution == ""
    printed = CliRunner().invoke(
        app, ["eval", str(tiny_run), "--data", str(tiny_set), "--workers", "0"]
    )
    assert result.caution in printed.stdout


def test_a_split_without_labels_is_refused(tiny_run, tiny_set):
    with pytest.raises(UsageError, match="'test' has no labels"):
        evaluate(tiny_run, tiny_set, split="test")  # type: ignore[arg-type]
    done = CliRunner().invoke(
        app, ["eval", str(tiny_run), "--data", str(tiny_set), "--split", "test"]
    )
    assert done.exit_code == 2


def test_the_module_imports_without_torch():
    code = "import sys; sys.modules['torch'] = None; import gasmcast.api.evaluate"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("tempo", "said"), [(2.0, "50%"), (0.5, "200%"), (1.0, None)])
def test_another_tempo_is_said_with_the_length_of_the_window(tempo, said) -> None:
    note = EvaluationResult.tempo_note.fget(SimpleNamespace(tempo=tempo))
    assert note == "" if said is None else f"a window has {said} of its length" in note
