import json
import shutil

from typer.testing import CliRunner

from gasmcast.calibration.clip_store import CalibrationSet
from gasmcast.cli import app
from gasmcast.data.annotations import read_split
from gasmcast.errors import UsageError


def test_calibrate_takes_training_clips_only_and_says_what_they_are(
    tiny_set, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()  # what `make demo` leaves: the preset is meant all the same
    done = CliRunner().invoke(
        app,
        [
            "calibrate",
            str(tiny_set),
            "--config",
            "demo",
            "--out",
            str(tmp_path / "c"),
            "--clips",
            "6",
            "--seed",
            "3",
        ],
    )
    assert done.exit_code == 0, done.output
    assert "6 clips of 3 classes = 24 segments" in done.output
    assert "gasmcast export" in done.output.splitlines()[-1]
    made = CalibrationSet.open(tmp_path / "c")
    validation = {s.id for s in read_split(tiny_set, "validation")}
    assert validation.isdisjoint(e.id for e in made.index.clips)


def test_the_same_seed_makes_the_same_bytes(tiny_set, tmp_path):
    for name in "ab":
        CliRunner().invoke(
            app,
            [
                "calibrate",
                str(tiny_set),
                "--config",
                "demo",
                "--out",
                str(tmp_path / name),
                "--clips",
                "4",
            ],
        )
    assert (tmp_path / "a" / "index.json").read_bytes() == (
        tmp_path / "b" / "index.json"
    ).read_bytes()


def test_a_training_split_that_holds_validation_clips_is_refused(tiny_set, tmp_path):
    data = shutil.copytree(tiny_set, tmp_path / "data")
    rows = (
        json.loads((data / "train.json").read_text())
        + json.loads((data / "validation.json").read_text())[:2]
    )
    (data / "train.json").write_text(json.dumps(rows))
    done = CliRunner().invoke(
        app,
        ["calibrate", str(data), "--config", "demo", "--out", str(tmp_path / "c"), "--clips", "4"],
    )
    assert isinstance(done.exception, UsageError)
    assert f"The training split of {data} holds 2 clips of the validation split (18)" in str(
        done.exception
    )
    assert not (tmp_path / "c").exists()


def test_a_set_without_a_validation_split_calibrates(tiny_set, tmp_path):
    data = shutil.copytree(
        tiny_set, tmp_path / "data", ignore=shutil.ignore_patterns("validation.json")
    )
    done = CliRunner().invoke(
        app,
        ["calibrate", str(data), "--config", "demo", "--out", str(tmp_path / "c"), "--clips", "4"],
    )
    assert done.exit_code == 0, done.output


def test_no_training_split_is_one_sentence(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps({"a": "0"}))
    done = CliRunner().invoke(
        app, ["calibrate", str(tmp_path), "--config", "demo", "--out", str(tmp_path / "c")]
    )
    assert isinstance(done.exception, UsageError)
    assert not (tmp_path / "c").exists()
