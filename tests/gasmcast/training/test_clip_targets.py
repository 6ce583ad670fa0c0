"""Targets that blend classes with the probabilities of a teacher."""

from __future__ import annotations

import pytest
import torch

from gasmcast.evaluation.teacher_opinion import POOLED
from gasmcast.training.clip_targets import ClipTargets
from gasmcast.training.objective import separate_loss

TAUGHT = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
MOTION = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
LABELS = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])


@pytest.fixture
def teacher() -> ClipTargets:
    return ClipTargets(
        rows={"a": 0, "unlabelled/b": 1},
        probabilities={POOLED: TAUGHT, "motion": MOTION},
        no_class=frozenset({"unlabelled/b"}),
        share=0.5,
    )


def test_classes_and_the_teacher_share_the_targets(teacher) -> None:
    blended = teacher.blend(LABELS, ["a", "unlabelled/b", "unread"], ())
    expected = [[0.75, 0.125, 0.125], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    torch.testing.assert_close(blended, torch.tensor(expected))


def test_each_read_out_learns_from_its_own_or_from_all_together(teacher) -> None:
    blended = teacher.blend(LABELS[:1], ["a"], ("semantic", "motion", "fused"))
    assert blended.shape == (1, 3, 3)
    torch.testing.assert_close(blended[0, 0], torch.tensor([0.75, 0.125, 0.125]))
    torch.testing.assert_close(blended[0, 1], torch.tensor([0.5, 0.5, 0.0]))
    torch.testing.assert_close(blended[0, 2], blended[0, 0])


def test_a_loss_with_equal_targets_of_all_read_outs_is_that_of_one_target() -> None:
    scores = {"semantic": torch.randn(3, 3), "motion": torch.randn(3, 3)}
    each = LABELS[:, None].expand(3, 2, 3)
    torch.testing.assert_close(separate_loss(scores, each), separate_loss(scores, LABELS))
