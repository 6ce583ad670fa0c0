"""Whole videos in memory: as evaluation sees them, or larger for crops; frames of one size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from gasmcast.data import preload as small
from gasmcast.data.preload import SPARE, read_small
from gasmcast.data.sample import Sample
from gasmcast.errors import SourceError
from gasmcast.spec import ClipSpec
from gasmcast.video.clip import fit_frame
from gasmcast.video.reader import read_frames

SPEC = ClipSpec(segments=2, segment_s=0.25, motion_frames=4, semantic_frames=1, pixels=32)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "a.mp4"
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 20, (96, 64)
    )
    for level in range(10):
        writer.write(np.full((64, 96, 3), 20 * level, np.uint8))
    writer.release()
    return path


def test_without_crops_every_frame_is_evaluations(video: Path) -> None:
    kept = read_small(Sample("a", 0, str(video)), SPEC, crops=False)
    stamps, frames = zip(*read_frames(video), strict=True)
    assert kept.stamps.tolist() == list(stamps)
    assert np.array_equal(
        kept.frames, [fit_frame(frame, SPEC.pixels, SPEC.fit) for frame in frames]
    )
    assert kept.length_s == pytest.approx(0.5, abs=0.05)


def test_for_crops_the_whole_frame_is_kept_with_room_to_spare(video: Path) -> None:
    short = SPARE * SPEC.pixels
    assert read_small(Sample("a", 0, str(video)), SPEC, crops=True).frames.shape == (
        10,
        round(short),
        round(short * 96 / 64),
        3,
    )
    wide = SPEC.model_copy(update={"pixels": 64})  # larger than the video: never upscaled
    assert read_small(Sample("a", 0, str(video)), wide, crops=True).frames.shape == (10, 64, 96, 3)


def test_a_video_that_changes_its_size_is_kept_at_its_first(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [np.zeros((64, 96, 3), np.uint8), np.full((64, 64, 3), 9, np.uint8)]
    monkeypatch.setattr(small, "clip_frames", lambda sample, threads: iter(enumerate(sizes)))
    frames = read_small(Sample("a", 0, str(video)), SPEC, crops=True).frames
    assert frames.shape[0] == 2
    assert (frames[1] == 9).all()


def test_a_video_that_is_none_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        read_small(Sample("a", 0, str(tmp_path / "none.mp4")), SPEC, crops=False)
