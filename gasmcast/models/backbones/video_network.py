"""Create the 3D convolutional networks of the motion stream and cut them into stages."""

from __future__ import annotations

import math
from collections import OrderedDict

import torchvision
from torch import nn
from torchvision.models.video import S3D
from torchvision.models.video.resnet import VideoResNet

from gasmcast.errors import UsageError
from gasmcast.models.backbones.atrous import dilate_time
from gasmcast.models.backbones.c3d import C3D
from gasmcast.models.backbones.i3d import I3D
from gasmcast.models.backbones.tiny import TinyMotion
from gasmcast.spec import ClipSpec

__all__ = [
    "FULL_SIZE",
    "KINETICS",
    "PIXELS",
    "STAGE_NAMES",
    "UNPUBLISHED",
    "create_network",
    "split_stages",
]

MOTION_NAMES = ("r3d_18", "r2plus1d_18", "mc3_18", "s3d", "i3d", "c3d", "tiny")
"""Backbones with maps at the strides of a motion cell."""
UNPUBLISHED = ("tiny", "i3d", "c3d")
"""Backbones without weights that torchvision can download."""
FULL_SIZE = ("s3d", "i3d")
"""Backbones of stride 32, trained at 224 px; the others have stride 16, trained at 112 px."""

# Mean and standard deviation per channel, on pixels in 0..1.
KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
SYMMETRIC = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # [-1, 1]
SPORTS1M = (
    # mmaction2 feeds C3D with RGB minus [104, 117, 128], not divided by 255.
    (104 / 255, 117 / 255, 128 / 255),
    (1 / 255, 1 / 255, 1 / 255),
)
PIXELS = {"i3d": SYMMETRIC, "c3d": SPORTS1M}
"""Normalization of the backbones that were not trained with `KINETICS`."""
STAGE_NAMES = {
    "s3d": {"layer2": "6", "layer3": "12", "layer4": "15"},
    "i3d": {"layer2": "Mixed_3c", "layer3": "Mixed_4f", "layer4": "Mixed_5c"},
    "c3d": {"layer2": "conv3b", "layer3": "conv4b", "layer4": "conv5b"},
}
"""Stages of spatial stride 1/4, 1/2 and 1 of a cell, by a name that all backbones share."""


def create_network(name: str, *, clip: ClipSpec | None) -> nn.Module:
    """Create a whole network, untrained.

    Args:
        name: one of `MOTION_NAMES`.
        clip: the clip spec, when the network sees whole clips and must give a map per segment.

    Raises:
        UsageError: there is no such network, or it has no suitable stages.
    """
    net = _create(name)
    if clip is not None:
        _fit_to_clip(net, name, clip)
    return net


def split_stages(net: nn.Module) -> OrderedDict[str, nn.Module]:
    """Return the stages of a network in order of use, without its classifier."""
    if isinstance(net, VideoResNet):
        names = ("stem", "layer1", "layer2", "layer3", "layer4")
        return OrderedDict((name, getattr(net, name)) for name in names)
    if isinstance(net, S3D):
        return OrderedDict(net.features.named_children())
    return OrderedDict(net.named_children())


def _create(name: str) -> nn.Module:
    """Create a network of this project or of torchvision."""
    ours: dict[str, type[nn.Module]] = {"tiny": TinyMotion, "i3d": I3D, "c3d": C3D}
    if name in ours:
        return ours[name]()

    # Video transformers of torchvision have no maps on a grid that nests with the cells.
    if name not in torchvision.models.list_models(module=torchvision.models.video):
        raise UsageError(f"No motion backbone {name!r}.", f"Known: {', '.join(MOTION_NAMES)}.")
    net: nn.Module = torchvision.models.get_model(name, weights=None)
    if not isinstance(net, (VideoResNet, S3D)):
        raise UsageError(
            f"{name} is no 3D ResNet: it has no maps on the grid of cells at strides 4, 8 and 16.",
            f"Use {', '.join(MOTION_NAMES)}.",
        )
    network: nn.Module = net
    return network


def _fit_to_clip(net: nn.Module, name: str, spec: ClipSpec) -> None:
    """Make a network that sees the whole clip give at least one map per segment."""
    if isinstance(net, VideoResNet):
        dilate_time(net, math.gcd(spec.motion_frames, 8))
    elif spec.motion_frames % 8 and not isinstance(net, TinyMotion):
        raise UsageError(
            f"motion_context clip: {name} strides 8 frames, a segment has {spec.motion_frames}.",
            "Use r3d_18, or 8 motion frames a segment.",
        )
