"""Nodes of a graph replaced, and what nobody reads removed."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from gasmcast.calibration.graph_edit import drop_unread, replace_nodes


def graph():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="m"),
        helper.make_node("Add", ["m", "b"], ["y"], name="a"),
        helper.make_node("Add", ["m", "c"], ["unread"], name="u"),
        helper.make_node("Relu", ["unread"], ["neither"], name="r"),
    ]
    held = [
        numpy_helper.from_array(np.ones((2, 2), np.float32), name) for name in ("w", "b", "c", "d")
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2]) for n in ("x", "y")]
    return helper.make_graph(nodes, "g", ends[:1], ends[1:], held)


def test_what_no_output_depends_on_goes():
    made = graph()
    drop_unread(made)
    assert [n.name for n in made.node] == ["m", "a"]
    assert [t.name for t in made.initializer] == ["w", "b"]


def test_new_nodes_may_stand_among_the_old_ones():
    made = graph()
    old = list(made.node)
    replace_nodes(made, [old[0], helper.make_node("Relu", ["m"], ["y"], name="new")])
    assert [(n.name, list(n.output)) for n in made.node] == [("m", ["m"]), ("new", ["y"])]
