"""The segment encoder: both backbones, their tap projections and the semantic graphs, on pairs of segments.

All that depends on one segment alone is here, so that a window that slides pays for it once.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import prod
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from gasmcast.config import ModelConfig
from gasmcast.models.attention import DropPath
from gasmcast.models.backbones.motion import MotionBackbone
from gasmcast.models.backbones.normalize import halve
from gasmcast.models.backbones.semantic import SemanticBackbone
from gasmcast.models.graph import SemanticGraph
from gasmcast.models.shape import CELL, PATCH, HeadShape
from gasmcast.models.taps import MotionTap, SemanticTap
from gasmcast.spec import ClipSpec

__all__ = ["Features", "SegmentEncoder"]


class Features(NamedTuple):
    """Projected taps of `n` segments: all that the fusion head sees.

    A model with one stream has a tensor without elements for the other.
    """

    semantic: Tensor
    """`(B, n, L, f, P, D)`."""
    motion: Tensor
    """`(B, n, L, C, D)`."""


class SegmentEncoder(nn.Module):
    """Pairs (previous, current) of segments -> `Features` of the current ones.

    Frozen backbones have no trainable weight before the projections, so autograd records nothing of them.
    """

    def __init__(self, model: ModelConfig, spec: ClipSpec) -> None:
        super().__init__()
        self.model, self.spec = model, spec
        self.cells = spec.pixels // CELL
        self.patches = HeadShape.of(model, spec).patches
        live = not model.freeze
        layers = range(model.layers)
        self.semantic_taps, self.motion_taps = nn.ModuleList(), nn.ModuleList()
        self.semantic: SemanticBackbone | None = None
        self.motion: MotionBackbone | None = None
        self.graph_semantic = nn.ModuleList()
        self.drop = DropPath(model.drop_path)
        if model.streams != "motion":
            self.semantic = SemanticBackbone(model, spec.pixels)
            self.semantic_taps = nn.ModuleList(
                [
                    SemanticTap(self.semantic.channels, model.width, live, drop=model.drop_channels)
                    for _ in layers
                ]
            )
            if model.graph_semantic != "none":
                grid, knn = HeadShape.of(model, spec).grid, model.graph_semantic == "knn"
                self.graph_semantic.extend(
                    SemanticGraph(model.width, model.heads, grid, model.k, knn=knn) for _ in layers
                )
        if model.streams != "semantic":
            self.motion = MotionBackbone(model, spec)
            pooled = model.motion_pool == "pooled"
            self.motion_taps = nn.ModuleList(
                MotionTap(
                    self.motion.shapes[i % len(self.motion.shapes)],
                    self.cells,
                    model.width,
                    live,
                    pooled,
                    drop=model.drop_channels,
                )
                for i in layers
            )
        for backbone in self.backbones():
            backbone.requires_grad_(not model.freeze)

    def backbones(self) -> list[nn.Module]:
        """The backbones there are."""
        return [part for part in (self.semantic, self.motion) if part is not None]

    def forward(self, segments: Tensor) -> Features:
        """Encode `n` segments, each with its predecessor.

        Args:
            segments: `(B, 1 + n, F, H, W, 3)` uint8, the lead-in first; or rows of `taps`, `(B, X)`.
        """
        layers, width = self.model.layers, self.model.width
        b, n = (
            segments.shape[0],
            self.spec.segments if segments.dim() == 2 else segments.shape[1] - 1,
        )
        frames = segments.float()  # first of all: TensorRT takes uint8 only into a cast
        semantic, motion = self._read(frames)
        if semantic:
            told = [tokens for tokens, _ in self._semantic_tokens(semantic, b)]
            s = (
                torch.stack(told, 1)
                .reshape(b, n, self.spec.semantic_frames, layers, self.patches, width)
                .transpose(2, 3)
            )
        else:
            s = frames.new_zeros(b, n, layers, self.spec.semantic_frames, 0, width)
        if motion:
            m = torch.stack(
                [tap(motion[i % len(motion)], b) for i, tap in enumerate(self.motion_taps)], 2
            )  # (N, n', L, C, D)
            m = m.reshape(b, n, layers, m.shape[3], width)
        else:
            m = frames.new_zeros(b, n, layers, 0, width)
        return Features(s, m)

    def edges(self, segments: Tensor) -> list[Tensor]:
        """Where the patches of each frame looked, by layer: `(B n f, heads, P, P)`; nothing without a semantic graph."""
        semantic, _ = self._read(segments.float())
        return [
            edges
            for _, edges in self._semantic_tokens(semantic, len(segments))
            if edges is not None
        ]

    def _semantic_tokens(
        self, semantic: list[Tensor], clips: int
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Each layer's tokens `(B n f, P, D)`, told by the patches of their own frame, and that graph's attention."""
        for i, tap in enumerate(self.semantic_taps if semantic else ()):
            tokens, edges = tap(semantic[i % len(semantic)], clips), None
            if self.graph_semantic:
                told, edges = self.graph_semantic[i](tokens)
                tokens = tokens + self.drop(told.reshape(clips, -1, self.model.width)).reshape(
                    tokens.shape
                )
            yield tokens, edges

    def fit(self, segments: Tensor) -> None:
        """Take one more batch of clips into the taps' statistics."""
        semantic, motion = self._read(segments.float())
        for taps, read in ((self.semantic_taps, semantic), (self.motion_taps, motion)):
            for i, tap in enumerate(taps):
                assert isinstance(tap, (SemanticTap, MotionTap))
                tap.standard.fit(read[i % len(read)])

    def taps(self, segments: Tensor) -> Tensor:
        """What the frozen backbones give of whole clips, before anything that trains: the rows of a feature cache.

        Args:
            segments: `(B, 1 + S, F, H, W, 3)` uint8.

        Returns:
            `(B, X)`: a clip's semantic taps one after another, then its motion taps; `forward` and `fit` take it instead of `segments`.
        """
        semantic, motion = self._read(segments.float())
        return torch.cat([x.reshape(len(segments), -1) for x in (*semantic, *motion)], 1)

    def tap_shapes(self) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """What a row of `taps` is made of: `(S, f, P, channels)` each semantic tap, `(S, h, w, channels)` each motion tap."""
        n = self.spec.segments
        semantic: list[tuple[int, ...]] = []
        if self.semantic is not None:
            semantic = [(n, self.spec.semantic_frames, self.patches, self.semantic.channels)] * len(
                self.model.semantic_taps
            )
        motion: list[tuple[int, ...]] = []
        for tap in self._motion_stages():
            side = 1 if tap.pooled else self.cells * tap.patch
            motion.append((n, side, side, tap.standard.mean.shape[0]))
        return semantic, motion

    def _unpack(self, rows: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """`_read`'s result from rows of `taps`."""
        semantic, motion = self.tap_shapes()
        parts = torch.split(rows, [prod(shape) for shape in (*semantic, *motion)], 1)
        frames = [
            part.reshape(-1, *shape[2:]) for part, shape in zip(parts, semantic, strict=False)
        ]
        runs = (-1, self.spec.segments) if self.model.motion_context == "clip" else (-1, 1)
        return frames, [
            part.reshape(*runs, *shape[1:])
            for part, shape in zip(parts[len(semantic) :], motion, strict=True)
        ]

    def _motion_stages(self) -> list[MotionTap]:
        """The first tap of each stage that the motion backbone gives."""
        if self.motion is None:
            return []
        first = {stage: i for i, stage in reversed(list(enumerate(self.motion.taps)))}
        return [cast("MotionTap", self.motion_taps[first[stage]]) for stage in self.motion.taps]

    def _read(self, frames: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Taps before standardization: `(B n f, P, channels)` and `(N, n', h, w, channels)` each."""
        if frames.dim() == 2:
            return self._unpack(frames)
        b, n1, f, h, w, _ = frames.shape
        semantic: list[Tensor] = []
        if self.semantic is not None:
            chosen = self._semantic_frames(frames[:, 1:])
            semantic = self.semantic(
                chosen.reshape(b * (n1 - 1) * self.spec.semantic_frames, h, w, 3)
            )
            if self.model.semantic_tokens == "cell":
                semantic = [_mean_of_cells(tap, h // PATCH) for tap in semantic]
        motion: list[Tensor] = []
        if self.motion is not None:
            context = self.model.motion_context
            small = frames if self.motion.full_size else halve(frames)
            if context == "previous":
                small = torch.cat([small[:, :-1], small[:, 1:]], 2)
            runs = small[:, -(n1 - 1) :].flatten(0, 1)  # a pair each, or a segment each
            if context == "clip":
                runs = runs.reshape(b, (n1 - 1) * f, *runs.shape[2:])
            stretches = n1 - 1 if context == "clip" else 1
            maps = self.motion(runs)
            for tap, found in zip(self._motion_stages(), maps, strict=True):
                motion.append(tap.lay(found, stretches, later_half=context == "previous"))
        return semantic, motion

    def _semantic_frames(self, frames: Tensor) -> Tensor:
        """`(B, n, F, H, W, 3)` -> `(B, n, f, H, W, 3)`, by a strided slice where the frames are evenly apart."""
        indices = self.spec.semantic_indices
        steps = {b - a for a, b in pairwise(indices)} or {self.spec.motion_frames}
        if len(steps) == 1:
            return frames[:, :, indices[0] : indices[-1] + 1 : steps.pop()]
        return torch.stack([frames[:, :, i] for i in indices], 2)


def _mean_of_cells(tokens: Tensor, side: int) -> Tensor:
    """`(N, P, channels)` -> `(N, P / 4, channels)`: the four patches of a motion cell as one."""
    n, _, channels = tokens.shape
    u = CELL // PATCH
    cells = tokens.reshape(n, side // u, u, side // u, u, channels)
    return cells.mean((2, 4)).reshape(n, -1, channels)
