"""INT8 linear layers as convolutions with a window of 1, for x86 processors without VNNI.

On these processors OpenVINO's kernel for INT8 convolutions is about twice as fast as the one for
INT8 matrix products (docs/experiments/performance.md). Each linear layer becomes a convolution over
its tokens with the same integers, so results do not change; the file is not modified.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np

from gasmcast.runtime.engines.int8_linear import (
    Int8Linear,
    Node,
    constant_values,
    match_int8_linear,
)
from gasmcast.runtime.engines.openvino_import import load_openvino

__all__ = ["lacks_vnni", "linears_to_convolutions"]


def lacks_vnni(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether this is an x86 processor without instructions for INT8 products.

    False where the system does not say.
    """
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

    Tokens are transposed before they are quantized: OpenVINO 2026.4 computes Q, DQ, transpose,
    convolution wrongly (a relative error of 0.5), and transpose, Q, DQ, convolution exactly.

    Returns:
        The number of layers that were rewritten.
    """
    # Name of a node that transposes a result back -> that result, still transposed.
    transposed: dict[str, Node] = {}
    for product in model.get_ordered_ops():
        linear = match_int8_linear(product)
        if linear is None:
            continue
        tokens = _transposed_tokens(linear, transposed)
        convolved = _convolve(linear, tokens)
        last, result = _with_bias_and_scale(linear, convolved)

        # Everything that read the last node now reads the transposed-back result.
        back = _transpose_back(linear, result)
        for target in list(last.output(0).get_target_inputs()):
            target.replace_source_output(back.output(0))
        transposed[back.get_friendly_name()] = result
    if transposed:
        model.validate_nodes_and_infer_types()
    return len(transposed)


def _ops() -> Any:  # noqa: ANN401 - the package is untyped
    return load_openvino().opset13


def _window(linear: Int8Linear) -> list[int]:
    """Return the convolution's window of 1 over all token dimensions.

    A row of tokens is treated as an image of height 1: OpenVINO transposes images faster.
    """
    return [1] * max(linear.rank - 2, 2)


def _transposed_tokens(linear: Int8Linear, transposed: dict[str, Node]) -> Node:
    """Return the layer's input before quantization, as `(B, in, ...)`."""
    ops = _ops()

    x = linear.quantization[-1].input_value(0)
    if x.get_node().get_type_name() == "Gelu":
        # A feed-forward: GELU is elementwise, so the tokens of the layer before need not be
        # transposed back and forth around it.
        before = x.get_node().input_value(0).get_node().get_friendly_name()
        if before in transposed:
            mode = x.get_node().get_attributes()["approximation_mode"]
            return ops.gelu(transposed[before], mode)

    rank = linear.rank
    if rank == 3:
        x = ops.unsqueeze(x, ops.constant(np.array([1])))  # (B, 1, tokens, in)
        rank = 4
    return ops.transpose(x, ops.constant(np.array([0, rank - 1, *range(1, rank - 1)])))


def _convolve(linear: Int8Linear, tokens: Node) -> Node:
    """Return the convolution of quantized tokens `(B, in, ...)` with the layer's weights."""
    ops = _ops()

    window = _window(linear)
    weights = np.ascontiguousarray(linear.weights)
    kernel = ops.multiply(
        ops.convert(
            ops.constant(weights.reshape(*weights.shape, *window)),  # (out, in, 1, 1)
            _type_of(linear.product),
        ),
        ops.constant(linear.scales.reshape(-1, 1, *window)),
    )
    padding = [0] * len(window)
    quantized = _quantize_again(tokens, linear.quantization)
    return ops.convolution(quantized, kernel, window, padding, padding, window)


def _transpose_back(linear: Int8Linear, result: Node) -> Node:
    """Return `(B, out, ...)` as `(B, ..., out)`."""
    ops = _ops()

    rank = max(linear.rank, 4)
    back = ops.transpose(result, ops.constant(np.array([0, *range(2, rank), 1])))
    if linear.rank == 3:
        back = ops.squeeze(back, ops.constant(np.array([1])))
    return back


def _type_of(node: Node) -> str:
    """Return `f32`, or `f16` if the rest of the file is FP16."""
    return str(node.output(0).get_element_type().get_type_name())


def _quantize_again(tokens: Node, steps: list[Node]) -> Node:
    """Apply the same Q and DQ to other tokens."""
    ops = _ops()

    quantize = steps[-1]
    limits = (quantize.input_value(i) for i in range(1, 5))
    result = ops.fake_quantize(tokens, *limits, quantize.get_attributes()["levels"])
    for step in reversed(steps[:-1]):
        if step.get_type_name() == "Convert":
            result = ops.convert(result, step.output(0).get_element_type().get_type_name())
        elif step.get_type_name() == "Multiply":
            result = ops.multiply(result, step.input_value(1))
        else:
            result = ops.subtract(result, step.input_value(1))
    return result


def _with_bias_and_scale(linear: Int8Linear, result: Node) -> tuple[Node, Node]:
    """Apply the bias and layer scale that follow a layer to `result`, still `(B, out, ...)`.

    Before the transpose back they are fused into the convolution and cost nothing.

    Returns:
        The last node that is replaced, and its replacement.
    """
    ops = _ops()

    channels = len(linear.weights)
    last = linear.product
    for kind, operation in (("Add", ops.add), ("Multiply", ops.multiply)):
        targets = list(last.output(0).get_target_inputs())
        if len(targets) != 1 or targets[0].get_node().get_type_name() != kind:
            continue
        node = targets[0].get_node()
        values = constant_values(node.input_value(1 - targets[0].get_index()).get_node())
        if values is None or values.size != channels or values.shape[-1] != channels:
            continue
        last = node
        result = operation(result, ops.constant(values.reshape(1, -1, *_window(linear))))
    return last, result
