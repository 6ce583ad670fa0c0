"""The layout of the tutorial is a data set that gasmcast reads, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.data.annotations import read_labels, read_split

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"


def test_the_folders_of_the_tutorial_are_a_data_set(tmp_path):
    for name in ("opening a door", "closing a door"):
        for source in ("monday", "tuesday", "friday", "sunday", "easter"):
            folder = tmp_path / "clips" / name / source
            folder.mkdir(parents=True)
            for number in range(2):
                (folder / f"{number:02}.mp4").write_bytes(b"video")

    data = tmp_path / "clips"
    train, validation = read_split(data, "train"), read_split(data, "validation")
    assert read_labels(data).names == ("closing a door", "opening a door")
    assert (len(train), len(validation)) == (16, 4)
    assert all(sample.path is not None for sample in train + validation)
    assert not {sample.source for sample in train} & {sample.source for sample in validation}


def test_it_takes_five_commands_without_a_script():
    page = PAGE.read_text(encoding="utf-8")
    assert "import json" not in page
    verbs = re.findall(r"^gasmcast (data check|train|eval|export|live)\b", page, re.MULTILINE)
    assert list(dict.fromkeys(verbs)) == ["data check", "train", "eval", "export", "live"]
    for verb in dict.fromkeys(verbs):
        assert CliRunner().invoke(app, [*verb.split(), "--help"]).exit_code == 0
