"""Read video ResNets more often in time, with the weights that they have.

A temporal stride is removed and every later temporal convolution is dilated by it, zero padding
included, so that each second (or fourth) output equals the stock network's exactly. This is the
a-trous algorithm (DeepLab, Chen et al. 2017).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torchvision.models.video.resnet import BasicBlock, VideoResNet

__all__ = ["dilate_time"]


def dilate_time(net: VideoResNet, stride: int) -> None:
    """Lower the temporal stride of the whole network to `stride`, in place.

    The earliest strides stay. Strides are removed from the deepest stages, where that costs least.

    Args:
        net: a torchvision video ResNet.
        stride: the wanted number of input frames per output, at least 1.
    """
    total, dilation = 1, 1
    for group in _groups(net):
        # The convolution that loses its stride still reads neighbors at the old distance; those
        # after it skip the frames that were not there before.
        for conv in group:
            if conv.kernel_size[0] > 1 and dilation > 1:
                conv.dilation = (dilation, *conv.dilation[1:])
                conv.padding = (int(conv.padding[0]) * dilation, *conv.padding[1:])

        step = group[0].stride[0]
        if step == 1:
            continue
        if total * step <= stride:
            total *= step
            continue

        for conv in group:
            conv.stride = (1, *conv.stride[1:])
        dilation *= step


def _groups(net: VideoResNet) -> Iterator[list[nn.Conv3d]]:
    """Yield each convolution of the main path in order.

    One that strides in time is in a group with the shortcut around it, because both lose the stride
    together.
    """
    for conv in _convolutions(net.stem):
        yield [conv]

    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        for block in stage:
            assert isinstance(block, BasicBlock)
            main = [*_convolutions(block.conv1), *_convolutions(block.conv2)]
            shortcut = _convolutions(block.downsample) if block.downsample is not None else []
            # The main path strides in one of its convolutions; without any, the first stands in.
            strided = next((conv for conv in main if conv.stride[0] > 1), main[0])
            for conv in main:
                yield [conv, *shortcut] if conv is strided else [conv]


def _convolutions(part: nn.Module) -> list[nn.Conv3d]:
    """Return the 3D convolutions of a module in order."""
    return [module for module in part.modules() if isinstance(module, nn.Conv3d)]
