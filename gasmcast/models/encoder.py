"""The segment encoder: both backbones, their tap projections and the semantic graphs.

Everything that depends on one segment and its predecessor alone is here, so that a sliding window
computes it once per segment. Shapes are written with these letters: B clips, n segments (S in a
whole window), F frames per segment, f semantic frames per segment, P patches, C motion cells,
L fusion layers, D the common width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from gasmcast.config import ModelConfig
from gasmcast.models.attention import DropPath
from gasmcast.models.backbones.motion import MotionBackbone
from gasmcast.models.backbones.normalize import halve
from gasmcast.models.backbones.semantic import SemanticBackbone
from gasmcast.models.graph import SemanticGraph
from gasmcast.models.segment_frames import mean_of_cells, motion_runs, semantic_frames
from gasmcast.models.shape import CELL, PATCH, Features, HeadShape
from gasmcast.models.tap_rows import Taps, TapShapes, pack_rows, unpack_rows
from gasmcast.models.taps import MotionTap, SemanticTap
from gasmcast.spec import ClipSpec

__all__ = ["SegmentEncoder"]


class _SemanticTokens(NamedTuple):
    """Projected tokens of one layer, and where its graph looked."""

    tokens: Tensor
    """`(B n f, P, D)`."""
    edges: Tensor | None
    """`(B n f, heads, P, P)`; None without a semantic graph."""


class SegmentEncoder(nn.Module):
    """Encode pairs (previous, current) of segments to `Features` of the current ones.

    Two-stream encoding follows CAST (Lee et al. 2023, CAST: Cross-Attention in Space and Time).
    Frozen backbones have no trainable weight before the projections, so autograd records nothing
    of them.
    """

    def __init__(self, model: ModelConfig, spec: ClipSpec) -> None:
        super().__init__()
        self.model, self.spec = model, spec
        self.cells = spec.pixels // CELL
        self.patches = HeadShape.of(model, spec).patches

        # The order of these assignments is the order of the state dict: checkpoints rely on it.
        self.semantic_taps, self.motion_taps = nn.ModuleList(), nn.ModuleList()
        self.semantic: SemanticBackbone | None = None
        self.motion: MotionBackbone | None = None
        self.graph_semantic = nn.ModuleList()
        self.drop = DropPath(model.drop_path)
        if model.streams != "motion":
            self._build_semantic()
        if model.streams != "semantic":
            self._build_motion()

        for backbone in self.backbones():
            backbone.requires_grad_(not model.freeze)

    def _build_semantic(self) -> None:
        """Create the semantic backbone, its taps and its graphs."""
        model, layers = self.model, range(self.model.layers)
        self.semantic = SemanticBackbone(model, self.spec.pixels)

        # Under a backbone that trains, the statistics of the taps follow the batches.
        channels, live = self.semantic.channels, not model.freeze
        self.semantic_taps.extend(
            SemanticTap(channels, model.width, live, drop=model.drop_channels) for _ in layers
        )

        if model.graph_semantic != "none":
            grid = HeadShape.of(model, self.spec).grid
            knn = model.graph_semantic == "knn"
            self.graph_semantic.extend(
                SemanticGraph(model.width, model.heads, grid, model.k, knn=knn) for _ in layers
            )

    def _build_motion(self) -> None:
        """Create the motion backbone and its taps; with fewer taps than layers they take turns."""
        model = self.model
        self.motion = MotionBackbone(model, self.spec)
        shapes = self.motion.shapes

        # One tap serves all layers when there is only one.
        self.motion_taps.extend(
            MotionTap(
                shape=shapes[i % len(shapes)],
                cells=self.cells,
                width=model.width,
                live=not model.freeze,
                pooled=model.motion_pool == "pooled",
                drop=model.drop_channels,
            )
            for i in range(model.layers)
        )

    def backbones(self) -> list[nn.Module]:
        """Return the backbones that this model has."""
        return [part for part in (self.semantic, self.motion) if part is not None]

    def forward(self, segments: Tensor) -> Features:
        """Encode `n` segments, each with its predecessor.

        Args:
            segments: `(B, 1 + n, F, H, W, 3)` uint8, the lead-in first; or rows `(B, X)` of `taps`.

        Returns:
            `semantic (B, n, L, f, P, D)` and `motion (B, n, L, C, D)`.
        """
        b = segments.shape[0]
        n = self.spec.segments if segments.dim() == 2 else segments.shape[1] - 1

        # The cast comes first: TensorRT accepts uint8 only as the input of a cast.
        frames = segments.float()
        taps = self._read(frames)
        layers, width = self.model.layers, self.model.width

        if taps.semantic:
            tokens = [layer.tokens for layer in self._semantic_tokens(taps.semantic, b)]
            s = torch.stack(tokens, 1)  # (B n f, L, P, D)
            s = s.reshape(b, n, self.spec.semantic_frames, layers, self.patches, width)
            s = s.transpose(2, 3)  # (B, n, L, f, P, D)
        else:
            s = frames.new_zeros(b, n, layers, self.spec.semantic_frames, 0, width)

        if taps.motion:
            m = torch.stack(self._motion_tokens(taps.motion, b), 2)  # (N, n', L, C, D)
            m = m.reshape(b, n, layers, m.shape[3], width)  # (B, n, L, C, D)
        else:
            m = frames.new_zeros(b, n, layers, 0, width)

        return Features(s, m)

    def edges(self, segments: Tensor) -> list[Tensor]:
        """Return the attention of the semantic graphs.

        Args:
            segments: `(B, 1 + n, F, H, W, 3)` uint8, or rows `(B, X)` of `taps`.

        Returns:
            One `(B n f, heads, P, P)` per layer: axis 2 is the receiving patch, axis 3 the patch
            that it attends to. An empty list without a semantic graph.
        """
        taps = self._read(segments.float())
        layers = self._semantic_tokens(taps.semantic, len(segments))
        return [layer.edges for layer in layers if layer.edges is not None]

    def fit(self, segments: Tensor) -> None:
        """Add one more batch of clips to the statistics of the taps."""
        read = self._read(segments.float())
        for modules, taps in ((self.semantic_taps, read.semantic), (self.motion_taps, read.motion)):
            for i, module in enumerate(modules):
                assert isinstance(module, (SemanticTap, MotionTap))
                module.standard.fit(taps[i % len(taps)])

    def taps(self, segments: Tensor) -> Tensor:
        """Return what the frozen backbones compute, before anything that trains.

        Args:
            segments: `(B, 1 + S, F, H, W, 3)` uint8.

        Returns:
            Rows `(B, X)` of a feature cache: a clip's semantic taps in order, then its motion taps.
            `forward`, `edges` and `fit` take them instead of `segments`.
        """
        return pack_rows(self._read(segments.float()), len(segments))

    def tap_shapes(self) -> TapShapes:
        """Return the shapes of one clip's taps, in the order of a row of `taps`."""
        n, f = self.spec.segments, self.spec.semantic_frames

        semantic: list[tuple[int, ...]] = []
        if self.semantic is not None:
            shape = (n, f, self.patches, self.semantic.channels)
            semantic = [shape] * len(self.model.semantic_taps)

        # Motion maps are stored as `MotionTap.lay` returns them, before they are cut into patches.
        motion: list[tuple[int, ...]] = []
        for tap in self._motion_stages():
            side = 1 if tap.pooled else self.cells * tap.patch
            motion.append((n, side, side, tap.standard.mean.shape[0]))

        return TapShapes(semantic, motion)

    def _semantic_tokens(self, taps: list[Tensor], clips: int) -> Iterator[_SemanticTokens]:
        """Project each layer's tap and let the patches of a frame attend to each other."""
        for i, module in enumerate(self.semantic_taps):
            tokens, edges = module(taps[i % len(taps)], clips), None

            if self.graph_semantic:
                messages, edges = self.graph_semantic[i](tokens)
                # The branch is dropped for whole clips, so frames of a clip share one mask.
                messages = self.drop(messages.reshape(clips, -1, self.model.width))
                tokens = tokens + messages.reshape(tokens.shape)  # (B n f, P, D)

            yield _SemanticTokens(tokens, edges)

    def _motion_tokens(self, taps: list[Tensor], clips: int) -> list[Tensor]:
        """Project each layer's tap to `(N, n', C, D)`."""
        return [module(taps[i % len(taps)], clips) for i, module in enumerate(self.motion_taps)]

    def _read(self, frames: Tensor) -> Taps:
        """Run both backbones on `(B, 1 + n, F, H, W, 3)` float, or unpack rows `(B, X)`."""
        if frames.dim() == 2:
            whole_clip = self.model.motion_context == "clip"
            segments_per_run = self.spec.segments if whole_clip else 1
            return unpack_rows(frames, self.tap_shapes(), segments_per_run=segments_per_run)
        return Taps(self._semantic(frames), self._motion(frames))

    def _semantic(self, frames: Tensor) -> list[Tensor]:
        """Return the semantic taps `(B n f, P, channels)` of `(B, 1 + n, F, H, W, 3)`."""
        if self.semantic is None:
            return []
        b, n_with_lead_in, _, h, w, _ = frames.shape
        n = n_with_lead_in - 1

        # The semantic stream does not look at the lead-in.
        chosen = semantic_frames(frames[:, 1:], self.spec)  # (B, n, f, H, W, 3)
        chosen = chosen.reshape(b * n * self.spec.semantic_frames, h, w, 3)  # (B n f, H, W, 3)
        taps: list[Tensor] = self.semantic(chosen)  # (B n f, P, channels) each

        # The coarse variant has one token per motion cell, a quarter of them.
        if self.model.semantic_tokens == "cell":
            return [mean_of_cells(tap, h // PATCH) for tap in taps]
        return taps

    def _motion(self, frames: Tensor) -> list[Tensor]:
        """Return the motion taps `(N, n', h, w, channels)` of `(B, 1 + n, F, H, W, 3)`."""
        if self.motion is None:
            return []
        small = frames if self.motion.full_size else halve(frames)  # (B, 1 + n, F, h, w, 3)
        runs = motion_runs(small, self.model.motion_context)
        maps = self.motion(runs.frames)  # (N, channels, T', h', w') each

        return [
            module.lay(stage_map, runs.parts, later_half=runs.later_half)
            for module, stage_map in zip(self._motion_stages(), maps, strict=True)
        ]

    def _motion_stages(self) -> list[MotionTap]:
        """Return the first tap module of each stage that the motion backbone returns."""
        if self.motion is None:
            return []
        # Two layers may read one stage; its map is laid once, by the first of their modules.
        first: dict[str, int] = {}
        for i, stage in enumerate(self.motion.taps):
            first.setdefault(stage, i)
        return [cast("MotionTap", self.motion_taps[first[stage]]) for stage in self.motion.taps]
