"""Write the attention twins of encoder and head: the same graphs with attention maps as outputs.

A twin is the exported graph itself with more outputs, not another trace, so that nothing which
leads to the logits can differ. The maps are averaged over heads, because a window of the default
model has 120 MB of them otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from gasmcast.errors import GateError
from gasmcast.export.graphs.compose import output_shape
from gasmcast.export.graphs.graph_file import load_graph, save_graph
from gasmcast.manifest import TWINS, Graph
from gasmcast.models.attention_layout import MapLayout, encoder_maps, head_maps, stream_names
from gasmcast.models.model import GasmCast

__all__ = ["Twin", "twin_file", "write_twins"]


@dataclass(frozen=True)
class Twin:
    """Attention twin of an exported graph."""

    graph: Graph
    path: Path
    maps: Mapping[str, tuple[int, ...]]
    """Shape of each attention output, without its batch."""


def twin_file(component: str) -> str:
    """Return the name of a component's twin: `encoder.attention.onnx`."""
    return f"{component}.attention.onnx"


def write_twins(model: GasmCast, paths: Mapping[str, Path], folder: Path) -> list[Twin]:
    """Write `encoder.attention.onnx` and `head.attention.onnx`.

    Args:
        model: origin of the graphs.
        paths: FP32 files by component, as `export_onnx` returns them.
        folder: where the twins are written.

    Raises:
        GateError: a graph lacks the attention of a module of the model.
    """
    layouts = {
        "encoder": encoder_maps(model.config, model.spec),
        "head": head_maps(model.config, model.spec),
    }
    twins = []
    for component, maps in layouts.items():
        graph = load_graph(paths[component])
        shapes = {}
        for name, layout in maps.items():
            _add_map(graph, name, layout)
            shapes[name] = layout.shape

        # The logits of each read-out come with the maps: which stream is for which class.
        if component == "head":
            for name in stream_names(model.config):
                shape = tuple(output_shape(graph, "logits"))
                _add_stream(graph, name, shape)
                shapes[f"stream.{name}"] = shape

        path = save_graph(graph, folder / twin_file(component))
        twins.append(Twin(TWINS[component], path, shapes))
    return twins


def _add_map(model: ModelProto, name: str, layout: MapLayout) -> None:
    """Add an output that holds the attention of one module, averaged over heads."""
    weights = _node_output(model, layout.module, "Softmax")
    scope = f"attention/{name}"
    last = f"{scope}/ReduceMean"
    axes = _constant(model, f"{scope}.axes", np.array([1]))
    nodes = [helper.make_node("ReduceMean", [weights, axes], [last], name=last, keepdims=0)]

    # A plain map needs no transposition and therefore only one reshape.
    if layout.order:
        split = _constant(model, f"{scope}.split", np.array([-1, *layout.split]))
        nodes += [
            helper.make_node("Reshape", [last, split], [f"{scope}/Reshape"], name=f"{scope}/Split"),
            helper.make_node(
                "Transpose",
                [f"{scope}/Reshape"],
                [f"{scope}/Transpose"],
                name=f"{scope}/Transpose",
                perm=layout.order,
            ),
        ]
        last = f"{scope}/Transpose"
    shape = _constant(model, f"{scope}.shape", np.array([-1, *layout.shape]))
    nodes.append(helper.make_node("Reshape", [last, shape], [name], name=f"{scope}/Join"))
    _add_output(model, nodes, name, layout.shape)


def _add_stream(model: ModelProto, name: str, shape: tuple[int, ...]) -> None:
    """Add an output that holds the logits of one read-out."""
    output = f"stream.{name}"
    source = _node_output(model, f"head.readouts.{name}.classifier", "")
    node = helper.make_node("Identity", [source], [output], name=f"attention/{output}/Identity")
    _add_output(model, [node], output, shape)


def _node_output(model: ModelProto, module: str, operator: str) -> str:
    """Return the output of a module's last node, or of its node of one operator.

    Raises:
        GateError: the graph has no such node.
    """
    name = ""
    for node in model.graph.node:
        scope, _, kind = node.name.rpartition("/")
        if scope == module and (not operator or kind == operator):
            name = node.output[0]
    if not name:
        raise GateError(
            f"The graph has no {operator or 'node'} of {module}, so its attention cannot be shown.",
            "Export without --attention, and report the model's configuration.",
        )
    return name


def _add_output(
    model: ModelProto, nodes: list[NodeProto], name: str, shape: tuple[int, ...]
) -> None:
    model.graph.node.extend(nodes)
    value = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
    model.graph.output.append(value)


def _constant(model: ModelProto, name: str, values: NDArray[np.int64]) -> str:
    model.graph.initializer.append(numpy_helper.from_array(values.astype(np.int64), name))
    return name
