"""Choose the pictures of one clip's attention: which maps, over which frames, with what caption."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gasmcast.explain.attention_pictures import edge_picture, heat, segment_frames, strip
from gasmcast.explain.subject import Clip, Explained
from gasmcast.runtime.attention_grids import (
    layers_of,
    patches_heard,
    read_out_grids,
    segments_heard,
)

__all__ = ["ClipPicture", "draw_pictures"]

SHOWN_PATCHES = 3
SHOWN_EDGES = 8


class ClipPicture(NamedTuple):
    """Picture of one map."""

    name: str
    """Name of its file without `.png`."""
    section: str
    """Heading of the page that it belongs to."""
    caption: str
    pixels: NDArray[np.uint8]
    """`(H, W, 3)` RGB."""


def draw_pictures(
    clip: Clip, explained: Explained, scores: NDArray[np.float64]
) -> Iterator[ClipPicture]:
    """Draw all maps that the model has.

    Args:
        clip: `(1 + S, F, H, W, 3)` uint8.
        explained: maps of the clip.
        scores: `(S, rows, cols)`, read-out attention by segment and patch.
    """
    frames = segment_frames(clip)
    caption = "The last frame of each segment, in order of time, as the model sees it."
    yield ClipPicture("frames", "Where the model looks", caption, strip(frames))
    yield from _read_outs(frames, explained)
    yield from _cross_attention(frames, explained)
    yield from _edges(clip, explained, scores)


def _read_outs(frames: list[NDArray[np.uint8]], explained: Explained) -> Iterator[ClipPicture]:
    for name, grids in read_out_grids(explained.maps).items():
        # Frames of one segment become one picture.
        by_segment = grids.reshape(len(frames), -1, *grids.shape[-2:]).sum(1)
        peak = float(by_segment.max())
        tiles = [heat(f, g, peak) for f, g in zip(frames, by_segment, strict=True)]
        strongest = int(by_segment.sum((1, 2)).argmax()) + 1
        caption = (
            f"Read-out {name.replace('_', ' ')}: one picture for each segment, in order of time; "
            f"segment {strongest} has the most attention. Same colors in all of them."
        )
        yield ClipPicture(f"read_out_{name}", "Where the model looks", caption, strip(tiles))


def _cross_attention(
    frames: list[NDArray[np.uint8]], explained: Explained
) -> Iterator[ClipPicture]:
    section = "What the streams take from each other"
    for layer in layers_of(explained.maps, "semantic_from_motion"):
        heard = segments_heard(explained.maps, layer)
        assert heard is not None
        grids = heard.mean(1)  # (S, rows, cols): mean over the receiving frames
        peak = float(grids.max())
        tiles = [heat(f, g, peak) for f, g in zip(frames, grids, strict=True)]
        caption = (
            f"Semantic <- motion, layer {layer + 1}: how much each place listens to the motion of "
            "this segment, mean over all frames."
        )
        yield ClipPicture(f"semantic_from_motion_{layer + 1}", section, caption, strip(tiles))

    for layer in layers_of(explained.maps, "motion_from_semantic"):
        patches = patches_heard(explained.maps, layer)
        assert patches is not None
        peak = float(patches.max())
        tiles = [heat(f, g, peak) for f, g in zip(frames, patches, strict=True)]
        caption = (
            f"Motion <- semantic, layer {layer + 1}: which patches the motion of each segment "
            "listens to, mean over its cells."
        )
        yield ClipPicture(f"motion_from_semantic_{layer + 1}", section, caption, strip(tiles))


def _edges(clip: Clip, explained: Explained, scores: NDArray[np.float64]) -> Iterator[ClipPicture]:
    """Draw the semantic graph around the most attended patches of the most attended segment."""
    layers = layers_of(explained.maps, "semantic_graph")
    if not layers:
        return
    segment = int(scores.sum((1, 2)).argmax())
    attended = np.argsort(-scores[segment].ravel())[:SHOWN_PATCHES]

    # A segment owns f consecutive graphs; its last frame is shown.
    graphs = [explained.maps[f"semantic_graph.{layer}"] for layer in layers]
    last = (segment + 1) * (len(graphs[0]) // len(scores)) - 1
    pictures = [
        edge_picture(clip[1 + segment, -1], graph[last], attended.tolist(), SHOWN_EDGES)
        for graph in graphs
    ]
    caption = (
        f"Segment {segment + 1}: the {len(attended)} patches with the most read-out attention "
        f"(squares) and the patches they listen to, one picture for each of {len(layers)} layers; "
        f"at most {SHOWN_EDGES} edges each, thicker is stronger. A patch also listens to itself."
    )
    yield ClipPicture("graph_edges", "Which patches belong together", caption, strip(pictures, 336))
