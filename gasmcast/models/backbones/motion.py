"""The motion stream's backbone: a 3D convolutional network read at several stages."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.video import S3D
from torchvision.models.video.resnet import VideoResNet

from gasmcast.config import ModelConfig
from gasmcast.errors import UsageError
from gasmcast.models.backbones.atrous import dilate_time
from gasmcast.models.backbones.c3d import C3D
from gasmcast.models.backbones.i3d import I3D
from gasmcast.models.backbones.normalize import Normalize
from gasmcast.models.backbones.tiny import TinyMotion
from gasmcast.models.backbones.pretrained import pretrained_motion
from gasmcast.models.backbones.weights import load_strictly, read_tensors, starts_with_any
from gasmcast.models.shape import CELL
from gasmcast.spec import ClipSpec

__all__ = ["MOTION_NAMES", "MotionBackbone"]

MOTION_NAMES = ("r3d_18", "r2plus1d_18", "mc3_18", "s3d", "i3d", "c3d", "tiny")

KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
IMAGENET_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # [-1, 1]
SPORTS1M = (
    (104 / 255, 117 / 255, 128 / 255),
    (1 / 255, 1 / 255, 1 / 255),
)  # RGB less [104, 117, 128], as mmaction2 feeds C3D
PIXELS = {"i3d": IMAGENET_HALF, "c3d": SPORTS1M}  # the others: KINETICS
FULL_SIZE = (
    "s3d",
    "i3d",
)  # stride 32, trained at 224 px; the others have stride 16, trained at 112 px
STAGE_NAMES = {
    "s3d": {"layer2": "6", "layer3": "12", "layer4": "15"},
    "i3d": {"layer2": "Mixed_3c", "layer3": "Mixed_4f", "layer4": "Mixed_5c"},
    "c3d": {"layer2": "conv3b", "layer3": "conv4b", "layer4": "conv5b"},
}


class MotionBackbone(nn.Module):
    """Feature maps of chosen stages over a run of frames.

    `layer2`, `layer3`, `layer4` name a stage of spatial stride 1/4, 1/2 and 1 of a cell in every backbone; I3D, C3D and
    S3D also take their own stage names.
    """

    def __init__(self, model: ModelConfig, spec: ClipSpec) -> None:
        super().__init__()
        self.name = model.motion_backbone
        self.taps = model.motion_taps
        self.full_size = self.name in FULL_SIZE
        self.normalize = Normalize(*PIXELS.get(self.name, KINETICS))
        net = _create(self.name)
        if model.motion_context == "clip":
            _fit_to_clip(net, self.name, spec)
        stages = _stages(net)
        aliases = STAGE_NAMES.get(self.name, {})
        self.stage_of = [aliases.get(tap, tap) for tap in self.taps]
        unknown = next(
            (
                tap
                for tap, stage in zip(self.taps, self.stage_of, strict=True)
                if stage not in stages
            ),
            None,
        )
        if unknown:
            known = ", ".join([*aliases, *stages])
            raise UsageError(
                f"motion_taps: {self.name} has no stage {unknown!r}.", f"It has {known}."
            )
        last = max(list(stages).index(stage) for stage in self.stage_of)
        self.net = nn.ModuleDict(OrderedDict(list(stages.items())[: last + 1]))
        self.shed = [name for name in stages if name not in self.net]
        self.frames = {
            "previous": 2 * spec.motion_frames,
            "segment": spec.motion_frames,
            "clip": spec.segments * spec.motion_frames,
        }[model.motion_context]
        self.size = spec.pixels if self.full_size else spec.pixels // 2
        self.shapes = self._measure()
        cells = spec.pixels // CELL
        for tap, (_, _, height, width) in zip(self.taps, self.shapes, strict=True):
            if height % cells or width != height:
                raise UsageError(
                    f"motion_taps: stage {tap} of {self.name} gives a map of {height} x {width}, no multiple of {cells} x {cells} cells.",
                    "Choose another stage.",
                )
        uneven = next(
            (
                tap
                for tap, shape in zip(self.taps, self.shapes, strict=True)
                if shape[1] % spec.segments
            ),
            None,
        )
        if model.motion_context == "clip" and uneven:
            raise UsageError(
                f"motion_context clip: {self.name} has no whole number of maps a segment at {uneven}.",
                "Use more motion frames.",
            )

    def _measure(self) -> list[tuple[int, int, int, int]]:
        """`(channels, time, height, width)` of each tap, by running the network on shapes alone."""
        shadow = copy.deepcopy(self.net).to("meta").eval()
        try:
            maps = _run(
                shadow,
                torch.empty(1, 3, self.frames, self.size, self.size, device="meta"),
                self.stage_of,
            )
        except RuntimeError as error:
            raise UsageError(
                f"{self.name} cannot take {self.frames} frames of {self.size} px ({str(error).splitlines()[0]}).",
                "Use more motion frames, an earlier stage, or motion_context: previous.",
            ) from None
        return [(m.shape[1], m.shape[2], m.shape[3], m.shape[4]) for m in maps]

    def load(self, weights: str) -> None:
        """Load `pretrained` (by torchvision, from the network or its cache), a file, or leave it `random`.

        Raises:
            MachineError: pretrained weights that can be neither downloaded nor found.
            UsageError: a file that does not fit, or a backbone that nobody publishes weights for.
        """
        if weights == "random":
            return
        if weights == "pretrained":
            if self.name in ("tiny", "i3d", "c3d"):
                raise UsageError(
                    f"Nobody publishes weights of {self.name} that gasmcast can download.",
                    "Give a file with --motion-weights FILE, or --motion-weights random.",
                )
            file = pretrained_motion(self.name)
            tensors, where = read_tensors(file), f"torchvision {self.name}"
        else:
            tensors, where = read_tensors(Path(weights)), weights
        prefix = {"s3d": "features.", "c3d": "backbone."}.get(
            self.name, ""
        )  # torchvision's and mmaction2's wrapping
        named = {f"net.{name.removeprefix(prefix)}": value for name, value in tensors.items()}
        spare = [f"net.{stage}." for stage in self.shed]
        load_strictly(
            self,
            named,
            where,
            starts_with_any([*spare, "net.fc", "net.classifier.", "net.Logits.", "net.cls_head."]),
        )

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Maps of each tap.

        Args:
            frames: `(N, T, h, w, 3)` float RGB, 0..255, at the clip's size or, unless `full_size`, halved.

        Returns:
            one `(N, channels, T', H', W')` a tap.
        """
        return _run(self.net, self.normalize(frames).permute(0, 4, 1, 2, 3), self.stage_of)


def _run(net: nn.ModuleDict, x: Tensor, wanted: list[str]) -> list[Tensor]:
    found = {}
    for name, stage in net.items():
        x = stage(x)
        if name in wanted:
            found[name] = x
    return [found[name] for name in wanted]


def _create(name: str) -> nn.Module:
    """The whole network, untrained.

    Raises:
        UsageError: no such network, or one without 3D stages.
    """
    own: dict[str, type[nn.Module]] = {"tiny": TinyMotion, "i3d": I3D, "c3d": C3D}
    if name in own:
        return own[name]()
    video = torchvision.models.list_models(module=torchvision.models.video)
    if name not in video:
        raise UsageError(f"No motion backbone {name!r}.", f"Known: {', '.join(MOTION_NAMES)}.")
    net: nn.Module = torchvision.models.get_model(name, weights=None)
    if not isinstance(net, (VideoResNet, S3D)):
        raise UsageError(
            f"{name} is no 3D ResNet: it has no maps on the grid of cells at strides 4, 8 and 16.",
            f"Use {', '.join(MOTION_NAMES)}.",
        )
    network: nn.Module = net
    return network


def _stages(net: nn.Module) -> OrderedDict[str, nn.Module]:
    if isinstance(net, VideoResNet):
        return OrderedDict(
            (name, getattr(net, name)) for name in ("stem", "layer1", "layer2", "layer3", "layer4")
        )
    if isinstance(net, S3D):
        return OrderedDict(net.features.named_children())
    assert isinstance(net, (TinyMotion, I3D, C3D))
    stages: OrderedDict[str, nn.Module] = net.stages()
    return stages


def _fit_to_clip(net: nn.Module, name: str, spec: ClipSpec) -> None:
    """Let a network that sees the whole clip give at least one map a segment."""
    if isinstance(net, VideoResNet):
        dilate_time(net, math.gcd(spec.motion_frames, 8))
    elif spec.motion_frames % 8 and not isinstance(net, TinyMotion):
        raise UsageError(
            f"motion_context clip: {name} strides 8 frames, a segment has {spec.motion_frames}.",
            "Use r3d_18, or 8 motion frames a segment.",
        )
