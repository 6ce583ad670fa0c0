"""`gasmcast.enough` and its verb on clips: page, JSON, kept features, bad input."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

import gasmcast
from gasmcast.api.enough import enough
from gasmcast.cli import app
from gasmcast.errors import UsageError

pytestmark = pytest.mark.slow

SETTINGS = {
    "model.freeze": True,
    "train.workers": 0,
    "model.semantic_weights": "random",
    "model.motion_weights": "random",
}


def test_page_and_json_and_features_that_are_kept(tiny_set, tmp_path) -> None:
    stages: list[str] = []

    def judge():
        return enough(
            data=tiny_set,
            out=tmp_path / "out",
            preset="demo",
            settings=SETTINGS,
            draws=2,
            progress=lambda stage, *_: stages.append(stage),
        )

    result = judge()
    assert len(result.samples) == 30
    assert result.study.overall.sources == 30
    page = result.page.read_text(encoding="utf-8")
    assert all(sentence.split(";")[0] in page for sentence in result.verdict[:1])
    assert page.count("data:image/jpeg") + page.count("data:image/webp") >= min(
        len(result.study.suspects), 1
    )

    # The JSON names clips, and the order of suspicion is that of the loss.
    record = json.loads((tmp_path / "out/enough.json").read_text(encoding="utf-8"))
    assert record["next_class"] == result.study.next_class
    assert {clip["id"] for clip in record["harm"]} == {str(number) for number in range(30)}
    losses = [clip["loss"] for clip in record["harm"]]
    assert losses == sorted(losses, reverse=True)
    assert "refitting on fewer sources" in stages

    # A second call encodes nothing, and its answer is the same.
    shards = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("features/**/*.safetensors")}
    assert shards
    assert judge().study == result.study
    assert {file: file.stat().st_mtime_ns for file in shards} == shards


def test_the_verb_prints_the_verdict_or_json(tiny_set, tmp_path) -> None:
    words = ["enough", "--data", str(tiny_set), "--config", "demo", "--draws", "2"]
    words += ["--out", str(tmp_path / "out")]
    for name, value in SETTINGS.items():
        words += ["--set", f"{name}={value}"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "30 clips from 30 sources reach" in result.stdout
    assert "Record '" in result.stdout
    result = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(result.stdout)["overall"]["clips"] == 30


def test_an_allowed_leak_comes_first(tiny_set, tmp_path) -> None:
    data = shutil.copytree(tiny_set, tmp_path / "data")
    rows = json.loads((data / "validation.json").read_text())
    rows += json.loads((data / "train.json").read_text())[:1]
    (data / "validation.json").write_text(json.dumps(rows))
    words = ["enough", "--data", str(data), "--config", "demo", "--draws", "2", "--allow-leak"]
    words += ["--out", str(tmp_path / "out")]
    for name, value in SETTINGS.items():
        words += ["--set", f"{name}={value}"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    sentence = "WARNING: LEAK ALLOWED: "
    assert result.stdout.startswith(sentence)
    assert sentence in (tmp_path / "out/enough.html").read_text(encoding="utf-8")
    record = json.loads((tmp_path / "out/enough.json").read_text(encoding="utf-8"))
    assert record["verdict"][0].startswith(sentence)


def test_bad_input_is_one_sentence(tiny_set, tmp_path) -> None:
    with pytest.raises(UsageError, match="No data set to judge"):
        enough(out=tmp_path / "out")
    with pytest.raises(UsageError, match="is no run folder"):
        enough(tmp_path, out=tmp_path / "out")
    with pytest.raises(UsageError, match=r"model\.freeze=true"):
        enough(data=tiny_set, out=tmp_path / "out", preset="demo")


def test_a_run_says_what_it_was_trained_on(tiny_set, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tiny_set.parent)
    run = tmp_path / "run"
    settings = {**SETTINGS, "train.epochs": 1, "train.batch_size": 8, "train.cache_views": 1}
    assert gasmcast.train("demo", tiny_set.name, run, settings=settings, warn=print)

    # From any folder, without an evaluation.
    monkeypatch.chdir(tmp_path)
    result = enough(run, out=tmp_path / "out", draws=2)
    assert len(result.samples) == 30
