"""The backbone of the motion stream: a 3D convolutional network that is read at several stages."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from gasmcast.config import ModelConfig
from gasmcast.errors import UsageError
from gasmcast.models.backbones.normalize import Normalize
from gasmcast.models.backbones.pretrained import pretrained_motion
from gasmcast.models.backbones.video_network import (
    FULL_SIZE,
    KINETICS,
    PIXELS,
    STAGE_NAMES,
    UNPUBLISHED,
    create_network,
    split_stages,
)
from gasmcast.models.backbones.weight_files import load_strictly, read_weights, starts_with_any
from gasmcast.models.shape import CELL
from gasmcast.spec import ClipSpec

__all__ = ["MotionBackbone"]

# Prefixes that torchvision and mmaction2 put before the names of stages.
PREFIXES = {"s3d": "features.", "c3d": "backbone."}
CLASSIFIERS = ("net.fc", "net.classifier.", "net.Logits.", "net.cls_head.")


class MotionBackbone(nn.Module):
    """Feature maps of chosen stages over a run of frames, by default R3D-18 (Tran et al. 2018).

    `layer2`, `layer3` and `layer4` name a stage of spatial stride 1/4, 1/2 and 1 of a cell in every
    backbone; I3D, C3D and S3D also take their own stage names.
    """

    def __init__(self, model: ModelConfig, spec: ClipSpec) -> None:
        super().__init__()
        whole_clip = model.motion_context == "clip"
        self.name = model.motion_backbone
        self.taps = model.motion_taps
        self.full_size = self.name in FULL_SIZE
        net = create_network(self.name, clip=spec if whole_clip else None)
        self.normalize = Normalize(*PIXELS.get(self.name, KINETICS))

        # Stages after the last tap are not computed, so they are not built.
        stages = split_stages(net)
        self.stage_of = _resolve(self.name, self.taps, list(stages))
        last = max(list(stages).index(stage) for stage in self.stage_of)
        self.net = nn.ModuleDict(OrderedDict(list(stages.items())[: last + 1]))
        self.removed = [name for name in stages if name not in self.net]

        self.frames = {
            "previous": 2 * spec.motion_frames,
            "segment": spec.motion_frames,
            "clip": spec.segments * spec.motion_frames,
        }[model.motion_context]
        self.size = spec.pixels if self.full_size else spec.pixels // 2
        self.shapes = self._measure()
        self._check_shapes(spec, whole_clip=whole_clip)

    def _measure(self) -> list[tuple[int, int, int, int]]:
        """Return `(channels, time, height, width)` of each tap, from a run on the meta device."""
        # Shapes depend on the clip spec in ways that no formula covers for every network.
        shadow = copy.deepcopy(self.net).to("meta").eval()
        frames = torch.empty(1, 3, self.frames, self.size, self.size, device="meta")
        try:
            maps = _run(shadow, frames, self.stage_of)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UsageError(
                f"{self.name} cannot take {self.frames} frames of {self.size} px ({reason}).",
                "Use more motion frames, an earlier stage, or motion_context: previous.",
            ) from None
        return [(m.shape[1], m.shape[2], m.shape[3], m.shape[4]) for m in maps]

    def _check_shapes(self, spec: ClipSpec, *, whole_clip: bool) -> None:
        """Raise UsageError for maps that do not fall onto the cells and segments of the spec."""
        cells = spec.pixels // CELL
        for tap, (_, time, height, width) in zip(self.taps, self.shapes, strict=True):
            # Only a square map that nests with the cells needs no resampling.
            if height % cells or width != height:
                raise UsageError(
                    f"motion_taps: stage {tap} of {self.name} gives a map of {height} x {width},"
                    f" no multiple of {cells} x {cells} cells.",
                    "Choose another stage.",
                )

            # Each segment must own the same number of maps.
            if whole_clip and time % spec.segments:
                raise UsageError(
                    f"motion_context clip: {self.name} has no whole number of maps a segment at"
                    f" {tap}.",
                    "Use more motion frames.",
                )

    def load(self, weights: str) -> None:
        """Load weights.

        Args:
            weights: `pretrained` (torchvision's, downloaded once), the path of a
                file, or `random` to keep the initial weights.

        Raises:
            MachineError: pretrained weights can be neither downloaded nor found.
            UsageError: a file does not fit, or nobody publishes weights of this backbone.
        """
        if weights == "random":
            return
        if weights == "pretrained":
            tensors, where = self._pretrained(), f"torchvision {self.name}"
        else:
            tensors, where = read_weights(Path(weights)), weights

        # Weights of stages that were not built, and of classifiers, are expected leftovers.
        prefix = PREFIXES.get(self.name, "")
        renamed = {f"net.{name.removeprefix(prefix)}": value for name, value in tensors.items()}
        removed = [f"net.{stage}." for stage in self.removed]
        load_strictly(self, renamed, where, starts_with_any([*removed, *CLASSIFIERS]))

    def _pretrained(self) -> dict[str, Tensor]:
        """Return torchvision's default weights, by torchvision's names."""
        if self.name in UNPUBLISHED:
            raise UsageError(
                f"Nobody publishes weights of {self.name} that gasmcast can download.",
                "Give a file with --motion-weights FILE, or --motion-weights random.",
            )
        return read_weights(pretrained_motion(self.name))

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Return the maps of each tap.

        Args:
            frames: `(N, T, h, w, 3)` float RGB in 0..255, at the clip's size or, unless
                `full_size`, halved.

        Returns:
            One `(N, channels, T', H', W')` per tap.
        """
        x = self.normalize(frames).permute(0, 4, 1, 2, 3)  # (N, 3, T, h, w)
        return _run(self.net, x, self.stage_of)


def _resolve(name: str, taps: Sequence[str], stages: list[str]) -> list[str]:
    """Return the stage of each tap, by the network's own names."""
    aliases = STAGE_NAMES.get(name, {})
    resolved = [aliases.get(tap, tap) for tap in taps]
    for tap, stage in zip(taps, resolved, strict=True):
        if stage not in stages:
            known = ", ".join([*aliases, *stages])
            raise UsageError(f"motion_taps: {name} has no stage {tap!r}.", f"It has {known}.")
    return resolved


def _run(net: nn.ModuleDict, x: Tensor, wanted: list[str]) -> list[Tensor]:
    """Run the stages in order and return the maps of the wanted ones."""
    maps = {}
    for name, stage in net.items():
        x = stage(x)
        if name in wanted:
            maps[name] = x
    return [maps[name] for name in wanted]
