"""Inception-I3D (Carreira and Zisserman 2017, Quo Vadis, Action Recognition?).

A port of deepmind/kinetics-i3d (i3d.py). Names follow the published TensorFlow checkpoint, joined
by dots. BatchNorm has no scale. Padding is TensorFlow's `SAME`, which puts the odd pixel of a
stride at the end.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["I3D"]


class Pool(NamedTuple):
    """A max pooling layer: window and stride over time, height and width."""

    size: tuple[int, int, int]
    stride: tuple[int, int, int]


# Input width, then branch widths: 1x1 | 1x1 -> 3x3 | 1x1 -> 3x3 | pool -> 1x1
MIXED = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}
POOLS = {
    "Conv3d_2b_1x1": Pool((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": Pool((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": Pool((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": Pool((2, 2, 2), (2, 2, 2)),
}


class I3D(nn.Sequential):
    """The RGB tower up to `Mixed_5c`; a pooling layer belongs to the stage that follows it.

    Maps `(N, 3, T, H, W)` in [-1, 1] to `(N, 1024, T/8, H/32, W/32)`.
    """

    def __init__(self) -> None:
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        stages["Conv3d_1a_7x7"] = _Unit(3, 64, 7, 2)
        stages["Conv3d_2b_1x1"] = _Unit(64, 64, 1, 1, pool=POOLS["Conv3d_2b_1x1"])
        stages["Conv3d_2c_3x3"] = _Unit(64, 192, 3, 1)
        for name, (inner, widths) in MIXED.items():
            stages[name] = _Mixed(inner, widths, POOLS.get(name))
        super().__init__(stages)


class _Kernel(nn.Module):
    """Weights of a convolution under the published name, `kernel`."""

    def __init__(self, inner: int, outer: int, size: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(outer, inner, size, size, size))
        nn.init.kaiming_normal_(self.kernel, mode="fan_out", nonlinearity="relu")


class _Shift(nn.Module):
    """BatchNorm of fixed unit scale, with eps 1e-3."""

    mean: Tensor
    """`(C,)` running mean."""
    var: Tensor
    """`(C,)` running variance."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `(N, C, T, H, W)`."""
        return F.batch_norm(
            x, self.mean, self.var, None, self.bias, training=self.training, momentum=0.01, eps=1e-3
        )


class _Unit(nn.Module):
    """Pooling (if any), convolution, BatchNorm, ReLU."""

    def __init__(
        self, inner: int, outer: int, size: int, stride: int, pool: Pool | None = None
    ) -> None:
        super().__init__()
        self.Conv_0 = _Kernel(inner, outer, size)
        self.BatchNorm_0 = _Shift(outer)
        self.size, self.stride, self.pool = size, stride, pool

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, inner, T, H, W)` to `(N, outer, T', H', W')`."""
        if self.pool:
            x = _pool_same(x, self.pool)

        kernel = self.Conv_0.kernel
        stride = (self.stride,) * 3
        pads = _same_padding(x, (self.size,) * 3, stride)
        # The convolution pads evenly by itself; only odd padding needs an operation of its own.
        if all(before == after for before, after in pads):
            x = F.conv3d(x, kernel, stride=stride, padding=[before for before, _ in pads])
        else:
            x = F.conv3d(F.pad(x, _flat(pads)), kernel, stride=stride)

        return F.relu(self.BatchNorm_0(x))


class _Mixed(nn.Module):
    """Inception block (Szegedy et al. 2015): four branches side by side."""

    def __init__(self, inner: int, widths: tuple[int, ...], pool: Pool | None) -> None:
        super().__init__()
        # Names and order of the branches are those of the published checkpoint.
        a, b0, b1, c0, c1, d = widths
        self.Branch_0 = nn.ModuleDict({"Conv3d_0a_1x1": _Unit(inner, a, 1, 1)})
        self.Branch_1 = nn.ModuleDict(
            {"Conv3d_0a_1x1": _Unit(inner, b0, 1, 1), "Conv3d_0b_3x3": _Unit(b0, b1, 3, 1)}
        )
        self.Branch_2 = nn.ModuleDict(
            {"Conv3d_0a_1x1": _Unit(inner, c0, 1, 1), "Conv3d_0b_3x3": _Unit(c0, c1, 3, 1)}
        )

        # The pooled branch keeps the size of the map: its stride is 1.
        branch_pool = Pool((3, 3, 3), (1, 1, 1))
        self.Branch_3 = nn.ModuleDict({"Conv3d_0b_1x1": _Unit(inner, d, 1, 1, pool=branch_pool)})
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the branches along the channels of `(N, C, T, H, W)`."""
        if self.pool:
            x = _pool_same(x, self.pool)

        outputs = []
        for branch in (self.Branch_0, self.Branch_1, self.Branch_2, self.Branch_3):
            y = x
            for unit in branch.values():
                y = unit(y)
            outputs.append(y)
        return torch.cat(outputs, 1)


def _same_padding(
    x: Tensor, size: tuple[int, ...], stride: tuple[int, ...]
) -> list[tuple[int, int]]:
    """Return TensorFlow's `SAME` padding of the last three axes as (before, after) pairs."""
    pads = []
    for length, kernel, step in zip(x.shape[2:], size, stride, strict=True):
        outputs = -(-length // step)
        total = max((outputs - 1) * step + kernel - length, 0)
        pads.append((total // 2, total - total // 2))  # the odd one goes to the end
    return pads


def _flat(pads: list[tuple[int, int]]) -> list[int]:
    """Return pairs of padding in the order of `F.pad`: the last axis first."""
    return [side for pad in reversed(pads) for side in pad]


def _pool_same(x: Tensor, pool: Pool) -> Tensor:
    """Apply max pooling with `SAME` padding.

    Maps are not negative after ReLU, so padding with zeros does not change a maximum.
    """
    pads = _flat(_same_padding(x, pool.size, pool.stride))
    return F.max_pool3d(F.pad(x, pads), pool.size, pool.stride)
