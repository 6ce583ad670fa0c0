"""The small motion backbone of the `demo` preset: trained from scratch on two CPU cores in minutes."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BlockMatching", "TinyMotion"]


class TinyMotion(nn.Module):
    """An R(2+1)D net (Tran et al. 2018) of 0.1 M weights on block-matched displacements; spatial strides (4, 8, 16) as R3D-18.

    From pixels, a net of this size has to discover displacement first, which took more clips than a demo can show (20 % top-1
    after eight epochs of the synthetic set; on displacements 87 % after four). Time is strided only from layer3 on: of 8 frames
    every one counts while there is still a map to move on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = BlockMatching()
        self.layer2 = nn.Sequential(
            _conv(BlockMatching.channels, 32, (1, 3, 3), (1, 2, 2)),
            _conv(32, 32, (3, 1, 1), (1, 1, 1)),
        )
        self.layer3 = nn.Sequential(
            _conv(32, 64, (1, 3, 3), (1, 2, 2)), _conv(64, 64, (3, 1, 1), (2, 1, 1))
        )
        self.layer4 = nn.Sequential(
            _conv(64, 96, (1, 3, 3), (1, 2, 2)), _conv(96, 96, (3, 1, 1), (2, 1, 1))
        )

    def stages(self) -> OrderedDict[str, nn.Module]:
        """Its parts in order of use."""
        return OrderedDict(self.named_children())

    def forward(self, x: Tensor) -> Tensor:
        """`(N, 3, T, H, W)` -> `(N, 96, T/4, H/16, W/16)`."""
        for stage in self.children():
            x = stage(x)
        return x


class BlockMatching(nn.Module):
    """Where each place was one frame before: classical block matching, nothing trained.

    At half size, absolute differences to the 49 places within three pixels, averaged over 3 x 3, and a soft minimum over them. The
    first frame is matched with itself.
    """

    channels = 6
    offsets: Tensor

    def __init__(self, radius: int = 3, sharpness: float = 40.0) -> None:
        super().__init__()
        self.radius, self.sharpness = radius, sharpness
        offsets = torch.arange(-radius, radius + 1) / radius
        down, right = torch.meshgrid(offsets, offsets, indexing="ij")
        self.register_buffer(
            "offsets",
            torch.stack([right.flatten(), down.flatten()])[..., None, None],
            persistent=False,
        )
        self.norm = nn.BatchNorm3d(self.channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, 3, T, H, W)` -> `(N, 6, T, H/2, W/2)`.

        The channels: displacement right and down, the same less their mean over the frame (what moves against the camera), the
        cost of the best match, and by how much it beats staying.
        """
        with torch.no_grad():
            seen = self._match(F.avg_pool3d(x, (1, 2, 2)))
        normed: Tensor = self.norm(seen)
        return normed

    def _match(self, x: Tensor) -> Tensor:
        frames, height, width = x.shape[2:]
        x = x.transpose(1, 2)  # (N, T, 3, h, w)
        before = torch.cat([x[:, :1], x[:, :-1]], 1).flatten(0, 1)
        x = x.flatten(0, 1)
        side = 2 * self.radius + 1
        before = F.pad(before, (self.radius,) * 4)
        places = [
            before[..., i : i + height, j : j + width] for i in range(side) for j in range(side)
        ]
        cost = torch.stack([(x - place).abs().mean(1) for place in places], 1)  # (N T, 49, h, w)
        cost = F.avg_pool2d(cost, 3, 1, 1, count_include_pad=False)
        weight = torch.softmax(-self.sharpness * cost, 1)
        moved = torch.stack(
            [(weight * offset).sum(1) for offset in self.offsets], 1
        )  # (N T, 2, h, w)
        best, still = cost.amin(1, keepdim=True), cost[:, side * side // 2, None]
        seen = torch.cat([moved, moved - moved.mean((2, 3), keepdim=True), best, still - best], 1)
        return seen.reshape(-1, frames, self.channels, height, width).transpose(
            1, 2
        )  # (N, 6, T, h, w)


def _conv(
    inner: int, outer: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> nn.Sequential:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(
        nn.Conv3d(inner, outer, kernel, stride, padding, bias=False),
        nn.BatchNorm3d(outer),
        nn.ReLU(inplace=True),
    )
