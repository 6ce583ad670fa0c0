"""What the exporter leaves, put in order: names that say where a node comes from, no traces of the machine, uint8 cast at the border."""

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


def clean(model: ModelProto, batch: str = "batch") -> ModelProto:
    """The same computation, tidied in place.

    Nodes are named `<module path>/<operator>`, tensors after the node that makes them; metadata (which holds file names and source lines of
    the exporting machine) goes; the UINT8 input is cast once, before it is cut or moved, because TensorRT has UINT8 only at its border;
    the free axis of every input and output is called `batch`.
    """
    graph = model.graph
    _rename(graph)
    _cast_first(graph)
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
        tensor.doc_string = ""
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]
        dim = value.type.tensor_type.shape.dim[0]
        if not dim.dim_value:
            dim.dim_param = batch
    del graph.value_info[:]
    del graph.metadata_props[:]
    del model.metadata_props[:]
    del model.functions[:]
    graph.doc_string = model.doc_string = ""
    graph.name = "gasmcast"
    model.producer_name, model.producer_version = "gasmcast", ""
    drop_unread(graph)
    return model


def _scope(node: NodeProto) -> str:
    """`model.semantic.vit.blocks.0.attn.qkv` of the exporter's list of scopes, whose last entry is the operation."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            scopes = [
                s for s in ast.literal_eval(entry.value)[:-1] if s and not s.startswith("_empty")
            ]
            if scopes:
                return str(scopes[-1]).removeprefix("model.").removeprefix("model") or "graph"
    return "graph"


def _rename(graph: GraphProto) -> None:
    fixed = {v.name for v in (*graph.input, *graph.output)} | {t.name for t in graph.initializer}
    counts: Counter[str] = Counter()
    names: dict[str, str] = {}
    for node in graph.node:
        stem = f"{_scope(node)}/{node.op_type}"
        counts[stem] += 1
        node.name = stem if counts[stem] == 1 else f"{stem}_{counts[stem]}"
        for i, name in enumerate(node.output):
            if name and name not in fixed:
                names[name] = node.name if i == 0 else f"{node.name}:{i}"
    for node in graph.node:
        node.input[:] = [names.get(n, n) for n in node.input]
        node.output[:] = [names.get(n, n) for n in node.output]
    short = {t.name: t.name.removeprefix("model.") for t in graph.initializer}
    for node in graph.node:
        node.input[:] = [short.get(n, n) for n in node.input]
    for tensor in graph.initializer:
        tensor.name = short[tensor.name]


def _cast_first(graph: GraphProto) -> None:
    """Move the Cast of the UINT8 input above whatever cuts or moves its pixels."""
    for value in graph.input:
        if value.type.tensor_type.elem_type != TensorProto.UINT8:
            continue
        casts = _casts_of(graph, value.name)
        if not casts or (len(casts) == 1 and casts[0].input[0] == value.name):
            continue
        fresh = f"{value.name}.float"
        renamed = {c.output[0]: c.input[0] for c in casts}
        dead = {c.name for c in casts}
        nodes = [
            helper.make_node(
                "Cast", [value.name], [fresh], name=f"{value.name}/Cast", to=TensorProto.FLOAT
            )
        ]
        for node in graph.node:
            if node.name not in dead:
                if node.op_type not in {"Shape", "Size"}:
                    node.input[:] = [_through(n, renamed, value.name, fresh) for n in node.input]
                nodes.append(node)
        replace_nodes(graph, nodes)


def _casts_of(graph: GraphProto, pixels: str) -> list[NodeProto]:
    """The Casts that pixels reach through nodes which only move them."""
    moved = {pixels}
    casts = []
    for node in graph.node:
        if any(n in moved for n in node.input):
            if node.op_type in _MOVERS:
                moved.update(node.output)
            elif node.op_type == "Cast":
                casts.append(node)
    return casts


def _through(name: str, renamed: dict[str, str], source: str, fresh: str) -> str:
    name = renamed.get(name, name)
    return fresh if name == source else name
