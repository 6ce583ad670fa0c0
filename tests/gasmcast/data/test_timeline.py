"""Annotated long videos: ActivityNet's format, and what is refused."""

from __future__ import annotations

import json

import pytest

from gasmcast.data.timeline import read_timeline
from gasmcast.errors import UsageError
from tests.conftest import write_video


@pytest.fixture
def folder(tmp_path):
    write_video(tmp_path / "v_one.mp4", 6.0)
    return tmp_path


def write(folder, annotations, **entry):
    rows = [{"segment": [a, b], "label": label} for a, b, label in annotations]
    tree = {"version": "x", "database": {"one": {"annotations": rows, **entry}}}
    (folder / "long.json").write_text(json.dumps(tree))
    return folder / "long.json"


def test_activitynet_is_read_and_unlabeled_time_is_what_is_left(folder):
    file = write(folder, [[4, 5, "b"], [1, 2, "a"]], subset="validation", duration=6.0)
    (video,) = read_timeline(file)
    assert [(a.start_s, a.end_s, a.label) for a in video.actions] == [(1, 2, "a"), (4, 5, "b")]
    assert video.unlabeled() == ((0.0, 1.0), (2.0, 4.0), (5.0, pytest.approx(6.0, abs=0.1)))
    assert video.unlabeled(margin_s=0.5)[1] == (2.5, 3.5)


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ([[2, 1, "a"]], "ends before it starts"),
        ([[2, 2, "a"]], "ends before it starts"),
        ([[-1, 1, "a"]], "ends before it starts"),
        ([[1, 60, "a"]], "ends at 60 s, and v_one.mp4 at 6.0 s"),
        ([[1, 3, "a"], [2, 4, "b"]], "'a' and 'b' overlap at 2 s"),
        ([["x", 3, "a"]], "no segment of two times"),
    ],
)
def test_times_that_cannot_be(folder, annotations, message):
    with pytest.raises(UsageError, match=message):
        read_timeline(write(folder, annotations))


def test_files_that_are_not_this_format(folder):
    with pytest.raises(UsageError, match="does not exist"):
        read_timeline(folder / "absent.json")
    (folder / "a.json").write_text("[]")
    with pytest.raises(UsageError, match='no videos under "database"'):
        read_timeline(folder / "a.json")
    with pytest.raises(UsageError, match="no video of the subset"):
        read_timeline(write(folder, [[1, 2, "a"]], subset="testing"))
    (folder / "v_one.mp4").unlink()
    with pytest.raises(UsageError, match=r"1 of 1 videos are missing, for example 'one'"):
        read_timeline(write(folder, [[1, 2, "a"]]))
