"""The TensorRT library on this machine: whether it is there, and its one logger and runtime."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from gasmcast.errors import MachineError
from gasmcast.runtime.engines.trt.cuda import find_device

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["deserialize", "gaps", "load_tensorrt", "missing", "numpy_type"]

log = logging.getLogger(__name__)

FLOOR, CEILING = (10, 3), (12,)


def load_tensorrt() -> ModuleType:
    """The module `tensorrt`, of a version that this code was checked against.

    Raises:
        MachineError: not installed, without its libraries, or another version.
    """
    remedy = 'On a PC: pip install "tensorrt>=10.3,<12". On a Jetson it comes with JetPack: use a venv with --system-site-packages.'
    try:
        module = importlib.import_module("tensorrt")
    except ModuleNotFoundError:
        raise MachineError("The package tensorrt is missing.", remedy) from None
    except ImportError as error:
        raise MachineError(
            f"The package tensorrt is there without its libraries ({error}).", remedy
        ) from None
    version = str(getattr(module, "__version__", "0"))
    number = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if not FLOOR <= number < CEILING:
        raise MachineError(
            f"TensorRT is {version}; gasmcast runs on 10.3 and later, before 12.", remedy
        )
    return module


def gaps() -> list[MachineError]:
    """Everything that this machine lacks for TensorRT; empty: nothing."""
    return [error for error in (_trouble(load_tensorrt), _trouble(find_device)) if error]


def _trouble(check: Callable[[], object]) -> MachineError | None:
    try:
        check()
    except MachineError as error:
        return error
    return None


def missing() -> str:
    """Why TensorRT cannot be used here; empty when it can."""
    return ", ".join(error.what.rstrip(".").replace("The", "the", 1) for error in gaps())


_KEPT: dict[
    str, tuple[Any, Any]
] = {}  # by module: TensorRT takes one logger a process, and an engine must not outlive its runtime


def deserialize(module: ModuleType, plan: bytes) -> trt.ICudaEngine | None:
    """The engine of a plan; None where TensorRT refuses it (another version or device, or damaged).

    The caller has checked that there is a device, and that the plan is this user's own: loading it runs its code.
    """
    return _runtime(module).deserialize_cuda_engine(plan)


def _runtime(module: ModuleType) -> trt.Runtime:
    trt = module
    if trt.__name__ not in _KEPT:
        logger = _logger(trt)
        _KEPT[trt.__name__] = (logger, trt.Runtime(logger))
    return _KEPT[trt.__name__][1]


def _logger(module: ModuleType) -> trt.ILogger:
    """A logger into Python's own."""
    trt = module
    levels = {"VERBOSE": logging.DEBUG, "INFO": logging.DEBUG, "WARNING": logging.INFO}

    class Forward(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: object, text: str) -> None:
            log.log(
                levels.get(str(severity).rpartition(".")[2], logging.ERROR), "TensorRT: %s", text
            )

    return Forward()


def numpy_type(module: ModuleType, dtype: trt.DataType) -> np.dtype[Any]:
    """The NumPy type of a network's input or output.

    Raises:
        MachineError: a type that no graph of gasmcast has.
    """
    trt = module
    known = {
        trt.DataType.FLOAT: np.float32,
        trt.DataType.HALF: np.float16,
        trt.DataType.INT32: np.int32,
        trt.DataType.INT64: np.int64,
        trt.DataType.UINT8: np.uint8,
    }
    if dtype not in known:
        raise MachineError(
            f"The engine has an input or output of type {dtype}, which gasmcast does not use."
        )
    return np.dtype(known[dtype])
