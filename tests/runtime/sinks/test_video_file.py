from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.sinks import video_codecs
from gasmcast.runtime.sinks.queue import QueuedViewSink
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
    # The picture was enlarged from 96 to 640 pixels.
    red = frames[5][1][80:130, 56:80].reshape(-1, 3).mean(0)
    assert red[0] > 180
    assert red[2] < 90
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_drafts_of_killed_runs_are_removed(tmp_path):
    old, new, other = (tmp_path / name for name in (".out.7.mp4", ".out.8.mp4", ".else.7.mp4"))
    for path in (old, new, other):
        path.write_bytes(b"cut")
    for path in (old, other):
        os.utime(path, (time.time() - 7200,) * 2)
    sink = VideoSink(tmp_path / "out.mp4")
    sink.frame("cam", 0.0, picture())
    assert not old.exists()
    assert new.exists()
    assert other.exists()
    sink.close()


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
    assert {image.shape for _, image in read_frames(tmp_path / "a.avi")} == {(428, 640, 3)}


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


def test_a_disk_that_another_program_fills_between_two_looks(small_disk: Path, caplog):
    sink = VideoSink(small_disk / "a.avi")
    rng = np.random.default_rng(0)

    def film(frames: range) -> None:
        for i in frames:
            sink.frame("cam", i / 30, rng.integers(0, 255, (240, 320, 3), np.uint8))

    film(range(10))
    with suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as stream:
        while stream.write(b"x" * 4096) == 4096:
            pass
    film(range(10, 60))
    sink.close()

    assert caplog.text.count("the disk is full") == 1
    assert "No space left" not in caplog.text


def test_a_disk_that_is_full_from_the_start(small_disk: Path, caplog):
    (small_disk / "ballast").write_bytes(b"x" * 3_900_000)
    sink = VideoSink(small_disk / "a.mp4")
    for i in range(40):
        sink.frame("cam", i / 30, picture(i))
    sink.close()
    assert "was not started: the disk is full" in caplog.text
    assert [p.name for p in small_disk.iterdir()] == ["ballast"]


@pytest.mark.parametrize(
    ("ending", "codecs"),
    [(".mp4", {"h264"}), (".mkv", {"h264"}), (".webm", {"vp9", "av1"}), (".avi", {"mjpeg"})],
)
def test_browsers_play_what_is_saved(tmp_path, ending, codecs):
    path = tmp_path / f"a{ending}"
    sink = VideoSink(path)
    for i in range(40):
        sink.frame("cam", i / 20, picture(i, (61, 97)))
    sink.close()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if "libx264" in av.codecs_available or ending != ".mp4":
            assert stream.codec_context.name.removeprefix("lib") in codecs | {"dav1d", "vpx-vp9"}
        assert stream.codec_context.width == 640
        assert stream.codec_context.pix_fmt == ("yuvj420p" if ending == ".avi" else "yuv420p")
        assert float(stream.average_rate) == pytest.approx(20, abs=0.1)
    if ending == ".mp4":
        content = path.read_bytes()
        assert content.index(b"moov") < content.index(b"mdat"), "it plays before it has all come"


def test_a_large_picture_keeps_its_size(tmp_path):
    sink = VideoSink(tmp_path / "a.mp4")
    for i in range(10):
        sink.frame("cam", i / 20, picture(i, (360, 800)))
    sink.close()
    assert {image.shape for _, image in read_frames(tmp_path / "a.mp4")} == {(360, 800, 3)}


def test_a_film_is_complete_as_soon_as_its_source_has_ended(tmp_path, make):
    sink = VideoSink(tmp_path / "a.avi", several=True, files={"clip", "broken"})
    for camera in ("clip", "broken", "door", "hall"):
        for i in range(10):
            sink.frame(camera, i / 10, picture(i))
    sink.write(make.stats("ended", camera="clip"))
    sink.write(make.stats("failed", camera="broken"))
    # A camera that failed is tried again, so its film goes on.
    sink.write(make.stats("failed", camera="door"))
    sink.write(make.stats("live", camera="hall"))
    finished = {path.name for path in tmp_path.glob("a-*.avi")}
    assert finished == {"a-clip.avi", "a-broken.avi"}
    assert len(list(read_frames(tmp_path / "a-clip.avi"))) == 10

    # One that comes back does not overwrite what it has.
    for i in range(10):
        sink.frame("clip", i / 10, picture(i))
    sink.close()
    finished = {path.name for path in tmp_path.glob("a-*.avi")}
    assert finished == {f"a-{name}.avi" for name in ("clip", "clip-2", "broken", "door", "hall")}


@pytest.mark.slow
def test_a_thousand_films_do_not_need_a_thousand_descriptors(tmp_path, make):
    def open_files():
        return len(list(Path("/proc/self/fd").iterdir()))

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system has no /proc")
    sink = VideoSink(tmp_path / "a.mp4", several=True)
    before = open_files()
    for number in range(100):
        sink.frame(f"c{number}", 0.0, picture())
        sink.write(make.stats("ended", camera=f"c{number}"))
    assert open_files() <= before + 2
    sink.close()
    assert len(list(tmp_path.glob("a-c*.mp4"))) == 100


def test_a_name_that_is_not_utf8_is_written(tmp_path):
    path = tmp_path / os.fsdecode(b"T\xfcr.mp4")
    try:
        path.touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    sink = VideoSink(path)
    for i in range(10):
        sink.frame("cam", i / 10, picture(i))
    sink.close()
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 10


def test_a_film_of_files_loses_no_record_however_slow_it_is(tmp_path, make):
    """Statistics have no camera, and were dropped as if they were a camera's."""

    class Slow(VideoSink):
        def write(self, record):
            time.sleep(0.002)
            super().write(record)

    sink = QueuedViewSink(
        "video", lambda: Slow(tmp_path / "a.webm", files={"cam"}), room=4, lossless={"cam"}
    )
    for i in range(60):
        sink.wait_for_room("cam")
        sink.frame("cam", i / 30, picture(i))
        sink.write(make.decision(i / 30))
        sink.write(make.stats())
    sink.close(30.0)
    assert sink.stats() == {"written": 180, "waiting": 0}


@pytest.mark.parametrize(
    ("available", "codecs"),
    [
        ({"libx264", "libvpx-vp9", "mjpeg"}, ["libx264", "libx264", "libvpx-vp9", "mjpeg"]),
        ({"libvpx-vp9", "mjpeg", "mpeg4"}, ["libvpx-vp9", "libvpx-vp9", "libvpx-vp9", "mjpeg"]),
        ({"mjpeg", "mpeg4"}, ["mpeg4", "mjpeg", None, "mjpeg"]),
    ],
)
def test_the_best_encoder_at_hand_is_taken(monkeypatch, available, codecs):
    monkeypatch.setattr(video_codecs.av, "codecs_available", available)
    found = [video_codecs.find_codec(suffix) for suffix in (".mp4", ".mkv", ".webm", ".avi")]
    assert [codec and codec.name for codec in found] == codecs
