"""Files of a run folder, and the list of runs."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.errors import UsageError
from gasmcast.training.logs.environment import describe_environment
from gasmcast.training.logs.listing import list_runs, render_runs
from gasmcast.training.logs.run_folder import RunFolder
from gasmcast.training.logs.run_page import render_run
from tests.conftest import write_video
from tests.gasmcast.training.inputs import tiny_training


def test_a_finished_run_that_goes_on_is_unfinished_again(fake, tmp_path: Path) -> None:
    config = fake.tiny_config()
    first = RunFolder(tmp_path, config, 0)
    first.finish({"epoch": 2, "top1": 0.5})
    first.close()
    assert [row["finished"] for row in list_runs(tmp_path)] == [True]
    RunFolder(tmp_path, config, 12).close()
    assert [row["finished"] for row in list_runs(tmp_path)] == [False]


def test_the_report_repeats_the_warnings_of_each_start_once(fake, tmp_path: Path) -> None:
    config = fake.tiny_config()
    RunFolder(tmp_path, config, 0, ("WARNING: LEAK ALLOWED: 1 source <a>.",)).close()
    RunFolder(tmp_path, config, 6, ("WARNING: LEAK ALLOWED: 1 source <a>.", "Another.")).close()
    page = render_run(tmp_path)
    assert page.count('<p class="bad">WARNING: LEAK ALLOWED: 1 source &lt;a&gt;.</p>') == 1
    assert '<p class="bad">Another.</p>' in page

    # A run of an older version has none.
    starts = json.loads((tmp_path / "environment.json").read_text())
    for start in starts:
        del start["warnings"]
    (tmp_path / "environment.json").write_text(json.dumps(starts))
    assert "LEAK" not in render_run(tmp_path)


def test_an_allowed_leak_reaches_the_report_of_the_run(tmp_path: Path) -> None:
    rows = ["video,label,source,split"]
    for number in range(12):
        write_video(tmp_path / f"{number}.mp4", 1, fps=10, size=(64, 48))
        split = "train" if number < 8 else "val"
        rows.append(f"{number}.mp4,{('up', 'down')[number % 2]},room {number % 4},{split}")
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(rows) + "\n")
    tiny_training.train(table, tmp_path / "run", allow_leak=True)
    page = render_run(tmp_path / "run")
    assert page.count("WARNING: LEAK ALLOWED: ") == 1


@pytest.mark.parametrize("there", ["opencv-python", "opencv-python-headless"])
def test_either_opencv_is_told(monkeypatch: pytest.MonkeyPatch, there: str) -> None:
    version = metadata.version

    def only(name: str) -> str:
        if name.startswith("opencv"):
            if name != there:
                raise metadata.PackageNotFoundError(name)
            return "4.0"
        return version(name)

    monkeypatch.setattr(metadata, "version", only)
    packages = describe_environment()["packages"]
    assert {name for name in packages if name.startswith("opencv")} == {there}
    assert packages["torch"] == version("torch")


@pytest.fixture
def runs(fake, tmp_path: Path) -> Path:
    """Return a folder with two finished runs; `a` has fitted its stream weights on two folds."""
    for name in ("a", "b", "a/folds/fold0", "a/folds/fold1"):
        record = RunFolder(tmp_path / name, fake.tiny_config(), 0)
        record.write_epochs(6, [{"epoch": 1.0, "top1": 0.4}])
        record.finish({"epoch": 1, "top1": 0.4 if name == "a" else 0.5})
        record.close()
    return tmp_path


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("summary.json", '{"epoch": 1, "to'),
        ("summary.json", "null"),
        ("environment.json", ""),
        ("metrics.csv", "epoch,top1\n1.0,0.4x\n"),
        ("config.yaml", "train: {epo"),
        ("config.yaml", "3"),
        ("summary.json", "{}"),
    ],
)
def test_a_damaged_run_does_not_hide_the_others(runs: Path, file: str, content: str) -> None:
    (runs / "a" / file).write_text(content)
    rows = {row["run"]: row for row in list_runs(runs)}
    assert rows.keys() == {"a", "b"}  # folds are no runs of their own
    assert file in rows["a"]["damaged"]
    assert "damaged" not in rows["b"]
    shown = CliRunner().invoke(app, ["runs", str(runs)])
    assert shown.exit_code == 0, shown.output
    assert sorted((line[1] for line in render_runs(list(rows.values()))[1:]), reverse=True) == [
        "damaged",
        "best 1 of 2",
    ]
    assert f"a: {runs / 'a' / file}" in shown.output


def test_folds_are_listed_where_they_are_asked_for(runs: Path) -> None:
    assert {row["run"] for row in list_runs(runs / "a" / "folds")} == {"fold0", "fold1"}


def test_a_damaged_record_of_the_environment_is_one_sentence(fake, runs: Path) -> None:
    (runs / "a" / "environment.json").write_text(json.dumps([{}])[:-1])
    with pytest.raises(UsageError, match=r"environment\.json is damaged .*Remove it"):
        RunFolder(runs / "a", fake.tiny_config(), 6)
