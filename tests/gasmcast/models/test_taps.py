"""Standardizing taps and laying motion maps on the grid of cells."""

from __future__ import annotations

import pytest
import torch

from gasmcast.models.taps import MotionTap, SemanticTap, Standardize


def test_statistics_of_parts_are_those_of_the_whole():
    torch.manual_seed(0)
    x = torch.randn(100, 5) * torch.tensor([1.0, 300.0, 0.01, 1.0, 1.0]) + torch.tensor(
        [0.0, 50.0, 0.0, -3.0, 0.0]
    )
    standard = Standardize(5, live=False).eval()
    for part in x.split([10, 60, 30]):
        standard.fit(part)
    assert torch.allclose(standard.mean, x.mean(0), atol=1e-4)
    assert torch.allclose(standard.var, x.var(0, unbiased=False), rtol=1e-4)
    y = standard(x)
    assert y.std(0)[[0, 1, 3, 4]].sub(1).abs().max() < 0.02


def test_live_statistics_follow_the_batches_and_rest_in_eval():
    standard = Standardize(3, live=True)
    x = torch.randn(4, 7, 3) * 5 + 2
    for _ in range(60):
        standard(x)
    before = standard.mean.clone()
    standard.eval()(x + 100)
    assert torch.equal(standard.mean, before)
    assert torch.allclose(before, x.mean((0, 1)), atol=0.1)


def test_later_half_of_time_alone_is_read():
    tap = MotionTap((2, 4, 4, 4), cells=2, width=8, live=False, pooled=False)
    maps = torch.zeros(1, 2, 4, 4, 4)
    maps[:, :, :2] = 9.0
    assert tap.lay(maps, 1, later_half=True).abs().max() == 0
    assert tap(tap.lay(maps, 1, later_half=True)).shape == (1, 1, 4, 8)


@pytest.mark.parametrize(
    ("shape", "width", "patch", "shrink"),
    [
        ((128, 4, 28, 28), 512, 4, 1),
        ((512, 2, 7, 7), 512, 1, 1),
        ((480, 8, 28, 28), 512, 2, 2),
        ((832, 4, 14, 14), 256, 1, 2),
        ((480, 8, 28, 28), 128, 1, 4),
    ],
)
def test_wide_maps_are_averaged_before_they_are_cut(shape, width, patch, shrink):
    tap = MotionTap(shape, cells=7, width=width, live=False, pooled=False)
    assert (tap.patch, tap.shrink) == (patch, shrink)
    laid = tap.lay(torch.randn(1, *shape), 1, later_half=False)
    assert tap(laid).shape == (1, 1, 49, width)


def test_a_patch_holds_its_own_cell():
    tap = MotionTap((1, 1, 4, 4), cells=2, width=4, live=False, pooled=False).eval()
    with torch.no_grad():
        tap.project.weight.copy_(torch.eye(4))
        tap.project.bias.zero_()
    maps = torch.arange(16.0).view(1, 1, 1, 4, 4)
    assert tap(tap.lay(maps, 1, later_half=False))[0, 0, 0].round().tolist() == [0, 1, 4, 5]


def test_channels_are_left_out_of_whole_clips_in_training_alone():
    torch.manual_seed(0)
    tap = SemanticTap(64, 8, live=False, drop=0.25)
    seen = []
    tap.project.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    tap(torch.ones(2 * 3, 5, 64), clips=2)
    by_clip = seen[0].reshape(2, 15, 64)
    assert torch.equal(by_clip, by_clip[:, :1].expand_as(by_clip)), (
        "one draw for all frames and patches"
    )
    assert not torch.equal(by_clip[0], by_clip[1]), "another draw for the next clip"
    assert 0.1 < (by_clip == 0).float().mean() < 0.4
    tap.eval()(torch.ones(6, 5, 64), clips=2)
    assert torch.allclose(seen[1], torch.ones(()), atol=1e-4)
