"""OpenVINO on the CPU: the default of a machine without an NVIDIA GPU.

Networks are compiled for latency: one inference stream over all threads. What OpenVINO compiles is
kept in the user's cache, outside the bundle, in a folder named after the graph's checksum and the
version of OpenVINO, so that a second start maps it from disk.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gasmcast.errors import UsageError
from gasmcast.files import sha256_of
from gasmcast.runtime.engines.graph_files import graph_files
from gasmcast.runtime.engines.openvino_engine import OpenVinoEngine, last_line
from gasmcast.runtime.engines.openvino_linears import lacks_vnni, linears_to_convolutions
from gasmcast.runtime.engines.user_cache import user_cache

__all__ = ["OpenVinoEngine", "compile_graph", "missing", "missing_bf16", "the_core"]


_SINGLE_ROW_BYTES = 8_000_000
"""Networks above this size (with external weights) are compiled for a batch of 1.

One row then fills all cores: larger batches gained 0 to 15 % and took 250 MB each at real size. A
batch of 1 is also what OpenVINO's low-precision passes handle most reliably. Small networks keep
the batch, which makes them three times as fast.
"""


def missing() -> str:
    """Return why OpenVINO cannot be used here; empty if it can."""
    if find_spec("openvino"):
        return ""
    return "the package openvino is not installed (pip install openvino)"


def missing_bf16() -> str:
    """Return why nothing can be computed in BF16 here; empty if it can."""
    if why := missing():
        return why
    if "BF16" in the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return ""
    return "this processor does not compute in BF16 (AVX512_BF16 or AMX)"


@cache
def the_core() -> Any:  # noqa: ANN401 - the package is untyped
    """Return the process's one OpenVINO `Core`.

    On a CPU with AVX-512 each Core installs a signal stack for the thread that creates it, and
    restores the previous one when it is destroyed. If two Cores overlap, the second to be destroyed
    restores the stack of the first, which is freed by then: the next signal (SIGTERM, SIGCHLD)
    ends the process with SIGSEGV. Seen with OpenVINO 2026.4; `test_cpu_engines.py` has the test.
    """
    import openvino  # noqa: PLC0415 - takes half a second, and another backend may be in use

    return openvino.Core()


def compile_graph(
    path: Path,
    threads: int | None,
    sha256: str | None,
    properties: Mapping[str, Any] | None = None,
    *,
    bf16: bool = False,
    cache: bool = True,
) -> OpenVinoEngine:
    """Compile an ONNX file, or load it from the cache.

    Args:
        path: the ONNX file.
        threads: CPU threads; None: one per core.
        sha256: checksum of the file, if already known.
        properties: further OpenVINO properties, for measurements.
        bf16: compute in BF16 what the file leaves in FP32; inputs and outputs keep their types.
        cache: keep what is compiled.

    Raises:
        UsageError: OpenVINO cannot read the file.
    """
    import openvino  # noqa: PLC0415 - takes half a second, and another backend may be in use

    version = openvino.get_version().split("-")[0]
    settings = _properties(threads, bf16=bf16)
    if cache:
        digest = (sha256 or sha256_of(path))[:24]
        folder = _cache_folder(f"{digest}-{version}-{settings['INFERENCE_PRECISION_HINT']}")
        if folder is not None:
            settings["CACHE_DIR"] = str(folder)
    settings.update(properties or {})

    # Small networks keep a free batch, unless OpenVINO's low-precision passes fail on it.
    size = sum(file.stat().st_size for file in graph_files(path))
    attempts = (True,) if size > _SINGLE_ROW_BYTES else (False, True)
    reason = ""
    for single_row in attempts:
        try:
            return _compile(path, version, settings, single_row=single_row)
        except RuntimeError as error:  # noqa: PERF203 - at most two attempts
            reason = last_line(error)
    raise UsageError(f"OpenVINO cannot read {path} ({reason}).", "Export the bundle again.")


def _properties(threads: int | None, *, bf16: bool) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        # No cache of kernels shared among nodes: with it, 2026.4 gave 34 dB on the complete graph
        # of `fusion` = add, without it 134 dB.
        "CPU_RUNTIME_CACHE_CAPACITY": "0",
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
    }
    if threads:
        properties["INFERENCE_NUM_THREADS"] = threads
    return properties


def _cache_folder(key: str) -> Path | None:
    """Return OpenVINO's folder in the user's cache, created if missing; None if not writable."""
    folder = user_cache("openvino", key)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _compile(
    path: Path, version: str, settings: dict[str, Any], *, single_row: bool
) -> OpenVinoEngine:
    """Compile a file for any batch, or for a batch of 1."""
    import openvino  # noqa: PLC0415 - as in `compile_graph`

    core = the_core()
    model = core.read_model(str(path))
    outputs = [port.get_any_name() for port in model.outputs]
    stored_fp16 = any(
        port.get_element_type() == openvino.Type.f16
        for node in model.get_ops()
        for port in node.outputs()
    )

    rewritten = linears_to_convolutions(model) if lacks_vnni() else 0
    if single_row:
        shapes = {
            port.get_any_name(): [1, *list(port.get_partial_shape())[1:]] for port in model.inputs
        }
        model.reshape(shapes)

    # An unchanged network is compiled from its path: OpenVINO then finds it in the cache without
    # reading its weights.
    source = model if single_row or rewritten else str(path)
    return OpenVinoEngine(
        core.compile_model(source, "CPU", settings),
        outputs,
        version,
        core.get_property("CPU", "FULL_DEVICE_NAME"),
        single_row=single_row,
        stored_fp16=stored_fp16,
    )
