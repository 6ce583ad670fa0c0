"""Recognition of INT8 linear layers in an OpenVINO model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Int8Linear", "Node", "constant_values", "match_int8_linear"]

Node = Any
"""Node of an OpenVINO model; the package is untyped."""


class Int8Linear(NamedTuple):
    """An INT8 linear layer that can be rewritten."""

    product: Node
    """The MatMul node."""
    weights: NDArray[np.int8]
    """`(out, in)`."""
    scales: NDArray[np.floating[Any]]
    """`(out,)`."""
    quantization: list[Node]
    """Nodes of Q and DQ of the input, last first."""
    rank: int
    """Dimensions of the input."""


def match_int8_linear(product: Node) -> Int8Linear | None:
    """Return the linear layer of a node; None if it is not one or cannot be rewritten."""
    # A transposed input would need another transpose, so it is left alone.
    if product.get_type_name() != "MatMul" or product.get_attributes()["transpose_a"]:
        return None
    weights = _int8_weights(product)
    quantization = _quantization(product.input_value(0).get_node())
    rank = len(product.input_value(0).get_partial_shape())
    if weights is None or not quantization or rank < 3:
        return None
    return Int8Linear(product, *weights, quantization, rank)


def _int8_weights(
    product: Node,
) -> tuple[NDArray[np.int8], NDArray[np.floating[Any]]] | None:
    """Return weights `(out, in)` and scales `(out,)` of a product with constant INT8 weights.

    None if the weights are no constant behind a DequantizeLinear with zero points 0.
    """
    scaled = product.input_value(1).get_node()
    if scaled.get_type_name() != "Multiply":
        return None

    # An explicit zero point is a subtraction; the convolution has none.
    centered = scaled.input_value(0).get_node()
    if centered.get_type_name() == "Subtract":
        zeros = constant_values(centered.input_value(1).get_node())
        if zeros is None or zeros.any():
            return None
        centered = centered.input_value(0).get_node()

    integers, scales = constant_values(centered), constant_values(scaled.input_value(1).get_node())
    if integers is None or integers.ndim != 2 or integers.dtype != np.int8 or scales is None:
        return None
    if not product.get_attributes()["transpose_b"]:
        integers = integers.T
    return (integers, scales.reshape(-1)) if scales.size == len(integers) else None


def constant_values(node: Node) -> NDArray[Any] | None:
    """Return the values of a constant, also through conversions and reshapes; None otherwise."""
    while node.get_type_name() in ("Convert", "Reshape", "Unsqueeze", "Squeeze"):
        node = node.input_value(0).get_node()
    return np.asarray(node.data) if node.get_type_name() == "Constant" else None


def _quantization(node: Node) -> list[Node]:
    """Return the nodes of Q and DQ that end in `node`, last first.

    Empty if there are none, or if they are not per tensor.
    """
    steps = [node]
    while node.get_type_name() in ("Multiply", "Convert", "Subtract"):
        node = node.input_value(0).get_node()
        steps.append(node)
    if node.get_type_name() != "FakeQuantize":
        return []

    # Parameters of one value each hold for any order of the axes.
    parameters = [
        constant_values(step.input_value(1).get_node())
        for step in steps
        if step.get_type_name() in ("Multiply", "Subtract")
    ]
    limits = [constant_values(node.input_value(i).get_node()) for i in range(1, 5)]
    per_tensor = all(value is not None and value.size == 1 for value in (*parameters, *limits))
    return steps if per_tensor else []
