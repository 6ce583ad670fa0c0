"""Windows without an action: videos of background, and unlabeled time between actions."""

from __future__ import annotations

from pathlib import Path

import pytest

from gasmcast.data.background_windows import background_windows, find_background
from gasmcast.errors import UsageError
from tests.conftest import write_video


def times(windows) -> list[tuple[str, float, float]]:
    return [(Path(w.video).name, round(w.start_s, 2), round(w.end_s, 2)) for w in windows]


def test_files_and_folders_are_found_once(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    first = write_video(tmp_path / "room/a.mp4", 1, fps=10, size=(64, 48))
    (tmp_path / "room/notes.txt").write_text("no video")
    assert find_background([first, tmp_path]) == [first]


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_places_without_videos_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=f"--background: .*{name}"):
        find_background([tmp_path / name])


def test_windows_are_back_to_back_and_spread(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 9, fps=10, size=(64, 48))
    short = write_video(tmp_path / "b.mp4", 1, fps=10, size=(64, 48))
    windows = background_windows([video, short], 2.0, 10)
    assert times(windows) == [("a.mp4", 2.0 * k, 2.0 * k + 2) for k in range(4)]
    assert all(window.label is None for window in windows)
    assert times(background_windows([video], 2.0, 2)) == [("a.mp4", 0.0, 2.0), ("a.mp4", 4.0, 6.0)]


def test_time_between_actions_is_background_and_actions_are_not(tmp_path: Path) -> None:
    write_video(tmp_path / "long.mp4", 30, fps=10, size=(64, 48))
    write_video(tmp_path / "other.mp4", 30, fps=10, size=(64, 48))
    rows = ["video,label,start,end,split"]
    rows += ["long.mp4,wave,8,12,val", "long.mp4,nod,20,24,val", "other.mp4,wave,1,3,train"]
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(rows) + "\n")

    # A second stays free on both sides of an action; the video of the training gives nothing.
    found = times(background_windows([], 3.0, 99, data=table))
    expected = [(0.0, 3.0), (3.0, 6.0), (13.0, 16.0), (16.0, 19.0), (25.0, 28.0)]
    assert found == [("long.mp4", *window) for window in expected]


def test_spans_of_the_test_split_are_no_background(tmp_path: Path) -> None:
    write_video(tmp_path / "long.mp4", 30, fps=10, size=(64, 48))
    write_video(tmp_path / "other.mp4", 30, fps=10, size=(64, 48))
    rows = ["video,label,start,end,split", "other.mp4,wave,1,3,train", "long.mp4,wave,8,12,val"]
    table = tmp_path / "clips.csv"
    table.write_text("\n".join([*rows, "long.mp4,nod,20,24,test"]) + "\n")

    found = times(background_windows([], 3.0, 99, data=table))
    expected = [(0.0, 3.0), (3.0, 6.0), (13.0, 16.0), (16.0, 19.0), (25.0, 28.0)]
    assert found == [("long.mp4", *window) for window in expected]
