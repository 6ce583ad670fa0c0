"""Scores, the time tests, views and the analysis: all from arrays."""

import cv2
import numpy as np
import pytest

from gasmcast.data.views import parse_views, view_starts
from gasmcast.errors import GateError, UsageError
from gasmcast.evaluation.mistakes import by_quantity, examples_of, motion_amount, worst_clips
from gasmcast.evaluation.predict import average_views, check_finite
from gasmcast.evaluation.scores import score
from gasmcast.evaluation.time_tests import (
    reverse_clips,
    score_reversed,
    score_shuffled,
    shuffle_clips,
)
from gasmcast.report.film_strip import frame_strip
from gasmcast.spec import ClipSpec

NAMES = ("Holding something", "Moving something down", "Moving something up")


def _numbered(clips: int = 2, segments: int = 3, frames: int = 4) -> np.ndarray:
    """Clips whose frames are their own number in time, the lead-in being frame 0."""
    numbers = np.concatenate([np.zeros(frames), np.arange(segments * frames)]).astype(np.uint8)
    return np.broadcast_to(
        numbers.reshape(1, 1 + segments, frames, 1, 1, 1), (clips, 1 + segments, frames, 8, 8, 3)
    ).copy()


def test_backwards_is_the_window_backwards_with_a_lead_in_of_its_own():
    turned = reverse_clips(_numbered())[..., 0, 0, 0]
    assert turned[0, 1:].ravel().tolist() == list(range(11, -1, -1))
    assert (turned[:, 0] == 11).all()  # nothing of the true beginning is left in front
    twice = reverse_clips(reverse_clips(_numbered()))
    assert (twice[:, 1:] == _numbered()[:, 1:]).all()


def test_shuffled_keeps_the_frames_and_hides_the_first():
    shuffled = shuffle_clips(_numbered(1), 3)[0, ..., 0, 0, 0]
    assert sorted(shuffled[1:].ravel()) == list(range(12))
    assert shuffled[1:].ravel().tolist() != list(range(12))
    assert (shuffled[0] == shuffled[1, 0]).all()


def test_shuffling_does_not_depend_on_the_batch():
    whole = shuffle_clips(_numbered(5))
    assert not (whole[0] == whole[1]).all()
    for size in (1, 2, 3):
        parts = [
            shuffle_clips(_numbered(len(range(i, min(i + size, 5)))), i) for i in range(0, 5, size)
        ]
        assert (np.concatenate(parts) == whole).all()


def test_reversal_counts_the_reversed_class():
    labels = np.array([0, 1, 1, 2, 2])
    forward = np.eye(3)[labels]
    follows = np.eye(3)[[0, 2, 2, 1, 2]]
    found = score_reversed(forward, follows, labels, NAMES)
    assert found.reversed_top1 == pytest.approx(3 / 4)
    assert found.changed == pytest.approx(3 / 5)
    assert found.classes == {NAMES[1]: 1.0, NAMES[2]: 0.5}
    assert found.classes_followed == 0.5
    other = score_reversed(forward, follows, labels, ("a", "b", "c"))
    assert other.reversed_top1 is None
    assert other.changed == pytest.approx(3 / 5)


def test_the_ceiling_of_a_model_blind_to_order():
    labels = np.array([0, 0, 1, 1, 1, 2])
    found = score_shuffled(np.eye(3)[labels], np.eye(3)[[0, 0, 1, 1, 1, 1]], labels, NAMES)
    assert found.blind_ceiling == pytest.approx(5 / 6)  # both of 0, and the larger of the pair
    assert found.shuffled_top1 == pytest.approx(5 / 6)
    assert (
        score_shuffled(np.eye(3)[labels], np.eye(3)[labels], labels, ("a", "b", "c")).blind_ceiling
        is None
    )


def test_scores_name_what_is_confused():
    labels = np.array([0] * 4 + [1] * 4 + [2] * 4)
    predicted = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 1])
    scores = score(np.eye(3)[predicted] * 3.0, labels, NAMES)
    assert scores.top1 == pytest.approx(8 / 12)
    assert scores.chance == pytest.approx(1 / 3)
    first = scores.confused[0]
    assert (first.first, first.second, first.first_as_second, first.second_as_first) == (
        NAMES[1],
        NAMES[2],
        2,
        1,
    )
    assert first.share == pytest.approx(3 / 8)
    assert {row.name: row.mistaken_for for row in scores.classes} == {
        NAMES[0]: NAMES[1],
        NAMES[1]: NAMES[2],
        NAMES[2]: NAMES[1],
    }
    assert scores.to_json()["classes"][0]["clips"] == 4


def test_averaged_views_average_probabilities():
    logits = np.array([[[4.0, 0.0], [0.0, 0.0]]])
    probabilities = np.exp(average_views(logits))
    expected = (np.exp(4) / (np.exp(4) + 1) + 0.5) / 2
    assert probabilities[0, 0] == pytest.approx(expected, rel=1e-5)
    assert probabilities.sum() == pytest.approx(1, rel=1e-5)


def test_views_spread_over_the_clip():
    spec = ClipSpec()  # a window of 4 s at 16 frames/s
    assert view_starts(10.0, spec, 1) == [3.0]  # the centered one
    assert view_starts(10.0, spec, 2) == [1.5, 4.5]
    assert view_starts(2.0, spec, 1) == [0.0]
    short = view_starts(4.02, spec, 2)
    assert 0 < short[1] - short[0] <= 1 / spec.fps


@pytest.mark.parametrize("text", ["2", "0x1", "2x2", "axb", "1x3x1", "-1x1"])
def test_wrong_views(text):
    with pytest.raises(UsageError, match="windows x crops"):
        parse_views(text)


def test_analysis_finds_the_surest_mistakes():
    labels = np.array([0, 0, 1, 1])
    logits = np.array([[3.0, 0, 0], [0, 5.0, 0], [0, 1.0, 0], [2.0, 0, 0]])
    worst = worst_clips(logits, labels, NAMES)
    assert [mistake.index for mistake in worst] == [1, 3]
    assert worst[0].predicted == NAMES[1]
    assert [
        m.index for m in examples_of(logits, labels, NAMES, true=NAMES[0], predicted=NAMES[1])
    ] == [1]
    bins = by_quantity(np.array([1.0, 2.0, 3.0, 4.0]), labels == logits.argmax(1), bins=2)
    assert [(b.clips, b.top1) for b in bins] == [(2, 0.5), (2, 0.5)]
    assert by_quantity(np.ones(4), labels == logits.argmax(1))[0].clips == 4


def test_motion_and_strips_are_of_the_window():
    still = np.zeros((1, 3, 4, 32, 32, 3), np.uint8)
    moving = still.copy()
    moving[0, :, ::2] = 100
    assert motion_amount(still)[0] == 0
    assert motion_amount(moving)[0] == pytest.approx(100)
    strip = cv2.imdecode(
        np.frombuffer(frame_strip(moving[0], frames=4, side=32), np.uint8), cv2.IMREAD_COLOR
    )
    assert strip.shape == (32, 4 * 32, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_diverged_weights_are_one_sentence(value):
    logits = np.zeros((5, 3), np.float32)
    check_finite(logits, "run")
    logits[[1, 4], 2] = value
    with pytest.raises(GateError, match="run: the logits of 2 of 5 clips are not finite") as caught:
        check_finite(logits, "run")
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
