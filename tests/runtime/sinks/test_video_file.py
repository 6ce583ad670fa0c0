from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.sinks.video_file import VideoSink, video_path
from gasmcast.video.reader import read_frames


def picture(i=0, size=(64, 96)):
    image = np.full((*size, 3), 40, np.uint8)
    image[8:24, i % 60 : i % 60 + 16] = (250, 30, 30)
    return image


@pytest.mark.parametrize("ending", [".mp4", ".avi", ".mkv", ".webm"])
def test_what_is_saved_can_be_read_with_its_length_and_colors(tmp_path, make, ending):
    path = tmp_path / f"out{ending}"
    sink = VideoSink(path)
    sink.write(make.event())
    for i in range(60):
        sink.frame("cam", i / 30, picture())
        if i == 30:
            sink.write(make.decision(1.0))
            assert not path.exists()
    sink.close()
    frames = list(read_frames(path))
    assert len(frames) == 60
    assert frames[-1][0] == pytest.approx(59 / 30, abs=0.05)
    red = frames[5][1][12:20, 8:12].reshape(-1, 3).mean(0)
    assert red[0] > 180
    assert red[2] < 90
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_time_is_kept_when_frames_come_unevenly_and_outages_do_not_fill_the_disk(tmp_path):
    sink = VideoSink(tmp_path / "a.avi")
    stamps = (
        [i / 10 for i in range(30)]
        + [3 + i / 40 for i in range(40)]
        + [3600 + i / 10 for i in range(10)]
    )
    for i, stamp in enumerate(stamps):
        sink.frame("cam", stamp, picture(i))
    sink.close()
    assert (
        49 <= len(list(read_frames(tmp_path / "a.avi"))) <= 61
    )  # 3 s and 1 s at 10, a second of standstill, 1 s


def test_each_camera_has_its_file_and_a_change_of_size_is_fitted_in(tmp_path):
    sink = VideoSink(tmp_path / "a.avi")
    for i in range(20):
        sink.frame("one", i / 10, picture(i, (65, 97) if i < 10 else (128, 96)))
        sink.frame("two", i / 10, picture(i))
    sink.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a-two.avi", "a.avi"]
    assert {image.shape for _, image in read_frames(tmp_path / "a.avi")} == {(64, 96, 3)}


def test_of_several_cameras_each_has_its_name_whichever_comes_first(tmp_path):
    sink = VideoSink(tmp_path / "a.avi", several=True)
    for camera in ("yard", "door"):
        sink.frame(camera, 0.0, picture())
    sink.close()
    assert sorted(tmp_path.iterdir()) == [
        video_path(tmp_path / "a.avi", camera, True) for camera in ("door", "yard")
    ]
    assert video_path(tmp_path / "a.avi", "door", False) == tmp_path / "a.avi"


def test_a_video_of_one_frame_and_of_none(tmp_path):
    sink = VideoSink(tmp_path / "a.mp4")
    sink.close()
    assert not list(tmp_path.iterdir())
    sink = VideoSink(tmp_path / "a.mp4")
    sink.frame("cam", 0.0, picture())
    sink.close()
    assert len(list(read_frames(tmp_path / "a.mp4"))) == 1


def test_wrong_endings_and_places_are_told_at_the_start(tmp_path):
    with pytest.raises(UsageError, match=r"\.gif"):
        VideoSink(tmp_path / "a.gif")
    with pytest.raises(UsageError, match="no ending"):
        VideoSink(tmp_path / "a")
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot be written"):
        VideoSink(tmp_path / "file" / "a.mp4")


def test_a_full_disk_ends_the_video_whole_and_nothing_else(small_disk: Path, caplog):
    sink = VideoSink(small_disk / "a.avi")
    rng = np.random.default_rng(0)
    for i in range(400):
        sink.frame("cam", i / 30, rng.integers(0, 255, (240, 320, 3), np.uint8))
    sink.close()
    assert "the disk is full" in caplog.text
    assert caplog.text.count("the disk is full") == 1
    kept = len(list(read_frames(small_disk / "a.avi")))
    assert 20 < kept < 400
    assert [p.name for p in small_disk.iterdir()] == ["a.avi"]


def test_a_disk_that_is_full_from_the_start(small_disk: Path, caplog):
    (small_disk / "ballast").write_bytes(b"x" * 3_900_000)
    sink = VideoSink(small_disk / "a.mp4")
    for i in range(40):
        sink.frame("cam", i / 30, picture(i))
    sink.close()
    assert "was not started: the disk is full" in caplog.text
    assert [p.name for p in small_disk.iterdir()] == ["ballast"]
