"""Frames on the grid: offline sampling equals streaming, and unused images are not converted."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gasmcast.spec import ClipSpec, nearest_frames
from gasmcast.video import reader
from gasmcast.video.clip import fit_frame, pick_frames, read_clip, read_slots

SPEC = ClipSpec(segments=2, motion_frames=4, semantic_frames=1, pixels=32)


def gray(level: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def test_shorter_than_a_segment(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 48)
    )
    for level in (40, 200):
        writer.write(gray(level))
    writer.release()
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
    """Picking while reading equals the rule with all stamps known, ties included."""
    times, wanted = np.array(stamps) / 64, np.array(slots) / 64
    got = np.full(len(wanted), -1)
    for where, frame in pick_frames(((t, np.array(i)) for i, t in enumerate(times)), wanted):
        assert (got[where] == -1).all()
        got[where] = frame
    assert np.array_equal(got, nearest_frames(times, wanted))


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.sampled_from([33, 34, 33, 34, 33, 67, 400]), min_size=1, max_size=40),
    header=st.tuples(st.sampled_from([30.0, 25.0, 0.0]), st.sampled_from([0, 10, 41, 4000])),
    start_ms=st.integers(-300, 1200),
    pitch_ms=st.sampled_from([20.0, 62.5, 125.0]),
)
def test_frames_that_no_slot_takes_are_not_made_and_not_missed(
    odd_video: type, steps: list[int], header: tuple[float, int], start_ms: int, pitch_ms: float
) -> None:
    """Jitter, gaps and wrong headers: the same frames as if every image had been converted."""
    stamps = np.cumsum([0, *steps])
    slots = start_ms + pitch_ms * np.arange(12)
    with pytest.MonkeyPatch.context() as patch:
        odd_video(stamps.tolist(), *header).install(patch)
        patch.setattr(reader, "check_whole", lambda *_: None)
        found = read_slots("odd", slots / 1000, lambda frame: frame[:1, :1, :1])
    assert found[:, 0, 0, 0].tolist() == nearest_frames(stamps / 1000, slots / 1000).tolist()


def test_a_frame_that_slots_before_and_behind_it_take_is_made_once(
    odd_video: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps, slots = [1000 * i / 12 for i in range(24)], np.arange(-2, 40) / 16
    odd_video(stamps, 12, 24).install(monkeypatch)
    made: list[np.ndarray] = []
    out = np.empty((len(slots), 1, 1, 1), np.uint8)
    assert (
        read_slots("slow", slots, lambda frame: made.append(frame) or frame[:1, :1, :1], out=out)
        is out
    )
    assert out[:, 0, 0, 0].tolist() == nearest_frames(np.array(stamps) / 1000, slots).tolist()
    assert len(made) == len(np.unique(out))


def test_every_second_frame_of_a_fast_video_is_only_stepped_over(
    odd_video: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = odd_video([1000 * i / 32 for i in range(64)], 32, 64)
    capture.install(monkeypatch)
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
    assert fit_frame(gray(7, 10, 20), 64, "crop").shape == (64, 64, 3)
