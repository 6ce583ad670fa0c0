"""Clean a traced graph: module paths as names, no metadata of the machine, uint8 cast first."""

from __future__ import annotations

import ast
from collections import Counter

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from gasmcast.calibration.graph_edit import drop_unread, replace_nodes

__all__ = ["clean"]

_SCOPES = "pkg.torch.onnx.name_scopes"
_MOVERS = frozenset(
    {
        "Slice",
        "Gather",
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Concat",
        "Expand",
        "Flatten",
        "Split",
        "Identity",
    }
)
"""Operators that move values without changing them."""


def clean(model: ModelProto, batch: str = "batch") -> ModelProto:
    """Clean a graph in place; it computes the same as before.

    Nodes are named `<module path>/<operator>`, and tensors after the node that makes them. Metadata
    is removed, because it holds file names and source lines of the exporting machine. The UINT8
    input is cast once, before it is cut or moved, because TensorRT has UINT8 only at its border.

    Args:
        model: graph as the exporter wrote it.
        batch: name of the dynamic axis of every input and output.

    Returns:
        `model`.
    """
    graph = model.graph
    # Names come from metadata, so they are made before it is dropped.
    _rename(graph)
    _cast_first(graph)
    _drop_metadata(model)

    for value in (*graph.input, *graph.output):
        dim = value.type.tensor_type.shape.dim[0]
        if not dim.dim_value:
            dim.dim_param = batch

    # Two exports of the same weights should give equal files.
    graph.name = "gasmcast"
    model.producer_name, model.producer_version = "gasmcast", ""
    drop_unread(graph)
    return model


def _drop_metadata(model: ModelProto) -> None:
    graph = model.graph
    for item in (*graph.node, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]

    del graph.value_info[:]
    del graph.metadata_props[:]
    del model.metadata_props[:]
    del model.functions[:]
    graph.doc_string = model.doc_string = ""


def _rename(graph: GraphProto) -> None:
    interface = {v.name for v in (*graph.input, *graph.output)}
    fixed = interface | {t.name for t in graph.initializer}

    # Nodes with the same module and operator are numbered in graph order.
    counts: Counter[str] = Counter()
    names: dict[str, str] = {}
    for node in graph.node:
        stem = f"{_module_path(node)}/{node.op_type}"
        counts[stem] += 1
        node.name = stem if counts[stem] == 1 else f"{stem}_{counts[stem]}"
        for i, name in enumerate(node.output):
            if name and name not in fixed:
                names[name] = node.name if i == 0 else f"{node.name}:{i}"

    # The wrapper modules add `model.` to every weight.
    for tensor in graph.initializer:
        names[tensor.name] = tensor.name.removeprefix("model.")
        tensor.name = names[tensor.name]

    for node in graph.node:
        node.input[:] = [names.get(n, n) for n in node.input]
        node.output[:] = [names.get(n, n) for n in node.output]


def _module_path(node: NodeProto) -> str:
    """Return the module that a node was traced from: `semantic.vit.blocks.0.attn.qkv`.

    The exporter stores a list of scopes whose last entry is the operation.
    """
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            modules = ast.literal_eval(entry.value)[:-1]
            scopes = [s for s in modules if s and not s.startswith("_empty")]
            if scopes:
                return str(scopes[-1]).removeprefix("model.").removeprefix("model") or "graph"
    return "graph"


def _cast_first(graph: GraphProto) -> None:
    """Move the Cast of the UINT8 input above the nodes that cut or move its pixels."""
    for value in graph.input:
        if value.type.tensor_type.elem_type != TensorProto.UINT8:
            continue
        # Nothing to do if the first Cast reads the pixels.
        casts = _casts_of(graph, value.name)
        if not casts or (len(casts) == 1 and casts[0].input[0] == value.name):
            continue

        first = f"{value.name}.float"
        nodes = [
            helper.make_node(
                "Cast", [value.name], [first], name=f"{value.name}/Cast", to=TensorProto.FLOAT
            )
        ]

        # Readers of an old Cast read its input, and readers of the pixels read the new Cast.
        source_of = {cast.output[0]: cast.input[0] for cast in casts}
        removed = {cast.name for cast in casts}
        for node in graph.node:
            if node.name in removed:
                continue
            if node.op_type not in {"Shape", "Size"}:
                sources = [source_of.get(name, name) for name in node.input]
                node.input[:] = [first if name == value.name else name for name in sources]
            nodes.append(node)
        replace_nodes(graph, nodes)


def _casts_of(graph: GraphProto, pixels: str) -> list[NodeProto]:
    """Return the Casts that pixels reach through nodes which only move them."""
    moved = {pixels}
    casts = []
    for node in graph.node:
        if any(name in moved for name in node.input):
            if node.op_type in _MOVERS:
                moved.update(node.output)
            elif node.op_type == "Cast":
                casts.append(node)
    return casts
