"""Open graphs for checks: ONNX Runtime as the literal reference, OpenVINO as the shipped engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.export.checks.run_clips import Feeds, RunGraph
from gasmcast.precision import in_bf16
from gasmcast.runtime.engines import Engine
from gasmcast.runtime.engines import onnxruntime as onnxruntime_engine
from gasmcast.runtime.engines import openvino as openvino_engine

__all__ = ["open_for", "open_reference", "open_uncached", "torch_run"]


def open_reference(path: Path, threads: int | None = None) -> Engine:
    """Open a graph in ONNX Runtime with Q/DQ executed as written.

    A check must judge the file, not what ONNX Runtime's optimizer makes of it
    (`runtime.engines.onnxruntime.open_session`).

    Raises:
        UsageError: ONNX Runtime cannot read the file.
    """
    return onnxruntime_engine.compile_graph(path, threads, literal_qdq=True, spinning=False)


def open_uncached(path: Path, threads: int | None = None, *, bf16: bool = False) -> Engine:
    """Open a graph in OpenVINO without filling the user's cache: most trial graphs are discarded.

    Raises:
        UsageError: OpenVINO cannot read the file.
    """
    return openvino_engine.compile_graph(path, threads, None, bf16=bf16, cache=False)


def open_for(precision: str, path: Path, threads: int | None = None) -> Engine:
    """Open a graph on the engine that its precision is judged on.

    FP32, INT8 and BF16 run on OpenVINO, as on a CPU in production. Files with FP16 run on ONNX
    Runtime, which rounds after every operator: on a CPU OpenVINO would compute them in FP32 and
    hide the cost of rounding.

    Raises:
        UsageError: the engine cannot read the file.
    """
    if precision.endswith("fp16"):
        return open_reference(path, threads)
    return open_uncached(path, threads, bf16=in_bf16(precision))


def torch_run(function: Callable[..., Any], names: tuple[str, ...]) -> RunGraph:
    """Wrap a torch function as one run of a graph: inputs in order, outputs by name."""
    import torch  # noqa: PLC0415 - heavy

    def run(feeds: Feeds) -> dict[str, NDArray[Any]]:
        inputs = [torch.from_numpy(np.ascontiguousarray(array)) for array in feeds.values()]
        with torch.inference_mode():
            result = function(*inputs)

        # numpy has no BF16, which a model may compute in.
        values = result if isinstance(result, tuple) else (result,)
        return {name: value.float().numpy() for name, value in zip(names, values, strict=True)}

    return run
