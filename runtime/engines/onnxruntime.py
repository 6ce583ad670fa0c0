"""Run networks with ONNX Runtime on the CPU: the reference of checks, and OpenVINO's stand-in."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError, UsageError
from gasmcast.missing import install_hint
from gasmcast.no_telemetry import disable_telemetry
from gasmcast.runtime.engines.graph_files import verified_graph
from gasmcast.runtime.engines.protocol import TensorSpec, check_feeds
from gasmcast.runtime.engines.shortage import raise_if_shortage

__all__ = ["OnnxRuntimeEngine", "compile_graph", "load_onnxruntime", "missing", "open_session"]

_DTYPES = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
}
_ERRORS_ONLY = 3
"""Log level: ONNX Runtime warns of every initializer that it cannot fold."""


def missing() -> str:
    """Return why ONNX Runtime cannot be used on this machine; an empty string if it can."""
    if find_spec("onnxruntime"):
        return ""
    return f"the package onnxruntime is not installed ({install_hint('onnxruntime')})"


def open_session(
    graph: Path | str | bytes,
    *,
    threads: int | None = None,
    literal_qdq: bool = False,
    spinning: bool = True,
    memory_pattern: bool = True,
    name: str = "",
) -> Any:  # noqa: ANN401 - untyped package
    """Open an ONNX graph on the CPU provider; the only place that creates sessions.

    Args:
        graph: ONNX file, or a serialized model.
        threads: CPU threads; all cores if None or 0.
        literal_qdq: execute Q/DQ nodes as written. ONNX Runtime's default optimizer turned a graph
            with FP16 scales and a convolution's bias into noise (4 dB instead of 67 dB): it
            quantizes the bias by a scale that FP16 cannot hold.
        spinning: let idle threads spin, which lowers latency but keeps cores busy; off for work
            that shares the machine.
        memory_pattern: plan memory once for all runs; off saves memory in graphs with many
            outputs.
        name: what error messages call the graph; its path by default.

    Returns:
        `onnxruntime.InferenceSession`.

    Raises:
        UsageError: ONNX Runtime cannot read the graph.
        MachineError: too little memory or too few threads.
    """
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    # Errors are raised, and warnings about folding help nobody.
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads or 0
    options.enable_mem_pattern = memory_pattern
    if literal_qdq:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")

    content = graph if isinstance(graph, bytes) else str(graph)
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - its exceptions have no common base but this
        # A graph that is made in memory has no name.
        name = name or ("a graph in memory" if isinstance(graph, bytes) else str(graph))
        raise_if_shortage(error, f"ONNX Runtime cannot open {name}")
        raise UsageError(
            f"ONNX Runtime cannot read {name} ({_first_line(error)}).", "Export the bundle again."
        ) from None


class OnnxRuntimeEngine:
    """Network that ONNX Runtime's CPU provider runs."""

    def __init__(
        self,
        session: Any,  # noqa: ANN401 - untyped package
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
            UsageError: an input is missing, unknown, or of another shape or dtype.
            MachineError: ONNX Runtime failed.
        """
        check_feeds(self.inputs, feeds)
        # Two calls at once would share the same threads, and both would take longer.
        with self._lock:
            try:
                values = self._session.run(list(self.outputs), dict(feeds))
            except Exception as error:  # noqa: BLE001 - its exceptions have no common base but this
                raise_if_shortage(error, "ONNX Runtime failed")
                raise MachineError(
                    f"ONNX Runtime failed ({_first_line(error)}).", "Try --engine openvino."
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
    sha256: str | None = None,
    *,
    literal_qdq: bool = False,
    spinning: bool = True,
    weights_sha256: str | None = None,
) -> OnnxRuntimeEngine:
    """Open an ONNX file as an engine.

    Args:
        path: ONNX file.
        threads: CPU threads; all cores if None.
        sha256: checksum that the file must have; None: not checked.
        literal_qdq: see `open_session`.
        spinning: see `open_session`.
        weights_sha256: checksum that its external weights must have; required with `sha256` if it
            has some.

    Raises:
        UsageError: ONNX Runtime cannot read the file, or it is not the file of that checksum.
        MachineError: too little memory or too few threads.
    """
    version = load_onnxruntime().__version__
    with verified_graph(path, sha256, weights_sha256) as copy:
        session = open_session(
            copy.source,
            threads=threads,
            literal_qdq=literal_qdq,
            spinning=spinning,
            name=str(path),
        )
    return OnnxRuntimeEngine(session, version, threads or 0)


def load_onnxruntime() -> ModuleType:
    """Import ONNX Runtime without its telemetry, and return the module.

    Raises:
        ImportError: the package is not installed.
    """
    # It uploads an event and writes a device id as soon as it is imported.
    disable_telemetry()
    import onnxruntime  # noqa: PLC0415 - another backend may be in use

    # The builds for Windows read no variable.
    onnxruntime.disable_telemetry_events()
    module: ModuleType = onnxruntime
    return module


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _spec(value: Any) -> TensorSpec:  # noqa: ANN401 - untyped package
    # A dynamic axis has a name instead of a size.
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorSpec(shape, np.dtype(_DTYPES.get(value.type, np.float32)))
