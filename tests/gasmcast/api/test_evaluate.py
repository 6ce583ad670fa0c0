"""`gasmcast.evaluate` on a checkpoint: what it returns, what it writes, and bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from gasmcast.api.evaluate import evaluate
from gasmcast.cli import app
from gasmcast.data.annotations import read_labels
from gasmcast.errors import UsageError
from gasmcast.models.checkpoint import frozen_names, write_checkpoint, write_frozen

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tiny_export, tiny_set, tmp_path):
    """A run folder with the checkpoint of the tiny model."""
    model, config, _ = tiny_export
    folder = tmp_path / "run"
    folder.mkdir()
    frozen = frozen_names(model)
    trained = {name: value for name, value in model.state_dict().items() if name not in frozen}
    write_checkpoint(
        folder / "best.safetensors",
        trained,
        config,
        read_labels(tiny_set),
        frozen=write_frozen(folder, model),
        info={},
    )
    return folder


def test_the_result_is_what_the_verb_prints(run, tiny_set):
    calls = []
    result = evaluate(
        run,
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
    assert result.folder == run / "eval"
    assert {file.name for file in result.files} == {
        "confusion.png",
        "reliability.png",
        "temperature.json",
    }

    words = ["eval", str(run), "--data", str(tiny_set), "--reversed", "--workers", "0", "--json"]
    printed = CliRunner().invoke(app, words, catch_exceptions=False)
    assert json.loads(printed.stdout) == json.loads(json.dumps(result.to_json()))
    assert json.loads((run / "eval" / "scores.json").read_text()) == json.loads(printed.stdout)


def test_a_result_that_misses_clips_is_false(run, tiny_set, tmp_path):
    result = evaluate(run, tiny_set, out=tmp_path / "out", workers=0)
    assert result
    assert (result.folder, (run / "eval").exists()) == (tmp_path / "out", False)
    partial = replace(result, unreadable=("18",))
    assert not partial
    assert partial.to_json()["unreadable"] == ["18"]


def test_few_clips_that_may_have_chosen_the_epoch_are_told(run, tiny_set):
    result = evaluate(run, tiny_set, workers=0)
    assert "the figures are optimistic" in result.caution
    assert replace(result, split="train").caution == ""
    assert replace(result, checkpoint=run / "last.safetensors").caution == ""
    assert replace(result, scores=replace(result.scores, clips=1000)).caution == ""
    printed = CliRunner().invoke(app, ["eval", str(run), "--data", str(tiny_set), "--workers", "0"])
    assert result.caution in printed.stdout


def test_a_split_without_labels_is_refused(run, tiny_set):
    with pytest.raises(UsageError, match="'test' has no labels"):
        evaluate(run, tiny_set, split="test")  # type: ignore[arg-type]
    done = CliRunner().invoke(app, ["eval", str(run), "--data", str(tiny_set), "--split", "test"])
    assert done.exit_code == 2


def test_the_module_imports_without_torch():
    code = "import sys; sys.modules['torch'] = None; import gasmcast.api.evaluate"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
