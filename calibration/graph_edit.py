"""Edit an ONNX graph in place: replace its nodes, and drop what no output depends on."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import GraphProto, NodeProto

__all__ = ["drop_unread", "replace_nodes"]


def replace_nodes(graph: GraphProto, nodes: Iterable[NodeProto]) -> None:
    """Replace the nodes of a graph; the new list may contain nodes of the graph itself."""
    # Nodes of the graph become invalid when its list is cleared, so they are copied first.
    copies = []
    for node in nodes:
        copy = NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)

    del graph.node[:]
    graph.node.extend(copies)


def drop_unread(graph: GraphProto) -> None:
    """Remove nodes and initializers that no output depends on."""
    # Walking backwards, a node is needed if a later node or the graph reads its output.
    needed = {value.name for value in graph.output}
    needed_nodes = set()
    for node in reversed(graph.node):
        if any(name in needed for name in node.output):
            needed.update(node.input)
            needed_nodes.add(node.name)

    # Deleting from the end keeps the remaining indices valid.
    for i in reversed(range(len(graph.node))):
        if graph.node[i].name not in needed_nodes:
            del graph.node[i]
    for i in reversed(range(len(graph.initializer))):
        if graph.initializer[i].name not in needed:
            del graph.initializer[i]
