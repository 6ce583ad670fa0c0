"""C3D (Tran et al. 2015, Learning Spatiotemporal Features with 3D Convolutional Networks), without its dense layers.

Parameter names are mmaction2's (`c3d.py`), whose Sports-1M weights load with or without their `backbone.` prefix; nobody
publishes Kinetics weights of it, so a comparison with it also compares what it was trained on.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

__all__ = ["C3D"]

PLAN = {
    "conv1a": 64,
    "conv2a": 128,
    "conv3a": 256,
    "conv3b": 256,
    "conv4a": 512,
    "conv4b": 512,
    "conv5a": 512,
    "conv5b": 512,
}
POOLS = {"conv2a": (1, 2, 2), "conv3a": (2, 2, 2), "conv4a": (2, 2, 2), "conv5a": (2, 2, 2)}


class C3D(nn.Module):
    """Eight 3 x 3 x 3 convolutions; a pooling belongs to the stage that follows it."""

    def __init__(self) -> None:
        super().__init__()
        before = 3
        for name, channels in PLAN.items():
            parts: OrderedDict[str, nn.Module] = OrderedDict()
            if name in POOLS:
                parts["pool"] = nn.MaxPool3d(POOLS[name])
            parts["conv"] = nn.Conv3d(before, channels, 3, padding=1)
            parts["relu"] = nn.ReLU(inplace=True)
            setattr(self, name, nn.Sequential(parts))
            before = channels

    def stages(self) -> OrderedDict[str, nn.Module]:
        """Its parts in order of use."""
        return OrderedDict(self.named_children())

    def forward(self, x: Tensor) -> Tensor:
        """`(N, 3, T, H, W)` -> `(N, 512, T/8, H/16, W/16)`."""
        for stage in self.children():
            x = stage(x)
        return x
