"""Names and shapes of a model's attention maps, the same in PyTorch and in an exported twin.

A map is the softmax of one attention module, averaged over its heads and put into the order of the
clip: frames or segments, then patches or cells. The module imports without torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from gasmcast.config import ModelConfig
from gasmcast.models.shape import HeadShape
from gasmcast.spec import ClipSpec

__all__ = ["MapLayout", "encoder_maps", "head_maps", "stream_names"]


@dataclass(frozen=True)
class MapLayout:
    """Way from an attention module's weights, averaged over heads, to a map of the clip.

    Apply a reshape to `(-1, *split)`, a transposition by `order` (empty: none), and a reshape to
    `(-1, *shape)`.
    """

    module: str
    """Path of the attention module in the model."""
    split: tuple[int, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]
    """Shape of the map without its batch."""


def encoder_maps(model: ModelConfig, spec: ClipSpec) -> dict[str, MapLayout]:
    """Return the maps of one encoded segment: `semantic_graph.<layer>` of shape `(f, P, P)`.

    Axis 1 is the receiving patch, axis 2 the patch that it attends to.
    """
    if model.streams == "motion" or model.graph_semantic == "none":
        return {}
    patches = HeadShape.of(model, spec).patches
    shape = (spec.semantic_frames, patches, patches)
    return {
        f"semantic_graph.{i}": _plain(f"encoder.graph_semantic.{i}", shape)
        for i in range(model.layers)
    }


def head_maps(model: ModelConfig, spec: ClipSpec) -> dict[str, MapLayout]:
    """Return the maps of a window.

    With T semantic frames, f of them in each of S segments, P patches and C motion cells:

    - `read_out.semantic (T, P)` and `read_out.motion (S, C)`: pooling weights, their sum is 1. A
      guarded model also has `read_out.fused_semantic` and `read_out.fused_motion`.
    - `motion_graph.<layer> (S, S)`: receiving segment, attended segment.
    - `semantic_from_motion.<layer> (T, P, S)`: the segments that each patch listens to, in its own
      cell; `(T, P, S, C)` with `attention_window: full`.
    - `motion_from_semantic.<layer> (S, C, f, P)`: the patches that each cell of a segment listens
      to; `(S, C, T, P)` with `attention_window: full`.
    """
    z = HeadShape.of(model, spec)
    maps: dict[str, MapLayout] = {}
    for name in _read_outs(model):
        semantic = name.endswith("semantic")
        shape = (z.frames, z.patches) if semantic else (z.segments, z.motion_tokens)
        maps[f"read_out.{name}"] = _plain(f"head.readouts.{name}", shape)

    exchanges = model.streams == "both" and model.fusion in ("bcast", "full")
    for i in range(model.layers):
        layer = f"head.layers.{i}"
        if model.streams != "semantic" and model.graph_motion != "none":
            shape = (z.segments, z.segments)
            maps[f"motion_graph.{i}"] = _plain(f"{layer}.graph_motion", shape)
        if exchanges and model.direction != "to_motion":
            maps[f"semantic_from_motion.{i}"] = _to_semantic(model, z, layer)
        if exchanges and model.direction != "to_semantic":
            maps[f"motion_from_semantic.{i}"] = _to_motion(model, z, layer)
    return maps


def stream_names(model: ModelConfig) -> tuple[str, ...]:
    """Return the read-outs whose logits an exported twin gives beside the model's."""
    return tuple(_read_outs(model))


def _read_outs(model: ModelConfig) -> list[str]:
    """Return the names of the model's read-outs, as in `FusionHead.readouts`."""
    if model.streams != "both":
        return [model.streams]
    fused = model.read_out == "guarded" and model.fusion != "late"
    return ["semantic", "motion", *(["fused_semantic", "fused_motion"] if fused else [])]


def _plain(module: str, shape: tuple[int, ...]) -> MapLayout:
    return MapLayout(module, shape, (), shape)


def _to_semantic(model: ModelConfig, z: HeadShape, layer: str) -> MapLayout:
    module = f"{layer}.exchange.to_semantic"
    if model.attention_window == "full":
        return _plain(module, (z.frames, z.patches, z.segments, z.motion_tokens))

    # The windows are cells, row by row: (c, c) outside, time and the patches of the cell inside.
    c, u = z.cells, z.grid // z.cells
    split = (c, c, z.frames, u, u, z.segments)
    return MapLayout(module, split, (0, 3, 1, 4, 2, 5, 6), (z.frames, z.patches, z.segments))


def _to_motion(model: ModelConfig, z: HeadShape, layer: str) -> MapLayout:
    # The windows are segments, so the batch is the outer index already.
    frames = z.frames if model.attention_window == "full" else z.frames // z.segments
    shape = (z.segments, z.motion_tokens, frames, z.patches)
    return _plain(f"{layer}.exchange.to_motion", shape)
