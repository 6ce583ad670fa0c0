"""Measure the largest absolute value of every tensor of a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from gasmcast.calibration.tensor_stats import ActivationError
from gasmcast.runtime.engines.onnxruntime import open_session

__all__ = ["measure_largest", "tensor_types"]


def tensor_types(model: ModelProto) -> dict[str, int]:
    """Return the ONNX element type of every tensor whose type is known."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=False)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {t.name: t.data_type for t in model.graph.initializer}


def measure_largest(
    model: ModelProto, feeds: Iterable[Mapping[str, NDArray[Any]]], threads: int = 0
) -> dict[str, float]:
    """Return the largest absolute value of every floating-point tensor of a graph over `feeds`.

    Args:
        model: graph in FP32.
        feeds: inputs of each run.
        threads: CPU threads of ONNX Runtime; all cores if 0.

    Raises:
        ActivationError: a tensor holds values that are not numbers; the message names it.
    """
    types = tensor_types(model)
    names = [
        output
        for node in model.graph.node
        for output in node.output
        if types.get(output) == TensorProto.FLOAT
    ]

    # Every tensor becomes an output, so that the session returns it.
    watched = ModelProto()
    watched.CopyFrom(model)
    outputs = {v.name for v in model.graph.output}
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in names
        if name not in outputs
    )
    session = open_session(watched.SerializeToString(), threads=threads, spinning=False)

    # Only the maxima are kept: all tensors of one run may take gigabytes.
    largest = dict.fromkeys(names, 0.0)
    for feed in feeds:
        for name, value in zip(names, session.run(names, dict(feed)), strict=True):
            if value.size:
                largest[name] = max(largest[name], _largest(name, value))
    return largest


def _largest(name: str, value: NDArray[np.floating[Any]]) -> float:
    # Without a copy of the tensor, which `np.abs` would make.
    top = max(float(value.max()), -float(value.min()))
    if np.isnan(top):
        raise ActivationError(
            f"Tensor {name} holds values that are not numbers on a calibration clip.",
            "Check the checkpoint (did training diverge?) and the clips.",
        )
    return top
