"""Rewriting an ONNX graph in place: its nodes as a new list, and without what nobody reads."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import GraphProto, NodeProto

__all__ = ["drop_unread", "replace_nodes"]


def replace_nodes(graph: GraphProto, nodes: Iterable[NodeProto]) -> None:
    """Make these the nodes of a graph; some may be its own, which are copied before the old list goes, since they go with it."""
    copies = []
    for node in nodes:
        twin = NodeProto()
        twin.CopyFrom(node)
        copies.append(twin)
    del graph.node[:]
    graph.node.extend(copies)


def drop_unread(graph: GraphProto) -> None:
    """Remove nodes and initializers that no output depends on."""
    wanted = {v.name for v in graph.output}
    kept = []
    for node in reversed(graph.node):
        if any(n in wanted for n in node.output):
            wanted.update(node.input)
            kept.append(node.name)
    alive = set(kept)
    for i in reversed(range(len(graph.node))):
        if graph.node[i].name not in alive:
            del graph.node[i]
    for i in reversed(range(len(graph.initializer))):
        if graph.initializer[i].name not in wanted:
            del graph.initializer[i]
