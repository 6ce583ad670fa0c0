"""INT8 linear layers as convolutions with a window of 1, for x86 processors without VNNI.

There OpenVINO has a kernel for INT8 convolutions that is about twice as fast as the one for INT8 matrix products (docs/performance.md).
Each linear layer is a convolution over its tokens with the same integers, so nothing is computed differently; the file is not changed.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["lacks_vnni", "linears_to_convolutions"]


def lacks_vnni(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this is an x86 processor without the instructions that INT8 products want; False where the system does not say."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return bool(flags) and not {"avx512_vnni", "avx_vnni"} & set(flags)


def linears_to_convolutions(model: Any) -> int:  # noqa: ANN401 - the package is untyped
    """Rewrite every INT8 linear layer of an OpenVINO model in place.

    The tokens are transposed before they are quantized: OpenVINO 2026.4 computes Q, DQ, transpose, convolution wrongly (a relative error of
    0.5), and transpose, Q, DQ, convolution exactly.

    Returns:
        how many layers were rewritten.
    """
    from openvino import opset13 as ops  # noqa: PLC0415 - half a second, and another backend may be in use

    turned: dict[str, Any] = {}  # by name of the node that has turned tokens back: what it turned
    for product in model.get_ordered_ops():
        if product.get_type_name() != "MatMul" or product.get_attributes()["transpose_a"]:
            continue
        weights = _int8_weights(product)
        steps = _quantized_by(product.input_value(0).get_node())
        dims = len(product.input_value(0).get_partial_shape())
        if weights is None or not steps or dims < 3:
            continue
        flat = (
            dims == 3
        )  # a row of tokens is a picture of height 1: OpenVINO turns pictures faster than rows
        rank = 4 if flat else dims
        integers, scales = weights  # (out, in), (out,)
        window = [1] * (rank - 2)
        kernel = ops.multiply(
            ops.convert(
                ops.constant(np.ascontiguousarray(integers).reshape(*integers.shape, *window)),
                _type_of(product),
            ),
            ops.constant(scales.reshape(-1, 1, *window)),
        )
        x = steps[-1].input_value(0)
        before = (
            x.get_node().input_value(0).get_node().get_friendly_name()
            if x.get_node().get_type_name() == "Gelu"
            else ""
        )
        if (
            before in turned
        ):  # a feed-forward: what lies between its layers does not care how tokens lie
            tokens = ops.gelu(turned[before], x.get_node().get_attributes()["approximation_mode"])
        else:
            x = ops.unsqueeze(x, ops.constant(np.array([1]))) if flat else x
            tokens = ops.transpose(
                x, ops.constant(np.array([0, rank - 1, *range(1, rank - 1)]))
            )  # (B, in, ...)
        convolved = ops.convolution(
            _again(tokens, steps), kernel, window, [0] * len(window), [0] * len(window), window
        )
        last, result = _with_what_follows(product, convolved, len(integers), window)
        back = ops.transpose(result, ops.constant(np.array([0, *range(2, rank), 1])))
        back = ops.squeeze(back, ops.constant(np.array([1]))) if flat else back
        for target in list(last.output(0).get_target_inputs()):
            target.replace_source_output(back.output(0))
        turned[back.get_friendly_name()] = result
    if turned:
        model.validate_nodes_and_infer_types()
    return len(turned)


def _int8_weights(product: Any) -> tuple[NDArray[np.int8], NDArray[np.floating[Any]]] | None:  # noqa: ANN401
    """`(out, in)` and `(out,)` of a product with constant INT8 weights behind a DequantizeLinear with zero points 0."""
    scaled = product.input_value(1).get_node()
    if scaled.get_type_name() != "Multiply":
        return None
    whole = scaled.input_value(0).get_node()
    if whole.get_type_name() == "Subtract":
        zeros = _constant(whole.input_value(1).get_node())
        if zeros is None or zeros.any():
            return None
        whole = whole.input_value(0).get_node()
    integers, scales = _constant(whole), _constant(scaled.input_value(1).get_node())
    if integers is None or integers.ndim != 2 or integers.dtype != np.int8 or scales is None:
        return None
    if not product.get_attributes()["transpose_b"]:
        integers = integers.T
    return (integers, scales.reshape(-1)) if scales.size == len(integers) else None


def _type_of(node: Any) -> str:  # noqa: ANN401
    """`f32`, or `f16` where the file has an FP16 rest."""
    return str(node.output(0).get_element_type().get_type_name())


def _constant(node: Any) -> NDArray[Any] | None:  # noqa: ANN401
    """The values of a constant, also through conversions and reshapes."""
    while node.get_type_name() in ("Convert", "Reshape", "Unsqueeze", "Squeeze"):
        node = node.input_value(0).get_node()
    return np.asarray(node.data) if node.get_type_name() == "Constant" else None


def _quantized_by(node: Any) -> list[Any]:  # noqa: ANN401
    """The nodes of Q and DQ that end in `node`, last first; empty where there are none, or they are not per tensor."""
    steps = [node]
    while node.get_type_name() in ("Multiply", "Convert", "Subtract"):
        node = node.input_value(0).get_node()
        steps.append(node)
    if node.get_type_name() != "FakeQuantize":
        return []
    parameters = [
        _constant(step.input_value(1).get_node())
        for step in steps
        if step.get_type_name() in ("Multiply", "Subtract")
    ]
    limits = [_constant(node.input_value(i).get_node()) for i in range(1, 5)]
    return (
        steps
        if all(value is not None and value.size == 1 for value in (*parameters, *limits))
        else []
    )


def _again(tokens: Any, steps: list[Any]) -> Any:  # noqa: ANN401
    """The same Q and DQ on other tokens."""
    from openvino import opset13 as ops  # noqa: PLC0415

    quantize = steps[-1]
    result = ops.fake_quantize(
        tokens, *(quantize.input_value(i) for i in range(1, 5)), quantize.get_attributes()["levels"]
    )
    for step in reversed(steps[:-1]):
        if step.get_type_name() == "Convert":
            result = ops.convert(result, step.output(0).get_element_type().get_type_name())
        else:
            result = (ops.multiply if step.get_type_name() == "Multiply" else ops.subtract)(
                result, step.input_value(1)
            )
    return result


def _with_what_follows(
    product: Any, result: Any, channels: int, window: list[int]
) -> tuple[Any, Any]:  # noqa: ANN401
    """The last node that is replaced, and what replaces it: bias and layer scale, done before tokens are turned back, cost nothing."""
    from openvino import opset13 as ops  # noqa: PLC0415

    last = product
    for kind, operation in (("Add", ops.add), ("Multiply", ops.multiply)):
        targets = list(last.output(0).get_target_inputs())
        if len(targets) != 1 or targets[0].get_node().get_type_name() != kind:
            continue
        values = _constant(targets[0].get_node().input_value(1 - targets[0].get_index()).get_node())
        if values is None or values.size != channels or values.shape[-1] != channels:
            continue
        last = targets[0].get_node()
        result = operation(result, ops.constant(values.reshape(1, -1, *window)))
    return last, result
