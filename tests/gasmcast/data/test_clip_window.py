"""The window and the tempo follow the length of the clips."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from gasmcast.data.annotations import Sample
from gasmcast.data.clip_window import fit_tempo, fit_window
from gasmcast.evaluation.classifier import Classifier
from gasmcast.evaluation.evaluation import evaluate_split
from gasmcast.labels import Labels
from gasmcast.spec import ClipSpec
from gasmcast.training.inputs.training_set import open_training_set

NAMES = ("falls", "rises")


def write(path: Path, frames: int, fps: float = 10.0) -> str:
    """Write a video whose pictures get brighter, each by 5 gray levels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (64, 48))
    for i in range(frames):
        writer.write(np.full((48, 64, 3), 5 * i % 256, np.uint8))
    writer.release()
    return str(path)


def clips(folder: Path, lengths: tuple[int, ...]) -> list[Sample]:
    return [Sample(str(i), 0, write(folder / f"{i}.mp4", n)) for i, n in enumerate(lengths)]


@pytest.mark.parametrize(
    ("frames", "segment_s"), [((20, 20, 20, 40), 1.0), ((8, 8, 16, 16), 0.4), ((2, 2, 2, 2), 0.125)]
)
def test_the_window_is_fitted_to_three_quarters_of_the_clips(
    tmp_path: Path, frames: tuple[int, ...], segment_s: float
) -> None:
    fitted = fit_window(ClipSpec(segments=4, segment_s=0.5), clips(tmp_path, frames))
    assert fitted.segment_s == pytest.approx(segment_s)
    assert fitted.segments == 4


def test_clips_of_unknown_length_leave_window_and_tempo_alone() -> None:
    spec = ClipSpec(segments=4, segment_s=0.3)
    assert fit_window(spec, [Sample("0", 0, None)]) == spec
    assert fit_tempo(spec, [Sample("0", 0, None)]) == 1


@pytest.mark.parametrize(
    ("frames", "segment_s", "tempo"),
    [
        (20, 0.5, 1.0),  # 2 s, as long as the window
        (17, 0.5, 1.0),  # within a quarter
        (24, 0.5, 1.0),
        (10, 0.5, 2.0),
        (30, 0.5, 0.67),
        (2, 0.5, 4.0),  # the fastest
        (3, 0.125, 1.0),  # the window was never shorter, so training clips may have been as short
        (100, 1.0, 1.0),  # nor longer
        (20, 1.0, 2.0),
    ],
)
def test_the_tempo_is_that_of_the_clips(
    tmp_path: Path, frames: int, segment_s: float, tempo: float
) -> None:
    spec = ClipSpec(segments=4, segment_s=segment_s)
    assert fit_tempo(spec, clips(tmp_path, (frames,) * 3)) == tempo


def test_a_spec_at_another_tempo_has_another_time_grid() -> None:
    spec = ClipSpec(segments=2, segment_s=1.0, motion_frames=4)
    assert (spec.fps, spec.window_s) == (4, 2)
    fast = spec.at_tempo(2)
    assert (fast.segment_s, fast.fps, fast.window_s) == (0.5, 8, 1)
    assert spec.at_tempo(1) == spec


@pytest.mark.parametrize(
    ("fits_clips", "tempo", "judged"),
    [(True, None, 2.0), (False, None, 1.0), (True, 1.0, 1.0), (False, 2.0, 2.0)],
)
def test_clips_played_twice_as_fast_are_judged_by_the_same_frames(
    tmp_path: Path, fits_clips: bool, tempo: float | None, judged: float
) -> None:
    """At tempo 2 a window of a faster video has the frames of the original's window."""
    for name, fps in (("recorded", 10.0), ("faster", 20.0)):
        for label in NAMES:
            write(tmp_path / name / "validation" / label / f"{label}.mp4", 20, fps)
            write(tmp_path / name / "train" / label / f"{label} 2.mp4", 20, fps)

    def brightness(pictures: np.ndarray) -> np.ndarray:
        return pictures.mean((2, 3, 4, 5))[:, 1:].astype(np.float32)  # (B, S)

    spec = ClipSpec(segments=2, segment_s=1.0, motion_frames=4, semantic_frames=1, pixels=32)
    model = Classifier("stub", brightness, spec, Labels(NAMES), None, fits_clips)
    original = evaluate_split(model, tmp_path / "recorded")
    faster = evaluate_split(model, tmp_path / "faster", tempo=tempo)
    assert (original.tempo, faster.tempo) == (1.0, judged)
    assert ("at tempo 2" in faster.title) is (judged == 2)
    assert faster.classifier.spec == spec.at_tempo(judged)
    difference = np.abs(faster.logits - original.logits).max()
    assert difference < 1 if judged == 2 else difference > 5


def test_a_window_that_is_given_counts_as_not_fitted(tiny_set: Path) -> None:
    for given, fitted in (({}, True), ({"spec.segment_s": 0.7}, False)):
        settings = {"train.fit_window": True, **given}
        config = open_training_set("demo", tiny_set, settings, preload=False).config
        assert config.train.fit_window is fitted
        assert (config.spec.segment_s == 0.7) is not fitted
