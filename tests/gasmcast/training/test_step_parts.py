"""Small parts of a step: loss, mixing, optimizer, schedule, averaging."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from gasmcast.training.mixup import mix_batch
from gasmcast.training.objective import fusion_loss, soft_targets
from gasmcast.training.optimizer import WeightAverage, build_optimizer, lr_factor


def test_smoothed_targets_are_those_of_torch():
    logits, labels = torch.randn(6, 5), torch.arange(6) % 5
    targets = soft_targets(labels, 5, 0.1)
    assert targets.sum(1).tolist() == pytest.approx([1.0] * 6)
    expected = nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert fusion_loss(logits, {}, targets).item() == pytest.approx(expected.item(), rel=1e-6)


def test_streams_add_their_own_loss():
    logits, targets = torch.randn(4, 3), soft_targets(torch.tensor([0, 1, 2, 0]), 3, 0.0)
    alone = fusion_loss(logits, {}, targets)
    both = fusion_loss(logits, {"semantic": logits, "motion": logits}, targets, 0.5)
    assert both.item() == pytest.approx(2 * alone.item(), rel=1e-6)


def _batch():
    clips = (
        torch.arange(4)
        .mul(60)
        .to(torch.uint8)[:, None, None, None, None, None]
        .expand(4, 3, 2, 8, 8, 3)
        .clone()
    )
    return clips, soft_targets(torch.arange(4), 4, 0.0)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_targets_are_the_shares_of_the_pixels(mixup, cutmix):
    clips, targets = _batch()
    for seed in range(5):
        mixed, soft = mix_batch(clips, targets, mixup, cutmix, np.random.default_rng(seed))
        assert mixed.dtype == torch.uint8
        assert mixed.shape == clips.shape
        assert soft.sum(1).tolist() == pytest.approx([1.0] * 4)
        values = (soft * torch.tensor([0.0, 60.0, 120.0, 180.0])).sum(1)
        means = mixed.float().flatten(1).mean(1)
        assert torch.allclose(means, values, atol=0.6)
        assert (mixed == mixed[:, :1, :1]).all()  # the same in every frame


def test_nothing_is_mixed_when_off_or_alone():
    clips, targets = _batch()
    rng = np.random.default_rng(0)
    assert mix_batch(clips, targets, 0.0, 0.0, rng)[0] is clips
    assert mix_batch(clips[:1], targets[:1], 1.0, 1.0, rng)[0].shape[0] == 1


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.linear = nn.Linear(3, 3)
        self.norm = nn.LayerNorm(3)
        self.embedding = nn.Embedding(4, 3)
        self.position = nn.Parameter(torch.zeros(4, 3))


def test_only_weights_of_layers_decay_and_frozen_ones_are_left_out():
    net = _Net()
    groups = {
        group["weight_decay"]: group["params"]
        for group in build_optimizer(net, 1e-3, 0.05).param_groups
    }
    assert [p is net.linear.weight for p in groups[0.05]] == [True]
    free = {id(p) for p in groups[0.0]}
    assert free == {
        id(p)
        for p in (
            net.linear.bias,
            net.norm.weight,
            net.norm.bias,
            net.embedding.weight,
            net.position,
        )
    }


def test_the_schedule_rises_then_falls():
    factors = [lr_factor(step, 100, 10) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == factors[10] == 1.0
    assert all(a >= b for a, b in pairwise(factors[10:]))
    assert factors[-1] == pytest.approx(0.01, abs=1e-3)
    assert lr_factor(0, 10, 0) == 1.0


def test_the_average_follows_and_lends_its_weights():
    net = nn.Linear(2, 1, bias=False)
    average = WeightAverage(net, 0.9)
    with torch.no_grad():
        for value in range(200):
            net.weight.fill_(value)
            average.update()
    trained = net.weight.detach().clone()
    assert 180 < average.tensors["weight"].mean() < 199  # lags by about 1 / (1 - decay) updates
    with average.applied():
        assert net.weight.detach().equal(average.tensors["weight"])
    assert net.weight.detach().equal(trained)
