"""The small motion backbone of the `demo` preset; it trains from scratch on a CPU in minutes."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["TinyMotion"]


class TinyMotion(nn.Sequential):
    """An R(2+1)D network (Tran et al. 2018) of 0.1 M weights on block-matched displacements.

    Maps `(N, 3, T, H, W)` to `(N, 96, T/4, H/16, W/16)`; its spatial strides are R3D-18's (4, 8,
    16). It trains on two CPU cores in minutes. From pixels, a network of this size has to discover
    displacement first, which took more clips than a demo can show (20 % top-1 after eight epochs of
    the synthetic set; on displacements 87 % after four). Time is strided only from layer3 on: each
    of 8 frames matters while there is still a map to move on.
    """

    def __init__(self) -> None:
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        # Convolving space and time separately takes fewer weights than a 3D kernel.
        stages["stem"] = BlockMatching()
        stages["layer2"] = nn.Sequential(
            _conv(BlockMatching.channels, 32, (1, 3, 3), (1, 2, 2)),
            _conv(32, 32, (3, 1, 1), (1, 1, 1)),
        )

        # Both halve time and space, as R3D-18's stages of these names do.
        stages["layer3"] = nn.Sequential(
            _conv(32, 64, (1, 3, 3), (1, 2, 2)), _conv(64, 64, (3, 1, 1), (2, 1, 1))
        )
        stages["layer4"] = nn.Sequential(
            _conv(64, 96, (1, 3, 3), (1, 2, 2)), _conv(96, 96, (3, 1, 1), (2, 1, 1))
        )
        super().__init__(stages)


class BlockMatching(nn.Module):
    """Displacement of each place since the previous frame, by classical block matching.

    Nothing is trained. At half size, absolute differences to the 49 places within three pixels are
    averaged over 3 x 3 pixels, and a soft minimum is taken over them. The first frame is matched
    with itself. Block matching goes back to Jain and Jain 1981 (Displacement Measurement and Its
    Application in Interframe Image Coding).
    """

    channels = 6
    offsets: Tensor
    """`(2, 49, 1, 1)` displacements right and down of each place, as shares of the radius."""

    def __init__(self, radius: int = 3, sharpness: float = 40.0) -> None:
        super().__init__()
        self.radius, self.sharpness = radius, sharpness

        steps = torch.arange(-radius, radius + 1) / radius
        down, right = torch.meshgrid(steps, steps, indexing="ij")
        offsets = torch.stack([right.flatten(), down.flatten()])[..., None, None]
        self.register_buffer("offsets", offsets, persistent=False)
        self.norm = nn.BatchNorm3d(self.channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Match `(N, 3, T, H, W)` frames to `(N, 6, T, H/2, W/2)`.

        The channels are: displacement right and down, the same minus their mean over the frame
        (movement relative to the camera), the cost of the best match, and how much better it is
        than no displacement.
        """
        with torch.no_grad():
            matched = self._match(F.avg_pool3d(x, (1, 2, 2)))
        normed: Tensor = self.norm(matched)
        return normed

    def _match(self, x: Tensor) -> Tensor:
        """Match each frame of `(N, 3, T, h, w)` with the one before: `(N, 6, T, h, w)`."""
        frames, height, width = x.shape[2:]
        side = 2 * self.radius + 1

        # Shift the previous frame to every place within the radius.
        x = x.transpose(1, 2)  # (N, T, 3, h, w)
        previous = torch.cat([x[:, :1], x[:, :-1]], 1).flatten(0, 1)  # (N T, 3, h, w)
        previous = F.pad(previous, (self.radius,) * 4)
        places = [
            previous[..., i : i + height, j : j + width] for i in range(side) for j in range(side)
        ]

        # Cost of each place; the 3 x 3 mean makes a block of what is one pixel.
        x = x.flatten(0, 1)  # (N T, 3, h, w)
        cost = torch.stack([(x - place).abs().mean(1) for place in places], 1)  # (N T, 49, h, w)
        cost = F.avg_pool2d(cost, 3, 1, 1, count_include_pad=False)

        # A soft minimum gives displacements between whole pixels.
        weight = torch.softmax(-self.sharpness * cost, 1)  # (N T, 49, h, w)
        moved = torch.stack([(weight * offset).sum(1) for offset in self.offsets], 1)
        best, still = cost.amin(1, keepdim=True), cost[:, side * side // 2, None]  # (N T, 1, h, w)

        relative = moved - moved.mean((2, 3), keepdim=True)  # (N T, 2, h, w)
        matched = torch.cat([moved, relative, best, still - best], 1)  # (N T, 6, h, w)
        matched = matched.reshape(-1, frames, self.channels, height, width)  # (N, T, 6, h, w)
        return matched.transpose(1, 2)  # (N, 6, T, h, w)


def _conv(
    inner: int, outer: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> nn.Sequential:
    """Return convolution, BatchNorm and ReLU, padded to keep the size before striding."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(
        nn.Conv3d(inner, outer, kernel, stride, padding, bias=False),
        nn.BatchNorm3d(outer),
        nn.ReLU(inplace=True),
    )
