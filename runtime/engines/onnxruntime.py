"""ONNX Runtime on the CPU: the reference of the checks, and the fallback without OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.engines.protocol import TensorSpec, check_feeds

__all__ = ["OnnxRuntimeEngine", "compile_graph", "missing"]

# ONNX Runtime names types as text; the model has no others.
_DTYPES = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
}


def missing() -> str:
    """Return why ONNX Runtime cannot be used here; empty if it can."""
    if find_spec("onnxruntime"):
        return ""
    return "the package onnxruntime is not installed (pip install 'gasmcast[onnxruntime]')"


class OnnxRuntimeEngine:
    """A network run by ONNX Runtime's CPU provider."""

    def __init__(
        self,
        session: Any,  # noqa: ANN401 - the package is untyped
        version: str,
        threads: int,
    ) -> None:
        self.inputs = {i.name: _spec(i) for i in session.get_inputs()}
        self.outputs = {o.name: _spec(o) for o in session.get_outputs()}
        self._session = session
        self._lock = Lock()
        self._line = f"onnxruntime {version} on CPU, {threads or 'all'} threads"

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs; the arrays returned belong to the caller.

        Raises:
            UsageError: an input is missing, unknown, or has another shape or dtype.
            MachineError: ONNX Runtime failed.
        """
        # Its own message for a wrong feed is a long text about the graph.
        check_feeds(self.inputs, feeds)

        with self._lock:
            try:
                values = self._session.run(list(self.outputs), dict(feeds))
            except Exception as error:  # noqa: BLE001 - its exceptions have no other common base
                raise MachineError(
                    f"ONNX Runtime failed ({str(error).splitlines()[0]}).", "Try --engine openvino."
                ) from None
        return {
            name: np.asarray(value, dtype=np.float32)
            for name, value in zip(self.outputs, values, strict=True)
        }

    def describe(self) -> str:
        """Return one line: backend, version, device, threads."""
        return self._line


def compile_graph(
    path: Path,
    threads: int | None,
    sha256: str | None = None,  # noqa: ARG001 - this backend has no cache
) -> OnnxRuntimeEngine:
    """Open an ONNX file.

    Args:
        path: the ONNX file.
        threads: CPU threads; None: one per core.
        sha256: ignored.

    Raises:
        UsageError: ONNX Runtime cannot read the file.
    """
    import onnxruntime  # noqa: PLC0415 - another backend may be in use

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # noqa: BLE001 - its exceptions have no other common base
        raise UsageError(
            f"ONNX Runtime cannot read {path} ({str(error).splitlines()[0]}).",
            "Export the bundle again.",
        ) from None
    return OnnxRuntimeEngine(session, onnxruntime.__version__, threads or 0)


def _spec(value: Any) -> TensorSpec:  # noqa: ANN401 - the package is untyped
    # A free axis has a name instead of a size.
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorSpec(shape, np.dtype(_DTYPES.get(value.type, np.float32)))
