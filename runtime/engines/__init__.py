"""Compiled networks behind one protocol.

`openvino` is the default on a CPU, `tensorrt` where driver, device and library are present; `auto` says which it took and why.
Each backend is a module here with `missing() -> str` (why it cannot be used on this machine; empty when it can) and
`compile_graph(path, threads, sha256) -> Engine`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError, UsageError

__all__ = [
    "Backend",
    "Engine",
    "TensorSpec",
    "check_feeds",
    "choose_backend",
    "missing_bf16",
    "open_engine",
]

Backend = Literal["auto", "openvino", "onnxruntime", "tensorrt"]
_ORDER = ("tensorrt", "openvino", "onnxruntime")


class TensorSpec(NamedTuple):
    """An input or output of a network."""

    shape: tuple[int | None, ...]
    """None: the batch, any size."""
    dtype: np.dtype[np.generic]


class Engine(Protocol):
    """A network, compiled for one device. One call at a time."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs; the arrays returned belong to the caller.

        Raises:
            UsageError: an input is missing, unknown, or of another shape or dtype.
            MachineError: the device failed.
        """
        ...

    def describe(self) -> str:
        """One line: backend, version, device, threads."""
        ...


def check_feeds(inputs: Mapping[str, TensorSpec], feeds: Mapping[str, NDArray[np.generic]]) -> int:
    """The batch size of `feeds`.

    Raises:
        UsageError: an input is missing, unknown, of another shape or dtype, or the batch sizes differ.
    """
    if set(feeds) != set(inputs):
        raise UsageError(
            f"The network takes {', '.join(inputs)}, it was given {', '.join(feeds) or 'nothing'}."
        )
    batches = set()
    for name, array in feeds.items():
        want = inputs[name]
        fits = len(array.shape) == len(want.shape) and all(
            w in (None, h) for w, h in zip(want.shape, array.shape, strict=True)
        )
        if not fits or array.dtype != want.dtype:
            shape = ", ".join("B" if size is None else str(size) for size in want.shape)
            raise UsageError(
                f"{name} must be ({shape}) {want.dtype}, it is {array.shape} {array.dtype}."
            )
        batches.add(array.shape[0])
    if len(batches) != 1 or 0 in batches:
        raise UsageError(f"The inputs have different or empty batches: {sorted(batches)}.")
    return int(batches.pop())


def choose_backend(backend: str = "auto") -> tuple[str, str]:
    """The backend to use and why, as a phrase.

    Raises:
        UsageError: no such backend.
        MachineError: it cannot be used on this machine.
    """
    if backend not in get_args(Backend):
        raise UsageError(f"No engine {backend!r}.", f"Engines: {', '.join(get_args(Backend))}.")
    if backend != "auto":
        why = _missing(backend)
        if why:
            raise MachineError(
                f"The engine {backend} cannot be used here: {why}.",
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
        f"No engine can be used here ({'; '.join(reasons)}).", "Install one: pip install openvino."
    )


def missing_bf16(backend: str) -> str:
    """Why a backend does not compute an FP32 file in BF16 on this machine; empty when it does."""
    if backend != "openvino":
        return f"{backend} computes a file in the types that it is written in"
    reason: str = import_module("gasmcast.runtime.engines.openvino").missing_bf16()
    return reason


def _missing(backend: str) -> str:
    reason: str = import_module(f"gasmcast.runtime.engines.{backend}").missing()
    return reason


def open_engine(
    onnx_path: str | Path,
    backend: str = "auto",
    threads: int | None = None,
    sha256: str | None = None,
    *,
    bf16: bool = False,
) -> Engine:
    """Compile a graph for this machine.

    Args:
        onnx_path: the ONNX file.
        backend: `auto`, `openvino`, `onnxruntime` or `tensorrt`.
        threads: CPU threads; None: one a core.
        sha256: of the file, where it is known already; it keys the cache of compiled networks.
        bf16: compute what the file leaves in FP32 in BF16.

    Raises:
        UsageError: no such file, not a network, no such backend.
        MachineError: the backend cannot be used on this machine, or there is no BF16 in it.
    """
    path = Path(onnx_path)
    if not path.is_file():
        raise UsageError(f"There is no network {path}.", "Export the bundle again.")
    name, _ = choose_backend(backend)
    if bf16 and (why := missing_bf16(name)):
        raise MachineError(
            f"BF16 cannot be had here: {why}.",
            "Use --precision auto, or one without bf16 in its name.",
        )
    asked = {"bf16": True} if bf16 else {}
    engine: Engine = import_module(f"gasmcast.runtime.engines.{name}").compile_graph(
        path, threads, sha256, **asked
    )
    return engine
