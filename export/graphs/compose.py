"""Compose the complete graph of encoder and head."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper

from gasmcast.spec import ClipSpec

__all__ = ["OPSET", "compose_complete", "output_shape"]

OPSET = 20
_IR_VERSION = 10


def output_shape(model: ModelProto, name: str) -> list[int]:
    """Return the shape of an output without its batch."""
    value = next(v for v in model.graph.output if v.name == name)
    return [d.dim_value for d in value.type.tensor_type.shape.dim][1:]


# The complete graph. B clips become B * S pairs in one batch of the encoder:
#   clip uint8 (B, 1 + S, F, H, W, 3)
#     | Cast                               pairs.float     (B, 1 + S, F, H, W, 3)
#     |-- Slice 0 : S     -- Unsqueeze     pairs.previous  (B, S, 1, F, H, W, 3)
#     |-- Slice 1 : S + 1 -- Unsqueeze     pairs.current   (B, S, 1, F, H, W, 3)
#     | Concat, Reshape                    pairs.segments  (B * S, 2, F, H, W, 3)
#   encoder                                semantic (B * S, L, f, P, D), motion (B * S, L, C, D)
#     | Reshape                            semantic (B, S, L, f, P, D), motion (B, S, L, C, D)
#   head
#     |
#   logits float (B, classes)
def compose_complete(encoder: ModelProto, head: ModelProto, spec: ClipSpec) -> ModelProto:
    """Compose `clip -> logits` of the streaming pair of graphs, whatever their precision.

    Args:
        encoder: graph `segments -> semantic, motion`, cleaned by `clean`.
        head: graph `semantic, motion -> logits`.
        spec: sampling contract.
    """
    readers = [node for node in encoder.graph.node if "segments" in node.input]
    assert all(node.op_type in {"Cast", "Shape"} for node in readers), "`clean` casts first"
    first = compose.add_prefix(encoder, "encoder.")
    last = compose.add_prefix(head, "head.")

    # Cast, slice pairs.
    constants = _Constants("pairs")
    nodes = _cut_pairs(spec, constants)

    # Encode the pairs as one batch.
    for node in first.graph.node:
        _rename(node.input, "encoder.segments", "pairs.segments")
        nodes.append(node)

    # Stack: the batch of pairs becomes clips of segments again.
    for name in ("semantic", "motion"):
        shape = constants.add(f"{name}.shape", [-1, spec.segments, *output_shape(encoder, name)])
        nodes.append(
            helper.make_node(
                "Reshape", [f"encoder.{name}", shape], [f"head.{name}"], name=f"stack/{name}"
            )
        )

    # Classify the stack.
    for node in last.graph.node:
        _rename(node.output, "head.logits", "logits")
        nodes.append(node)

    clip = helper.make_tensor_value_info("clip", TensorProto.UINT8, ["batch", *spec.clip_shape])
    logits = helper.make_tensor_value_info(
        "logits", TensorProto.FLOAT, ["batch", *output_shape(head, "logits")]
    )
    graph = helper.make_graph(
        nodes,
        "complete",
        [clip],
        [logits],
        [*constants.tensors, *first.graph.initializer, *last.graph.initializer],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="gasmcast",
    )


class _Constants:
    """INT64 constants of a part of a graph."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.tensors: list[TensorProto] = []

    def add(self, name: str, values: list[int]) -> str:
        """Add a constant and return its full name."""
        full = f"{self.prefix}.{name}"
        self.tensors.append(numpy_helper.from_array(np.asarray(values, np.int64), full))
        return full


def _cut_pairs(spec: ClipSpec, constants: _Constants) -> list[NodeProto]:
    """Make the nodes that cut a clip into (previous, current) pairs."""
    # TensorRT holds UINT8 only at a network's border, so the cast comes before every cut.
    nodes = [
        helper.make_node("Cast", ["clip"], ["pairs.float"], name="pairs/Cast", to=TensorProto.FLOAT)
    ]

    segment_axis, pair_axis = constants.add("axis", [1]), constants.add("wide", [2])
    for name, start in (("previous", 0), ("current", 1)):
        bounds = [
            constants.add(f"{name}.from", [start]),
            constants.add(f"{name}.to", [start + spec.segments]),
        ]
        cut = f"pairs.{name}.cut"  # (B, S, F, H, W, 3)
        nodes += [
            helper.make_node(
                "Slice",
                ["pairs.float", *bounds, segment_axis],
                [cut],
                name=f"pairs/{name}/Slice",
            ),
            helper.make_node(
                "Unsqueeze",
                [cut, pair_axis],
                [f"pairs.{name}"],  # (B, S, 1, F, H, W, 3)
                name=f"pairs/{name}/Unsqueeze",
            ),
        ]

    shape = constants.add("shape", [-1, *spec.pair_shape])
    nodes += [
        helper.make_node(
            "Concat",
            ["pairs.previous", "pairs.current"],
            ["pairs.joined"],  # (B, S, 2, F, H, W, 3)
            name="pairs/Concat",
            axis=2,
        ),
        helper.make_node(
            "Reshape",
            ["pairs.joined", shape],
            ["pairs.segments"],  # (B * S, 2, F, H, W, 3)
            name="pairs/Reshape",
        ),
    ]
    return nodes


def _rename(names: list[str], old: str, new: str) -> None:
    """Rename a tensor among the inputs or outputs of a node, in place."""
    for i, name in enumerate(names):
        if name == old:
            names[i] = new
