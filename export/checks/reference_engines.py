"""Opening graphs for measurement: ONNX Runtime as the literal arbiter, OpenVINO as the engine that ships, torch as the origin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import UsageError
from gasmcast.export.checks.heldout_clips import Run
from gasmcast.precision import in_bf16
from gasmcast.runtime.engines import Engine
from gasmcast.runtime.engines import onnxruntime as onnxruntime_engine
from gasmcast.runtime.engines import openvino as openvino_engine

__all__ = ["open_arbiter", "open_for", "open_uncached", "torch_run"]


def open_arbiter(path: Path, threads: int | None = None) -> Engine:
    """ONNX Runtime with Q/DQ executed as written.

    Its default optimizer turned an FP16-scale Q/DQ graph with a convolution's bias into garbage (4 dB instead of 67): it quantizes the bias
    by a scale that FP16 cannot hold. What is to be judged here is the file, not that rewriting.

    Raises:
        UsageError: ONNX Runtime cannot read the file.
    """
    import onnxruntime  # noqa: PLC0415 - heavy

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # noqa: BLE001 - its exceptions have no common base but this
        raise UsageError(
            f"ONNX Runtime cannot read {path} ({str(error).splitlines()[0]}).",
            "Export the checkpoint again.",
        ) from None
    return onnxruntime_engine.OnnxRuntimeEngine(session, onnxruntime.__version__, threads or 0)


def open_uncached(path: Path, threads: int | None = None, *, bf16: bool = False) -> Engine:
    """OpenVINO, leaving nothing in the user's cache: what an export tries is mostly thrown away.

    Raises:
        UsageError: OpenVINO cannot read the file.
    """
    return openvino_engine.compile_graph(path, threads, None, bf16=bf16, cache=False)


def open_for(precision: str, path: Path, threads: int | None = None) -> Engine:
    """The engine that a precision is judged on: the CPU's own for FP32, INT8 and BF16, the arbiter where FP16 is stored.

    OpenVINO would compute FP16 files in FP32 on a CPU and hide what rounding costs; ONNX Runtime rounds after every operator.
    """
    if precision.endswith("fp16"):
        return open_arbiter(path, threads)
    return open_uncached(path, threads, bf16=in_bf16(precision))


def torch_run(function: Callable[..., Any], names: tuple[str, ...]) -> Run:
    """A torch function as an engine: feeds in order, outputs by name."""
    import torch  # noqa: PLC0415 - heavy

    def run(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        with torch.inference_mode():
            result = function(*(torch.from_numpy(np.ascontiguousarray(a)) for a in feeds.values()))
        values = result if isinstance(result, tuple) else (result,)
        return {name: value.float().numpy() for name, value in zip(names, values, strict=True)}

    return run
