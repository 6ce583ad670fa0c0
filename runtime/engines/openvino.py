"""OpenVINO on the CPU: the default of a machine without an NVIDIA GPU.

Compiled for latency: one stream over all threads. What OpenVINO compiles is kept in this user's cache, outside the bundle, in a
folder named after the graph's checksum and the version of OpenVINO, so a second start maps it from disk.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError, UsageError
from gasmcast.manifest import sha256_of
from gasmcast.runtime.engines import TensorSpec, check_feeds

__all__ = ["OpenVinoEngine", "cache_folder", "compile_graph", "missing", "the_core"]


def missing() -> str:
    """Why OpenVINO cannot be used here; empty when it can."""
    return "" if find_spec("openvino") else "the package openvino is not installed (pip install openvino)"


@cache
def the_core() -> Any:  # noqa: ANN401 - the package is untyped
    """OpenVINO's `Core`, one a process.

    On a CPU with AVX-512 each Core gives the thread that makes it a stack for signal handlers, and takes it away when it goes. Of two
    Cores that overlap, the second to go puts back the stack of the first, freed by then: the next signal (SIGTERM, SIGCHLD) ends the
    process with SIGSEGV. Seen with OpenVINO 2026.4; `tests/runtime/test_engines_cpu.py` keeps it so.
    """
    import openvino  # noqa: PLC0415 - half a second, and another backend may be in use

    return openvino.Core()


def cache_folder(kind: str, key: str) -> Path | None:
    """A folder of this user's cache, made if need be; None where nothing can be written."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "gasmcast" / kind / key
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


class OpenVinoEngine:
    """A network compiled by OpenVINO.

    Args:
        compiled: the network.
        version: of OpenVINO.
        device: the processor's name.
        one_row: it was compiled for a batch of 1 only; larger batches are run row by row.
    """

    def __init__(self, compiled: Any, version: str, device: str, one_row: bool = False) -> None:  # noqa: ANN401 - the package is untyped
        self.inputs = {port.get_any_name(): _spec(port) for port in compiled.inputs}
        self.outputs = {port.get_any_name(): _spec(port) for port in compiled.outputs}
        self._request = compiled.create_infer_request()
        self._lock = Lock()
        self._rows_alone = one_row
        if one_row:
            self.inputs, self.outputs = _free_batch(self.inputs), _free_batch(self.outputs)
        threads = compiled.get_property("INFERENCE_NUM_THREADS")
        self._line = f"openvino {version} on {device}, {threads} threads"

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs; the arrays returned belong to the caller."""
        batch = check_feeds(self.inputs, feeds)
        if self._rows_alone and batch > 1:
            rows = [self._run({name: array[i : i + 1] for name, array in feeds.items()}) for i in range(batch)]
            return {name: np.concatenate([row[name] for row in rows]) for name in self.outputs}
        return self._run(feeds)

    def _run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        with self._lock:  # inputs are read where they lie; outputs are the request's own memory, so they are copied
            try:
                results = self._request.infer({n: np.ascontiguousarray(a) for n, a in feeds.items()}, share_inputs=True, share_outputs=True)
            except RuntimeError as error:
                raise MachineError(f"OpenVINO failed ({_first_line(error)}).", "Try --engine onnxruntime.") from None
            return {name: np.array(results[name], dtype=np.float32) for name in self.outputs}

    def describe(self) -> str:
        """One line: backend, version, device, threads."""
        return self._line


def compile_graph(path: Path, threads: int | None, sha256: str | None, properties: Mapping[str, Any] | None = None) -> OpenVinoEngine:
    """Compile an ONNX file, or take it from the cache.

    Args:
        path: the ONNX file.
        threads: CPU threads; None: one a core.
        sha256: the file's checksum, where it is known already.
        properties: more OpenVINO properties, for measurements.

    Raises:
        UsageError: OpenVINO cannot read the file.
    """
    import openvino  # noqa: PLC0415 - half a second, and another backend may be in use

    core = the_core()
    version = openvino.get_version().split("-")[0]
    # No cache of kernels shared among nodes: with it 2026.4 gave 34 dB on the complete graph of `fusion` = add, without it 134 dB.
    wanted: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "CPU_RUNTIME_CACHE_CAPACITY": "0"}
    if threads:
        wanted["INFERENCE_NUM_THREADS"] = threads
    folder = cache_folder("openvino", f"{(sha256 or sha256_of(path))[:24]}-{version}")
    if folder:
        wanted["CACHE_DIR"] = str(folder)
    wanted.update(properties or {})
    device = core.get_property("CPU", "FULL_DEVICE_NAME")
    try:
        return OpenVinoEngine(core.compile_model(str(path), "CPU", wanted), version, device)
    except RuntimeError:  # its low-precision passes fail on some Q/DQ graphs whose batch is open, and not when it is 1
        pass
    try:
        model = core.read_model(str(path))
        model.reshape({port.get_any_name(): [1, *list(port.get_partial_shape())[1:]] for port in model.inputs})
        return OpenVinoEngine(core.compile_model(model, "CPU", wanted), version, device, one_row=True)
    except RuntimeError as error:
        raise UsageError(f"OpenVINO cannot read {path} ({_first_line(error)}).", "Export the bundle again.") from None


def _spec(port: Any) -> TensorSpec:  # noqa: ANN401 - the package is untyped
    shape = tuple(int(d.get_length()) if d.is_static else None for d in port.get_partial_shape())
    return TensorSpec(shape, np.dtype(port.get_element_type().to_dtype()))


def _free_batch(specs: dict[str, TensorSpec]) -> dict[str, TensorSpec]:
    return {name: TensorSpec((None, *spec.shape[1:]), spec.dtype) for name, spec in specs.items()}


def _first_line(error: Exception) -> str:
    """The last sentence of an OpenVINO message, which opens with source positions."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
