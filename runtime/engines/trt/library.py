"""The TensorRT library of this machine: its version, and its one logger and runtime."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from gasmcast.errors import MachineError
from gasmcast.missing import install_hint
from gasmcast.runtime.engines.trt.cuda import find_device

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = [
    "SUPPORTED_RANGE",
    "deserialize",
    "gaps",
    "is_supported",
    "load_tensorrt",
    "missing",
    "numpy_type",
]

_log = logging.getLogger(__name__)

SUPPORTED_RANGE = ">=10.3,<12"
"""TensorRT versions that this code was checked against; others have other functions and flags."""
_OLDEST, _FIRST_UNSUPPORTED = (10, 3), (12,)


def is_supported(version: str) -> bool:
    """Return whether a TensorRT version is in `SUPPORTED_RANGE`.

    Major and minor number decide; what follows, such as `rc1` or a build number, does not.

    Args:
        version: as in `tensorrt.__version__`.
    """
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    return _OLDEST <= numbers < _FIRST_UNSUPPORTED


def load_tensorrt() -> ModuleType:
    """Return the module `tensorrt`, in a version that this code was checked against.

    Raises:
        MachineError: not installed, installed without its libraries, or another version.
    """
    remedy = (
        f"On a PC: {install_hint('tensorrt')}. "
        "On a Jetson it comes with JetPack: use a venv with --system-site-packages."
    )
    try:
        module = importlib.import_module("tensorrt")
    except ModuleNotFoundError:
        raise MachineError("The package tensorrt is missing.", remedy) from None
    except ImportError as error:
        raise MachineError(
            f"The package tensorrt is there without its libraries ({error}).", remedy
        ) from None

    version = str(getattr(module, "__version__", "0"))
    if not is_supported(version):
        raise MachineError(f"TensorRT is {version}; gasmcast needs {SUPPORTED_RANGE}.", remedy)
    return module


def gaps() -> list[MachineError]:
    """Return everything that this machine lacks for TensorRT; empty if nothing."""
    return [error for error in (_error_of(load_tensorrt), _error_of(find_device)) if error]


def _error_of(check: Callable[[], object]) -> MachineError | None:
    try:
        check()
    except MachineError as error:
        return error
    return None


def missing() -> str:
    """Return why TensorRT cannot be used here; empty if it can."""
    return ", ".join(error.what.rstrip(".").replace("The", "the", 1) for error in gaps())


# Module name -> (logger, runtime), for the life of the process: TensorRT accepts one logger per
# process, and an engine must not outlive its runtime.
_RUNTIMES: dict[str, tuple[Any, Any]] = {}


def deserialize(module: ModuleType, plan: bytes) -> trt.ICudaEngine | None:
    """Return the engine of a plan; None if TensorRT refuses it (other version, device, damage).

    The caller must have checked that there is a device, and that the plan belongs to this user:
    loading it runs its code.
    """
    return _runtime(module).deserialize_cuda_engine(plan)


def _runtime(module: ModuleType) -> trt.Runtime:
    trt = module
    if trt.__name__ not in _RUNTIMES:
        # Both are kept: TensorRT holds only pointers to them.
        logger = _logger(trt)
        _RUNTIMES[trt.__name__] = (logger, trt.Runtime(logger))
    return _RUNTIMES[trt.__name__][1]


def _logger(module: ModuleType) -> trt.ILogger:
    """Return a TensorRT logger that forwards to Python's `logging`."""
    trt = module
    levels = {"VERBOSE": logging.DEBUG, "INFO": logging.DEBUG, "WARNING": logging.INFO}

    class Forward(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: object, text: str) -> None:
            _log.log(
                levels.get(str(severity).rpartition(".")[2], logging.ERROR), "TensorRT: %s", text
            )

    return Forward()


def numpy_type(module: ModuleType, dtype: trt.DataType) -> np.dtype[Any]:
    """Return the NumPy type of a network's input or output.

    Raises:
        MachineError: a type that no graph of gasmcast uses.
    """
    trt = module
    known = {
        trt.DataType.FLOAT: np.float32,
        trt.DataType.HALF: np.float16,
        trt.DataType.INT32: np.int32,
        trt.DataType.INT64: np.int64,
        trt.DataType.UINT8: np.uint8,
    }

    # `run` copies between NumPy arrays, so it needs a NumPy type for each tensor.
    if dtype not in known:
        raise MachineError(
            f"The engine has an input or output of type {dtype}, which gasmcast does not use.",
            "Export the bundle again with this version of gasmcast.",
        )
    return np.dtype(known[dtype])
