"""The check of a data set finds what was planted, and nothing in a clean set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.data.check.check_result import DataCheck
from gasmcast.data.check.check_set import check_set
from gasmcast.data.check.label_check import similar_labels
from gasmcast.data.reading import read_as

SCENES = 12


def make_video(path: Path, seed: int, *, size: int = 64, rate: int = 10, frames: int = 40) -> None:
    """Write a bright square that moves over a textured scene; both depend on the seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    scene = rng.integers(0, 160, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    start, speed = rng.uniform(0, 20, 2), rng.uniform(0.2, 1.0, 2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for i in range(frames):
            picture = scene.copy()
            y, x = (start + i * speed).astype(int)
            picture[y : y + 12, x : x + 12] = 255
            frame = av.VideoFrame.from_ndarray(picture).reformat(size, size)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    for number, name in enumerate(("closing", "opening")):
        for i in range(SCENES):
            make_video(tmp_path / "set" / name / f"{i}.mp4", seed=100 * number + i)
    return tmp_path / "set"


def texts(result: DataCheck, level: str) -> list[str]:
    return [finding.text for finding in result.findings if finding.level == level]


def test_a_clean_set_has_no_faults(clean: Path) -> None:
    result = check_set(clean, window_s=4.0)
    assert result
    assert result.format == "folders"
    assert (result.clips, result.sources) == (2 * SCENES, 2 * SCENES)
    assert [row.name for row in result.classes] == ["closing", "opening"]
    assert texts(result, "warning") == []
    assert "made by source" in texts(result, "note")[0]
    assert not any(one.is_shortcut for one in result.shortcuts)
    assert len(result.shortcuts) == 8


def break_nothing_read(root: Path) -> None:
    for i in range(3):
        (root / "opening" / f"{i}.mp4").write_bytes(b"no video")


def break_shortcut(root: Path) -> None:
    for i in range(SCENES):
        make_video(root / "opening" / f"{i}.mp4", seed=100 + i, size=96)


def break_balance(root: Path) -> None:
    for i in range(3, SCENES):
        (root / "opening" / f"{i}.mp4").unlink()


def break_length(root: Path) -> None:
    make_video(root / "opening" / "short.mp4", seed=7, frames=10)
    make_video(root / "opening" / "long.mp4", seed=8, frames=200)


def break_duplicates(root: Path) -> None:
    for split, seeds in (("train", range(SCENES)), ("val", (3, 50, 51))):
        for name, offset in (("closing", 0), ("opening", 100)):
            for i in seeds:
                path = root / split / name / f"{split}{i}.mp4"
                # The copy has another size.
                make_video(path, offset + i, size=64 if split == "train" else 48)
    for name in ("closing", "opening"):
        for path in (root / name).iterdir():
            path.unlink()
        (root / name).rmdir()


def break_folds(root: Path) -> None:
    for name in ("closing", "opening"):
        (root / "train").mkdir(exist_ok=True)
        (root / name).rename(root / "train" / name)
    # Another file is another source, whatever it shows.
    for i, name in enumerate(("closing", "opening", "opening")):
        make_video(root / "train" / name / f"copy{i}.mp4", 100 * (name == "opening") + i, size=48)


@pytest.mark.parametrize(
    ("change", "level", "says"),
    [
        (break_folds, "warning", "NEAR-DUPLICATES across sources: 3 of 27 training clips"),
        (break_nothing_read, "error", "3 of 24 videos cannot be read"),
        (break_shortcut, "warning", "SHORTCUT: resolution predicts the class of 100 %"),
        (break_balance, "warning", "Fewer than 10 clips: opening (3)"),
        (break_length, "warning", "clips are shorter than half of the window"),
        (break_length, "warning", "clips are longer than 3 windows"),
        (break_duplicates, "warning", "NEAR-DUPLICATES across the split: 2 of 6"),
    ],
)
def test_what_is_planted_is_found(
    clean: Path, change: Callable[[Path], None], level: str, says: str
) -> None:
    change(clean)
    found = texts(check_set(clean, window_s=4.0), level)
    assert any(says in text for text in found), found


def test_leaks_and_segments_beyond_the_end_are_errors(clean: Path) -> None:
    path = clean / "x.csv"
    path.write_text(
        "video,label,start,end,split,source\n"
        "closing/1.mp4,closing,0,2,train,hall\nopening/1.mp4,opening,0,2,train,b\n"
        "closing/2.mp4,closing,0,2,val,hall\nopening/2.mp4,opening,0,90,val,d\n"
    )
    read_as(allow_leak=True)
    try:
        result = check_set(path, window_s=4.0)
    finally:
        read_as()
    errors = "; ".join(texts(result, "error"))
    assert not result
    assert "LEAK: 1 source is in both train and validation (hall)" in errors
    assert "line 5: to 90.00 s" in errors


def test_leaks_by_video_and_into_the_test_split_are_errors(clean: Path) -> None:
    path = clean / "x.csv"
    path.write_text(
        "video,label,start,end,split,source\n"
        "closing/1.mp4,closing,0,2,train,hall\nopening/1.mp4,opening,0,2,train,b\n"
        "closing/1.mp4,closing,2,4,val,den\nopening/2.mp4,opening,0,2,test,b\n"
    )
    errors = "; ".join(texts(check_set(path, window_s=4.0), "error"))
    assert "LEAK: 1 source is in both train and validation (" in errors
    assert "closing/1.mp4), and 1 source is in both train and test (b)" in errors
    assert "the figures of 1 validation clips and 1 test clips would flatter" in errors


def test_the_verb_writes_a_page_and_json(clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    result = CliRunner().invoke(app, ["data", "check", str(clean), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "format folders" in result.output
    record = json.loads((out / "data.json").read_text())
    assert record["passed"] is True
    assert [row["name"] for row in record["classes"]] == ["closing", "opening"]
    page = (out / "data.html").read_text()
    assert page.count("data:image/jpeg") == 2

    as_json = CliRunner().invoke(app, ["data", "check", str(clean), "--json"])
    assert json.loads(as_json.output)["clips"] == 2 * SCENES


def test_the_verbs_convert_and_split(clean: Path, tmp_path: Path) -> None:
    run = CliRunner()
    split = tmp_path / "split.csv"
    result = run.invoke(app, ["data", "split", str(clean), str(split), "--validation", "0.5"])
    assert result.exit_code == 0, result.output
    assert "12 train, 12 validation" in " ".join(sorted(result.output.split("(")[-1:]))
    result = run.invoke(app, ["data", "convert", str(split), str(tmp_path / "s"), "--to", "ssv2"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "s" / "labels.json").is_file()


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("opening a door", "openning a door"), 1),
        (("pushing left", "pushing right"), 0),
        (("class 1", "class 2"), 0),
        (("moving something", "moving something up"), 0),
        (("closing the door", "closing the doors"), 1),
    ],
)
def test_labels_that_are_probably_one(names: tuple[str, str], pairs: int) -> None:
    assert len(similar_labels(names)) == pairs
