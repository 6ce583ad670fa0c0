"""Promises of the design: parameter budget, frozen backbones, cost of the cross-attention."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from gasmcast.config import load_config
from gasmcast.models.counts import count, cross_attention_ratio
from gasmcast.models.model import build_model


@pytest.fixture(scope="module")
def ssv2():
    return count(load_config("ssv2"))


def test_the_budget_of_ssv2(ssv2):
    assert 16e6 <= ssv2.parameters.trainable <= 20e6
    assert ssv2.parameters.frozen_share >= 0.85
    assert ssv2.parameters.by_part["semantic backbone"] == 85_641_216  # timm's figure
    assert (
        ssv2.parameters.by_part["motion backbone"] == 33_371_472 - 512 * 400 - 400
    )  # torchvision's, without its classifier


def test_multiply_adds_are_those_the_backbones_publish(ssv2):
    """Published: R3D-18 at 16 x 112 x 112 is 40.697 G with its classifier (torchvision).

    DINOv3-B at 224 is 17.93 G (model note 3.1).
    """
    assert ssv2.macs.by_part["motion backbone"] / 8 == pytest.approx(40.697e9 - 204_800, rel=1e-4)
    assert ssv2.macs.by_part["semantic backbone"] / 16 == pytest.approx(17.93e9, rel=1e-3)
    assert ssv2.macs.total == sum(ssv2.macs.by_part.values())
    assert ssv2.macs.decision < ssv2.macs.total / 5


@pytest.mark.parametrize("preset", ["ssv2", "seed", "edge", "demo"])
def test_bottleneck_cross_attention_costs_at_most_half(preset):
    config = load_config(preset)
    ratio = cross_attention_ratio(config.model, config.spec)
    assert ratio is not None
    assert ratio <= 0.5


def test_frozen_backbones_are_bit_identical_after_steps_and_the_rest_moves():
    config = load_config("demo", {"model.freeze": True, "model.classes": 3})
    torch.manual_seed(0)
    model = build_model(config)
    clips = torch.randint(0, 256, (2, *config.spec.clip_shape), dtype=torch.uint8)
    model.fit_tap_statistics([clips])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    for _ in range(2):
        F.cross_entropy(model(clips), torch.tensor([0, 1])).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = model.state_dict()
    backbone = [
        name for name in before if name.startswith(("encoder.semantic.", "encoder.motion."))
    ]
    assert any(name.endswith("running_mean") for name in backbone), (
        "BatchNorm statistics are among what must stay"
    )
    assert all(torch.equal(before[name], after[name]) for name in backbone)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained.isdisjoint(backbone)
    assert all(not torch.equal(before[name], after[name]) for name in trained)
