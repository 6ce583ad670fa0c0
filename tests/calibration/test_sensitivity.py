import numpy as np
import pytest

from gasmcast.calibration.sensitivity import BlockLoss, fewest_back, loss_of, rank


def losses(count):
    return rank(
        [BlockLoss("encoder", f"b{i:02}", noise=1.0 / (i + 1), agreement=1.0) for i in range(count)]
    )


@pytest.mark.parametrize("needed", [1, 2, 3, 4, 5, 7, 8, 12])
def test_the_fewest_worst_blocks_go_back(needed):
    found = fewest_back(losses(12), lambda back: len(back) >= needed)
    assert found.passed
    assert found.back == tuple(f"b{i:02}" for i in range(needed))
    assert len(found.tried) <= 2 * int(np.ceil(np.log2(12))) + 1


def test_a_gate_that_never_holds_is_said():
    found = fewest_back(losses(5), lambda _: False)
    assert not found.passed
    assert max(count for count, _ in found.tried) == 5


def test_no_blocks_no_search():
    assert not fewest_back([], lambda _: True).passed


def test_loss_ignores_a_shift_that_the_softmax_ignores():
    logits = np.random.default_rng(0).normal(size=(8, 5))
    assert loss_of("head", "b", logits, logits + 3).noise == pytest.approx(0, abs=1e-20)


def test_loss_counts_decisions_and_refuses_what_is_not_a_number():
    logits = np.eye(4)
    turned = np.roll(logits, 1, axis=1)
    assert loss_of("head", "b", logits, turned).agreement == 0
    assert loss_of("head", "b", logits, np.full((4, 4), np.nan)).noise == np.inf


def test_the_worst_comes_first():
    ranked = rank(
        [BlockLoss("e", "a", 0.1, 1), BlockLoss("e", "b", np.inf, 0), BlockLoss("e", "c", 0.5, 1)]
    )
    assert [x.block for x in ranked] == ["b", "c", "a"]
