"""Turn the feature maps of a backbone into tokens of the fusion head.

A tap is standardized per channel, laid on the common grid and projected to width D.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["MotionTap", "SemanticTap", "Standardize"]

WIDEST = 8
"""Largest input of a motion projection, in widths D; larger maps are averaged before patching."""
EPS = 1e-5


class Standardize(nn.Module):
    """Shift and scale each channel to zero mean and unit variance, by stored statistics.

    A few channels of DINOv3 are a hundred times larger than the others and grow with depth
    (Simeoni et al. 2025, DINOv3, appendix A.2), so taps share one scale before projection. For a
    frozen backbone the statistics are measured once (`fit`). For one that trains (`live`) they
    follow the batches, as those of BatchNorm do (Ioffe and Szegedy 2015).
    """

    mean: Tensor
    """`(C,)` mean per channel."""
    var: Tensor
    """`(C,)` variance per channel."""
    count: Tensor
    """Number of vectors that `mean` and `var` were measured on."""

    def __init__(self, channels: int, live: bool) -> None:
        super().__init__()
        self.live = live
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Standardize `(..., C)` -> `(..., C)`."""
        if not (self.live and self.training):
            return (x - self.mean) * torch.rsqrt(self.var + EPS)

        flat = x.reshape(-1, x.shape[-1])  # (N, C)
        normed = F.batch_norm(flat, self.mean, self.var, training=True, momentum=0.1, eps=EPS)
        return normed.view(x.shape)  # (..., C)

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Add one more batch `(..., C)` to the statistics.

        Means and variances of parts are joined as in Chan et al. 1979 (Updating Formulae and a
        Pairwise Algorithm for Computing Sample Variances).
        """
        flat = x.reshape(-1, x.shape[-1]).double()  # (N, C)
        n = float(flat.shape[0])
        mean, var = flat.mean(0), flat.var(0, unbiased=False)

        # Weigh the batch by its share of all vectors seen so far, itself included.
        before = float(self.count)
        share = n / (before + n)
        delta = mean - self.mean.double()
        if before:
            between = delta * delta * share * (1 - share)
            var = self.var.double() * (1 - share) + var * share + between
            mean = self.mean.double() + delta * share

        self.var.copy_(var)
        self.mean.copy_(mean)
        self.count.add_(n)


class ChannelDropout(nn.Module):
    """Drop channels of a tap, the same ones throughout a clip.

    With few training clips the head must not rely on single channels. The idea is that of spatial
    dropout (Tompson et al. 2015), with a clip in the place of a feature map.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, clips: int) -> Tensor:
        """Drop channels of `(N, ..., channels)`, where `N` is a multiple of `clips`."""
        if not (self.training and self.rate):
            return x

        mask = F.dropout(x.new_ones(clips, 1, x.shape[-1]), self.rate)  # (clips, 1, channels)
        return (x.reshape(clips, -1, x.shape[-1]) * mask).reshape(x.shape)


class SemanticTap(nn.Module):
    """Project one tap of the semantic backbone: standardize, drop channels, one linear layer."""

    def __init__(self, channels: int, width: int, live: bool, *, drop: float = 0.0) -> None:
        super().__init__()
        self.standard = Standardize(channels, live)
        self.drop = ChannelDropout(drop)
        self.project = nn.Linear(channels, width)

    def forward(self, tokens: Tensor, clips: int = 1) -> Tensor:
        """Project `(N, P, channels)`, the tokens of `clips` clips, to `(N, P, D)`."""
        projected: Tensor = self.project(self.drop(self.standard(tokens), clips))
        return projected


class MotionTap(nn.Module):
    """Project one tap of the motion backbone: mean over time, patches of a cell, projection.

    A cell of a large map is cut into patches that one linear layer reads, as in ViT (Dosovitskiy
    et al. 2021), so that its layout survives.
    """

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        cells: int,
        width: int,
        live: bool,
        pooled: bool,
        *,
        drop: float = 0.0,
    ) -> None:
        """Size the tap for maps of one shape.

        Args:
            shape: `(channels, time, height, width)` of the backbone's map.
            cells: motion cells per side of the grid.
            width: D, channels of the projection.
            live: statistics follow the batches (the backbone trains).
            pooled: one vector per segment instead of a grid.
            drop: share of channels dropped in training.
        """
        super().__init__()
        self.drop = ChannelDropout(drop)
        channels, _, height, _ = shape

        # Take the largest patch that divides a cell and keeps the projection affordable.
        patch = 1 if pooled else height // cells
        while patch > 1 and (
            channels * patch * patch > WIDEST * width or (height // cells) % patch
        ):
            patch -= 1

        self.pooled = pooled
        self.shrink = 1 if pooled else height // cells // patch
        self.patch = patch
        self.standard = Standardize(channels, live)
        self.project = nn.Linear(channels * patch * patch, width)

    def lay(self, maps: Tensor, segments: int, later_half: bool) -> Tensor:
        """Average maps over time, shrink them to the patches' grid, and put channels last.

        Args:
            maps: `(N, channels, T', h, w)`.
            segments: number of equal parts of `T'` that are averaged separately.
            later_half: average only the later half of each part (a pair's current segment).

        Returns:
            `(N, segments, h, w, channels)`; h = w = 1 when pooled.
        """
        n, c, t, h, w = maps.shape
        x = maps.reshape(n, c, segments, t // segments, h, w)
        if later_half:
            x = x[:, :, :, t // segments // 2 :]

        # (N, channels, segments, h, w), or 1 x 1 when pooled
        x = x.mean((3, 4, 5) if self.pooled else 3)
        if self.pooled:
            x = x.reshape(n, c, segments, 1, 1)

        # A map finer than the patches of a cell is averaged down to them.
        if self.shrink > 1:
            x = F.avg_pool2d(x.flatten(1, 2), self.shrink)  # (N, channels segments, h', w')
            x = x.reshape(n, c, segments, h // self.shrink, w // self.shrink)

        return x.permute(0, 2, 3, 4, 1)  # (N, segments, h', w', channels)

    def forward(self, laid: Tensor, clips: int = 1) -> Tensor:
        """Project what `lay` returns for `clips` clips: `(N, n, h, w, channels)` -> `(N, n, C, D)`.

        C is the number of cells: `h * w` over the area of a patch.
        """
        x = self.drop(self.standard(laid), clips)
        n, s, h, w, c = x.shape
        p = self.patch

        # Bring the pixels of a cell together: (N, n, rows, columns, p, p, channels)
        x = x.reshape(n, s, h // p, p, w // p, p, c).transpose(3, 4)
        x = x.reshape(n, s, (h // p) * (w // p), p * p * c)  # (N, n, C, p p channels)
        projected: Tensor = self.project(x)
        return projected
