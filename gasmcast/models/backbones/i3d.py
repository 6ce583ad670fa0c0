"""Inception-I3D (Carreira and Zisserman 2017, Quo Vadis, Action Recognition?; deepmind/kinetics-i3d, i3d.py).

Names follow the published TensorFlow checkpoint, joined by dots. BatchNorm has no scale; padding is TensorFlow's `SAME`,
which puts the odd one of a stride at the end.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["I3D", "I3DClassifier"]

# Branch widths: 1x1 | 1x1 -> 3x3 | 1x1 -> 3x3 | pool -> 1x1
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


Pool = tuple[tuple[int, int, int], tuple[int, int, int]]
"""Window and stride."""
POOLS: dict[str, Pool] = {
    "Conv3d_2b_1x1": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}


class I3D(nn.Module):
    """The RGB tower up to `Mixed_5c`; poolings belong to the stage that follows them."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = _Unit(64, 64, 1, 1, pool=POOLS["Conv3d_2b_1x1"])
        self.Conv3d_2c_3x3 = _Unit(64, 192, 3, 1)
        for name, (before, widths) in MIXED.items():
            setattr(self, name, _Mixed(before, widths, POOLS.get(name)))

    def stages(self) -> OrderedDict[str, nn.Module]:
        """Its parts in order of use."""
        return OrderedDict(self.named_children())

    def forward(self, x: Tensor) -> Tensor:
        """`(N, 3, T, H, W)` in [-1, 1] -> `(N, 1024, T/8, H/32, W/32)`."""
        for stage in self.stages().values():
            x = stage(x)
        return x


class I3DClassifier(nn.Module):
    """The tower with its 400 Kinetics scores: what the published network was trained to give."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = I3D()
        self.logits = nn.Conv3d(1024, 400, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, 3, T, 224, 224)` in [-1, 1], `T >= 16` -> `(N, 400)` scores, averaged over time."""
        scores: Tensor = self.logits(F.avg_pool3d(self.tower(x), (2, 7, 7), 1))
        return scores.mean((2, 3, 4))

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Strictly, by the published names."""
        named = {
            f"tower.{name}": value
            for name, value in tensors.items()
            if not name.startswith("Logits.")
        }
        head = "Logits.Conv3d_0c_1x1.Conv_0."
        self.load_state_dict(
            named
            | {"logits.weight": tensors[f"{head}kernel"], "logits.bias": tensors[f"{head}bias"]}
        )


class _Kernel(nn.Module):
    """A convolution's weights under the published name, `kernel`."""

    def __init__(self, inner: int, outer: int, size: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(outer, inner, size, size, size))
        nn.init.kaiming_normal_(self.kernel, mode="fan_out", nonlinearity="relu")


class _Shift(nn.Module):
    """BatchNorm of fixed unit scale, eps 1e-3."""

    mean: Tensor
    var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.mean, self.var, None, self.bias, training=self.training, momentum=0.01, eps=1e-3
        )


class _Unit(nn.Module):
    """Pool (if any), convolution, BatchNorm, ReLU."""

    def __init__(
        self, inner: int, outer: int, size: int, stride: int, pool: Pool | None = None
    ) -> None:
        super().__init__()
        self.Conv_0 = _Kernel(inner, outer, size)
        self.BatchNorm_0 = _Shift(outer)
        self.size, self.stride, self.pool = size, stride, pool

    def forward(self, x: Tensor) -> Tensor:
        if self.pool:
            x = _pool_same(x, *self.pool)
        size = (self.size,) * 3
        stride = (self.stride,) * 3
        pads = _same(x, size, stride)
        if all(before == after for before, after in pads):
            x = F.conv3d(
                x, self.Conv_0.kernel, stride=stride, padding=[before for before, _ in pads]
            )
        else:
            x = F.conv3d(F.pad(x, _flat(pads)), self.Conv_0.kernel, stride=stride)
        return F.relu(self.BatchNorm_0(x))


class _Mixed(nn.Module):
    """Inception block: four branches side by side."""

    def __init__(self, before: int, widths: tuple[int, ...], pool: Pool | None) -> None:
        super().__init__()
        a, b0, b1, c0, c1, d = widths
        self.Branch_0 = nn.ModuleDict({"Conv3d_0a_1x1": _Unit(before, a, 1, 1)})
        self.Branch_1 = nn.ModuleDict(
            {"Conv3d_0a_1x1": _Unit(before, b0, 1, 1), "Conv3d_0b_3x3": _Unit(b0, b1, 3, 1)}
        )
        self.Branch_2 = nn.ModuleDict(
            {"Conv3d_0a_1x1": _Unit(before, c0, 1, 1), "Conv3d_0b_3x3": _Unit(c0, c1, 3, 1)}
        )
        self.Branch_3 = nn.ModuleDict(
            {"Conv3d_0b_1x1": _Unit(before, d, 1, 1, pool=((3, 3, 3), (1, 1, 1)))}
        )
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        if self.pool:
            x = _pool_same(x, *self.pool)
        outs = []
        for branch in (self.Branch_0, self.Branch_1, self.Branch_2, self.Branch_3):
            y = x
            for unit in branch.values():
                y = unit(y)
            outs.append(y)
        return torch.cat(outs, 1)


def _same(x: Tensor, size: tuple[int, ...], stride: tuple[int, ...]) -> list[tuple[int, int]]:
    """TensorFlow's `SAME` padding of the last three axes: (before, after) each, the odd one after."""
    pads = []
    for length, kernel, step in zip(x.shape[2:], size, stride, strict=True):
        total = max((-(-length // step) - 1) * step + kernel - length, 0)
        pads.append((total // 2, total - total // 2))
    return pads


def _flat(pads: list[tuple[int, int]]) -> list[int]:
    return [side for pad in reversed(pads) for side in pad]


def _pool_same(x: Tensor, size: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Max pooling with `SAME` padding; maps are not negative after ReLU, so padding with zeros is padding with nothing."""
    return F.max_pool3d(F.pad(x, _flat(_same(x, size, stride))), size, stride)
