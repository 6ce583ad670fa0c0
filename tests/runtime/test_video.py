"""The video reader: real files good and bad, odd streams, and offline sampling that equals streaming."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gasmcast.errors import SourceError
from gasmcast.runtime import video
from gasmcast.runtime.video import duration_s, fit_frame, pick_frames, read_clip, read_frames, read_slots
from gasmcast.spec import ClipSpec, nearest_frames

SPEC = ClipSpec(segments=2, motion_frames=4, semantic_frames=1, pixels=32)


def grey(level: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def write_video(path: Path, frames: list[np.ndarray], fps: float = 10.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, frames[0].shape[1::-1])
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def manifest(real_data: Path) -> list[dict[str, str]]:
    with (real_data / "decoders" / "MANIFEST.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.real
@pytest.mark.slow
def test_every_good_file_delivers_its_frames(real_data: Path) -> None:
    wrong = []
    for row in manifest(real_data):
        if row["file"].startswith("good/"):
            stamps, sizes = [], set()
            for stamp, frame in read_frames(real_data / "decoders" / row["file"]):
                stamps.append(stamp)
                sizes.add(frame.shape)
            size = (int(row["height"]), int(row["width"]), 3)
            if int(row["rotation"]) % 180:
                size = (size[1], size[0], 3)
            length = float(row["duration_s"] or 0)
            whole = len(stamps) == int(row["frames_decoded"]) and sizes == {size}
            timed = stamps[0] == 0 and bool((np.diff(stamps) > 0).all()) and (length == 0 or abs(length - stamps[-1]) < 0.15 + 0.1 * length)
            if not (whole and timed):
                wrong.append((row["file"], len(stamps), sizes, stamps[-1]))
    assert not wrong


@pytest.mark.real
def test_every_bad_file_is_refused_in_one_sentence(real_data: Path) -> None:
    says = {}
    for row in manifest(real_data):
        if row["file"].startswith("bad/"):
            with pytest.raises(SourceError) as caught:
                list(read_frames(real_data / "decoders" / row["file"]))
            says[row["file"]] = caught.value.what
            assert "\n" not in str(caught.value)
            assert row["file"] in caught.value.what
    assert len(says) == 7
    assert "encrypted" in says["bad/sample_fragmented_clearkey.mp4"]
    assert "no video stream" in says["bad/bbb_mono_8kHz_12.2kbps_amrnb.3gp"]
    assert "no video frame" in says["bad/segment_init.mp4"]
    assert "cut short" in says["bad/corrupted.mp4"]


@pytest.mark.real
def test_rotation_is_applied(real_data: Path) -> None:
    """The picture turned back by hand is the one that FFmpeg decodes without rotation."""
    path = real_data / "decoders" / "good" / "nasa_13013_rotated.mp4"
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    raw = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
    capture.release()
    _, frame = next(read_frames(path))
    assert frame.shape == (480, 270, 3)
    assert np.array_equal(frame, np.rot90(raw, 1))


def test_stamps_and_colours(tmp_path: Path) -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 2] = 255  # BGR, as OpenCV writes
    stamps, frames = zip(*read_frames(write_video(tmp_path / "a.mp4", [red] * 5)), strict=True)
    assert stamps == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert frames[0][..., 0].mean() > 200
    assert frames[0][..., 2].mean() < 50
    assert duration_s(tmp_path / "a.mp4") == pytest.approx(0.5)


def test_size_change_midstream(tmp_path: Path) -> None:
    """A bare stream of JPEG pictures may change its size at any picture: the later ones come in the first's size, whole."""
    pictures = []
    for height, width in [(48, 64)] * 4 + [(96, 80)] * 4:
        picture = grey(0, height, width)
        picture[: height // 2, : width // 2] = 255
        pictures.append(cv2.imencode(".jpg", picture)[1].tobytes())
    path = tmp_path / "a.mjpg"
    path.write_bytes(b"".join(pictures))
    frames = [frame for _, frame in read_frames(path)]
    assert len(frames) == 8
    for frame in frames:
        assert frame.shape == (48, 64, 3)
        assert [int(frame[y, x].mean() > 128) for y, x in ((5, 5), (5, -5), (-5, 5), (-5, -5))] == [1, 0, 0, 0]


@pytest.mark.parametrize("content", [b"", b"not a video at all", bytes(4096)])
def test_no_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"is empty|no video stream"):
        next(read_frames(path))


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no video file"):
        next(read_frames(tmp_path / "a.mp4"))


def test_truncated(tmp_path: Path) -> None:
    """Half of the packets of an MJPEG AVI: its head still states them all."""
    rng = np.random.default_rng(0)
    whole = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(whole), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(40):
        writer.write(rng.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    cut = tmp_path / "b.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert len(list(read_frames(whole))) == 40
    with pytest.raises(SourceError, match="cut short"):
        list(read_frames(cut))


class Odd:
    """A capture that tells OpenCV's oddest stories."""

    def __init__(self, stamps_ms: list[float], fps: float, count: float) -> None:
        self.stamps_ms, self.fps, self.count, self.at = stamps_ms, fps, count, -1
        self.retrieved = 0

    def grab(self) -> bool:
        self.at += 1
        return self.at < len(self.stamps_ms)

    def retrieve(self) -> tuple[bool, np.ndarray]:
        self.retrieved += 1
        return True, grey(self.at)

    def get(self, name: int) -> float:
        known = {cv2.CAP_PROP_FPS: self.fps, cv2.CAP_PROP_FRAME_COUNT: self.count}
        return known[name] if name in known else self.stamps_ms[min(self.at, len(self.stamps_ms) - 1)]

    def release(self) -> None:
        pass


@pytest.mark.parametrize(
    ("stamps_ms", "fps", "count", "expected"),
    [
        ([0, 40, 80], 25, 3, [0, 0.04, 0.08]),
        ([500, 540, 580], 25, 3, [0, 0.04, 0.08]),  # the first is not zero
        ([0, 0, 0], 25, 3, [0, 0.04, 0.08]),  # no stamps: index / fps
        ([0, 0, 0], 0, 3, [0, 1 / 30, 2 / 30]),  # nor a rate
        ([0, 0, 0], float("nan"), float("nan"), [0, 1 / 30, 2 / 30]),
        ([float("nan"), float("nan"), 80], 25, -1, [0, 0.04, 0.08]),
        ([0, 80, 40, 120], 25, 4, [0, 0.08, 0.16, 0.24]),  # out of order: stepped on from the last
        ([0, 40, 80, 0], 25, 4, [0, 0.04, 0.08, 0.12]),  # flushed at the end without a stamp
        ([0, 40, 80], 1000, 120, [0, 0.04, 0.08]),  # a rate that counts milliseconds
        ([0, 40, 80], 25, 4, [0, 0.04, 0.08]),
    ],
)
def test_odd_headers_and_stamps(
    monkeypatch: pytest.MonkeyPatch, stamps_ms: list[float], fps: float, count: float, expected: list[float]
) -> None:
    monkeypatch.setattr(video, "_open", lambda path, threads: (Odd(stamps_ms, fps, count), str(path)))
    assert [stamp for stamp, _ in read_frames("odd")] == pytest.approx(expected)


def test_shorter_than_a_segment(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [grey(40), grey(200)])
    clip = read_clip(path, SPEC)
    assert clip.shape == SPEC.clip_shape
    assert clip.dtype == np.uint8
    levels = clip.mean(axis=(2, 3, 4)).round()
    assert (np.abs(levels[0] - 40) < 5).all()  # the lead-in is the first frame
    assert (np.abs(levels[1, 1:] - 200) < 5).all()  # the last repeats


@settings(max_examples=200, deadline=None)
@given(
    stamps=st.lists(st.integers(0, 400), min_size=1, max_size=30, unique=True).map(sorted),
    slots=st.lists(st.integers(-50, 450), min_size=1, max_size=30).map(sorted),
)
def test_picking_while_reading_is_nearest_frames(stamps: list[int], slots: list[int]) -> None:
    """Reading on while assigning gives what the rule gives with all stamps known, ties included."""
    times, wanted = np.array(stamps) / 64, np.array(slots) / 64
    got = np.full(len(wanted), -1)
    for where, frame in pick_frames(((t, np.array(i)) for i, t in enumerate(times)), wanted):
        assert (got[where] == -1).all()
        got[where] = frame
    assert np.array_equal(got, nearest_frames(times, wanted))


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.sampled_from([33, 34, 33, 34, 33, 67, 400]), min_size=1, max_size=40),
    fps=st.sampled_from([30.0, 25.0, 0.0]),
    count=st.sampled_from([0, 10, 41, 4000]),
    start_ms=st.integers(-300, 1200),
    pitch_ms=st.sampled_from([20.0, 62.5, 125.0]),
)
def test_frames_that_no_slot_takes_are_not_made_and_not_missed(
    steps: list[int], fps: float, count: int, start_ms: int, pitch_ms: float
) -> None:
    """Even stamps, jitter, gaps, headers that lie about rate and count: the same frames as if each had been looked at."""
    stamps = np.cumsum([0, *steps])
    slots = start_ms + pitch_ms * np.arange(12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video, "_open", lambda path, threads: (Odd(stamps.tolist(), fps, count), str(path)))
        patch.setattr(video, "_check_whole", lambda *_: None)
        found = read_slots("odd", slots / 1000, lambda frame: frame[:1, :1, :1])
    assert found[:, 0, 0, 0].tolist() == nearest_frames(stamps / 1000, slots / 1000).tolist()


def test_every_second_frame_of_a_fast_video_is_only_stepped_over(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = Odd([1000 * i / 32 for i in range(64)], 32, 64)
    monkeypatch.setattr(video, "_open", lambda path, threads: (capture, str(path)))
    found = read_slots("even", np.arange(32) / 16, lambda frame: frame[:1, :1, :1])
    assert found[:, 0, 0, 0].tolist() == list(range(0, 64, 2))
    assert capture.retrieved == 32


def test_picking_reads_no_further_than_needed() -> None:
    read = []

    def endless():
        for i in range(10**6):
            read.append(i)
            yield i / 10, np.array(i)

    assert [int(frame) for _, frame in pick_frames(endless(), np.array([0.0, 0.5]))] == [0, 5]
    assert len(read) == 6


def test_fit() -> None:
    frame = np.zeros((60, 100, 3), np.uint8)
    frame[:, 20:80] = 255
    assert (fit_frame(frame, 30, "crop") == 255).all()
    squashed = fit_frame(frame, 50, "squash")
    assert squashed.shape == (50, 50, 3)
    assert (squashed[:, 10:40] == 255).all()
    assert (squashed[:, :9] == 0).all()
    assert fit_frame(frame, 60, "crop").flags["C_CONTIGUOUS"]
    assert fit_frame(grey(7, 10, 20), 64, "crop").shape == (64, 64, 3)
