"""From a backbone's maps to the fusion head's tokens: standardize, lay on the common grid, project to width D."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["MotionTap", "SemanticTap", "Standardize"]

WIDEST = 8  # inputs of a motion projection, in widths D; wider maps are averaged before they are cut into patches


class Standardize(nn.Module):
    """Zero mean, unit variance a channel, by stored statistics.

    A few channels of DINOv3 are a hundred times the others and grow with depth (Simeoni et al. 2025, appendix A.2), so a
    tap is brought to one scale before it is projected. For a frozen backbone the statistics are measured once (`fit`);
    under one that trains (`live`) they follow the batches, as BatchNorm's do.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, channels: int, live: bool) -> None:
        super().__init__()
        self.live = live
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """`(..., C)` -> `(..., C)`."""
        if self.live and self.training:
            flat = x.reshape(-1, x.shape[-1])
            return F.batch_norm(
                flat, self.mean, self.var, training=True, momentum=0.1, eps=1e-5
            ).view(x.shape)
        return (x - self.mean) * torch.rsqrt(self.var + 1e-5)

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Take in one more batch `(..., C)` (Chan et al. 1979: means and variances of parts, joined)."""
        flat = x.reshape(-1, x.shape[-1]).double()
        n = float(flat.shape[0])
        mean, var = flat.mean(0), flat.var(0, unbiased=False)
        before = float(self.count)
        share = n / (before + n)
        delta = mean - self.mean.double()
        joined = (
            self.var.double() * (1 - share) + var * share + delta * delta * share * (1 - share)
            if before
            else var
        )
        self.var.copy_(joined)
        self.mean.copy_(self.mean.double() + delta * share if before else mean)
        self.count.add_(n)


class ChannelDropout(nn.Module):
    """Channels of a tap left out, the same ones in all of a clip: a head of few clips must not rest on single channels."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, clips: int) -> Tensor:
        """`(N, ..., channels)` -> the same; `N` is a multiple of `clips`."""
        if not (self.training and self.rate):
            return x
        kept = F.dropout(x.new_ones(clips, 1, x.shape[-1]), self.rate)
        return (x.reshape(clips, -1, x.shape[-1]) * kept).reshape(x.shape)


class SemanticTap(nn.Module):
    """One tap of the semantic backbone."""

    def __init__(self, channels: int, width: int, live: bool, *, drop: float = 0.0) -> None:
        super().__init__()
        self.standard = Standardize(channels, live)
        self.drop = ChannelDropout(drop)
        self.project = nn.Linear(channels, width)

    def forward(self, tokens: Tensor, clips: int = 1) -> Tensor:
        """`(N, P, channels)` of so many clips -> `(N, P, D)`."""
        projected: Tensor = self.project(self.drop(self.standard(tokens), clips))
        return projected


class MotionTap(nn.Module):
    """One tap of the motion backbone: mean over time, patches of a cell, projection."""

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
        """`shape` is `(channels, time, height, width)` of the map; `cells` a side of the grid of motion cells."""
        super().__init__()
        self.drop = ChannelDropout(drop)
        channels, _, height, _ = shape
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
        """Mean over time, channels last.

        Args:
            maps: `(N, channels, T', h, w)`.
            segments: how many equal stretches of `T'` are averaged apart.
            later_half: average only the later half of each (a pair's current segment).

        Returns:
            `(N, segments, h, w, channels)`; h = w = 1 when pooled.
        """
        n, c, t, h, w = maps.shape
        x = maps.reshape(n, c, segments, t // segments, h, w)
        if later_half:
            x = x[:, :, :, t // segments // 2 :]
        x = x.mean((3, 4, 5)).reshape(n, c, segments, 1, 1) if self.pooled else x.mean(3)
        if self.shrink > 1:
            x = F.avg_pool2d(x.flatten(1, 2), self.shrink).reshape(
                n, c, segments, h // self.shrink, w // self.shrink
            )
        return x.permute(0, 2, 3, 4, 1)

    def forward(self, laid: Tensor, clips: int = 1) -> Tensor:
        """`(N, n, h, w, channels)` of `lay`, of so many clips -> `(N, n, C, D)`."""
        x = self.drop(self.standard(laid), clips)
        n, s, h, w, c = x.shape
        p = self.patch
        x = x.reshape(n, s, h // p, p, w // p, p, c).transpose(
            3, 4
        )  # (N, n, rows, columns, p, p, channels)
        projected: Tensor = self.project(x.reshape(n, s, (h // p) * (w // p), p * p * c))
        return projected
