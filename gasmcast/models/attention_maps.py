"""Attention maps of a model in PyTorch, by the names and in the order of `attention_layout`."""

from __future__ import annotations

import torch
from torch import Tensor

from gasmcast.models.attention_layout import MapLayout, encoder_maps, head_maps
from gasmcast.models.model import Features, GasmCast

__all__ = ["clip_maps"]


@torch.inference_mode()
def clip_maps(model: GasmCast, clips: Tensor) -> dict[str, Tensor]:
    """Return every attention map of clips, averaged over heads.

    Args:
        model: in eval mode.
        clips: `(B, 1 + S, F, H, W, 3)` uint8.

    Returns:
        Name -> `(B, ...)` with the shapes of `head_maps`; `semantic_graph.<layer>` has one graph
        for each frame of the window, `(B, T, P, P)`.
    """
    features = model.encode(clips)
    _, attention = model.classify(Features(*features), return_attention=True)
    weights = {f"read_out.{name}": value for name, value in attention.readouts.items()}
    for i, layer in enumerate(attention.layers):
        parts = {
            "motion_graph": layer.motion_graph,
            "semantic_from_motion": layer.to_semantic,
            "motion_from_semantic": layer.to_motion,
        }
        weights |= {f"{name}.{i}": part for name, part in parts.items() if part is not None}

    maps = {
        name: _arrange(weights[name].mean(1), layout)
        for name, layout in head_maps(model.config, model.spec).items()
    }
    if encoder_maps(model.config, model.spec):
        frames = model.spec.segments * model.spec.semantic_frames
        for i, edges in enumerate(model.encoder.edges(clips)):
            graph = edges.mean(1)  # (B T, P, P)
            maps[f"semantic_graph.{i}"] = graph.reshape(-1, frames, *graph.shape[1:])
    return maps


def _arrange(weights: Tensor, layout: MapLayout) -> Tensor:
    """Put weights `(B windows, queries, keys)` into the order of the clip."""
    split = weights.reshape(-1, *layout.split)
    if layout.order:
        split = split.permute(layout.order)
    return split.reshape(-1, *layout.shape)
