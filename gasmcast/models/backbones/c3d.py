"""C3D (Tran et al. 2015, Learning Spatiotemporal Features with 3D Convolutional Networks).

The dense layers are left out. Parameter names are mmaction2's (mmaction/models/backbones/c3d.py),
whose Sports-1M weights load with or without their `backbone.` prefix. Nobody publishes Kinetics
weights of it, so a comparison with it also compares what it was trained on.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

__all__ = ["C3D"]

WIDTHS = {
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


class C3D(nn.Sequential):
    """Eight 3 x 3 x 3 convolutions; a pooling layer belongs to the stage that follows it.

    Maps `(N, 3, T, H, W)` to `(N, 512, T/8, H/16, W/16)`.
    """

    def __init__(self) -> None:
        # The order is the order of use, and the names are those of the published weights.
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        inner = 3
        for name, outer in WIDTHS.items():
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            if name in POOLS:
                layers["pool"] = nn.MaxPool3d(POOLS[name])
            layers["conv"] = nn.Conv3d(inner, outer, 3, padding=1)
            layers["relu"] = nn.ReLU(inplace=True)
            stages[name] = nn.Sequential(layers)
            inner = outer
        super().__init__(stages)
