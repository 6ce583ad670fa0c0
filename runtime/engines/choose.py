"""Choice of the backend for this machine, and the one function that compiles a graph with it.

`tensorrt` is the default where driver, device and library are present, `openvino` on a CPU.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import get_args

from gasmcast.backend import Backend
from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.engines.protocol import Engine

__all__ = ["choose_backend", "missing_bf16", "open_engine"]

_ORDER = ("tensorrt", "openvino", "onnxruntime")


def choose_backend(backend: str = "auto") -> tuple[str, str]:
    """Return the backend to use and why, as a phrase for logs.

    Raises:
        UsageError: no such backend.
        MachineError: the backend cannot be used on this machine.
    """
    if backend not in get_args(Backend):
        raise UsageError(f"No backend {backend!r}.", f"Backends: {', '.join(get_args(Backend))}.")

    # An explicit request is honored or refused, never replaced by another backend.
    if backend != "auto":
        why = _missing(backend)
        if why:
            raise MachineError(
                f"The backend {backend} cannot be used here: {why}.",
                "Use --engine auto, or install what is missing.",
            )
        return backend, "as asked"

    reasons: list[str] = []
    for name in _ORDER:
        why = _missing(name)
        if not why:
            return name, "; ".join(["auto", *reasons])
        reasons.append(f"no {name}: {why}")
    raise MachineError(
        f"No backend can be used here ({'; '.join(reasons)}).", "Install one: pip install openvino."
    )


def missing_bf16(backend: str) -> str:
    """Return why a backend cannot compute an FP32 file in BF16 on this machine; empty if it can."""
    if backend != "openvino":
        return f"{backend} computes a file in the types that it is written in"
    reason: str = import_module("gasmcast.runtime.engines.openvino").missing_bf16()
    return reason


def open_engine(
    onnx_path: str | Path,
    backend: str = "auto",
    threads: int | None = None,
    sha256: str | None = None,
    *,
    bf16: bool = False,
    weights_sha256: str | None = None,
    throughput: bool = False,
) -> Engine:
    """Compile a graph for this machine.

    Args:
        onnx_path: the ONNX file.
        backend: `auto`, `openvino`, `onnxruntime` or `tensorrt`.
        threads: CPU threads; None: one per core.
        sha256: checksum that the file must have, from the bundle's manifest; None: not checked.
            What is compiled is what was hashed.
        bf16: compute in BF16 what the file leaves in FP32.
        weights_sha256: checksum that its external weights must have; required with `sha256` if it
            has some.
        throughput: compute several rows at the same time where the backend can be told to; a row
            alone then takes longer.

    Raises:
        UsageError: no such file, not a network, another checksum, no such backend.
        MachineError: the backend cannot be used on this machine, or it does not support BF16; or
            threads or memory ran out.
    """
    path = Path(onnx_path)
    if not path.is_file():
        raise UsageError(f"There is no network {path}.", "Export the bundle again.")

    name, _ = choose_backend(backend)
    if bf16 and (why := missing_bf16(name)):
        raise MachineError(
            f"BF16 is not available here: {why}.",
            "Use --precision auto, or one without bf16 in its name.",
        )

    # Only OpenVINO has these arguments. The others refuse BF16 above, and run the rows of a batch
    # together in any case.
    options = {"bf16": bf16, "throughput": throughput} if name == "openvino" else {}
    module = import_module(f"gasmcast.runtime.engines.{name}")
    engine: Engine = module.compile_graph(
        path, threads, sha256, weights_sha256=weights_sha256, **options
    )
    return engine


def _missing(backend: str) -> str:
    reason: str = import_module(f"gasmcast.runtime.engines.{backend}").missing()
    return reason
