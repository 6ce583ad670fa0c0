"""The CUDA runtime's bindings and the NVIDIA device of this machine, without torch.

Bindings come from `cuda-bindings`, because a Jetson has no torch. Every call here and in
`cuda_stream.py` exists in its versions 12.8 and 13.5; the tables of tests/runtime/engines/api list
them, and the tests compare each call with the tables.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from gasmcast.errors import MachineError

__all__ = ["CudaDevice", "CudaValue", "check_result", "error_text", "find_device", "load_cudart"]

CudaValue = Any
"""Value of a CUDA call: a handle, an address or a structure; the package is untyped."""

_INDEX = 0
"""Device of all engines: the first one that CUDA shows (`CUDA_VISIBLE_DEVICES` chooses it)."""
_NO_DRIVER_HINT = "Install NVIDIA's driver, then run `nvidia-smi`."


@dataclass(frozen=True)
class CudaDevice:
    """Properties of an NVIDIA device that a compiled engine depends on."""

    index: int
    name: str
    sm: str
    """Compute capability, for example `8.9`."""
    memory: int
    """Total device memory in bytes."""

    def __str__(self) -> str:
        return f"{self.name} (SM {self.sm})"


def load_cudart() -> ModuleType:
    """Return the Python bindings of the CUDA runtime.

    Raises:
        MachineError: the package is not installed, or too old to have `cuda.bindings`.
    """
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError:
        raise MachineError(
            "The package cuda-bindings is missing.",
            "pip install cuda-bindings (on a CUDA 12 driver: 'cuda-bindings<13').",
        ) from None


def find_device() -> CudaDevice:
    """Return the first device that CUDA shows, found without TensorRT.

    `trt.Runtime` crashes the process on a machine without a driver, so this runs before it.

    Raises:
        MachineError: no package, no driver, a driver older than the package, or no device.
    """
    cudart = load_cudart()
    try:
        error, count = cudart.cudaGetDeviceCount()
    except RuntimeError as missing:  # raised by cuda-bindings when libcuda itself is missing
        raise MachineError(f"There is no NVIDIA driver ({missing}).", _NO_DRIVER_HINT) from None

    _check_driver(cudart, error, count)

    properties = check_result(cudart, cudart.cudaGetDeviceProperties(_INDEX), "read the device")
    name = properties.name
    if isinstance(name, bytes):  # cuda-bindings returns C's fixed-size buffer
        name = name.decode(errors="replace").strip("\0 ")
    return CudaDevice(
        index=_INDEX,
        name=str(name),
        sm=f"{properties.major}.{properties.minor}",
        memory=int(properties.totalGlobalMem),
    )


def _check_driver(cudart: ModuleType, error: object, count: int) -> None:
    """Raise a MachineError if the driver is missing, too old, or sees no device."""
    if error == cudart.cudaError_t.cudaErrorInsufficientDriver:
        driver, runtime = cudart.cudaDriverGetVersion()[1], cudart.cudaRuntimeGetVersion()[1]
        # A version of 0 means that there is no driver.
        if not driver:
            raise MachineError("There is no NVIDIA driver.", _NO_DRIVER_HINT)
        raise MachineError(
            f"The NVIDIA driver supports CUDA {_version(driver)}, "
            f"cuda-bindings wants {_version(runtime)}.",
            f"Update the driver, or pip install 'cuda-bindings<{driver // 1000 + 1}'.",
        )

    # Some drivers report success and a count of 0 instead of "no device".
    success = error == cudart.cudaError_t.cudaSuccess
    if error == cudart.cudaError_t.cudaErrorNoDevice or (success and not count):
        raise MachineError(
            "The NVIDIA driver sees no device.",
            "See `nvidia-smi`, and whether CUDA_VISIBLE_DEVICES hides it.",
        )
    if not success:
        raise MachineError(
            f"CUDA does not start ({error_text(cudart, error)}).", "See `nvidia-smi` and `dmesg`."
        )


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def error_text(cudart: ModuleType, error: object) -> str:
    """Return CUDA's own description of an error code."""
    # Versions of cuda-bindings return bytes or text.
    text = cudart.cudaGetErrorString(error)[1]
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def check_result(cudart: ModuleType, result: tuple[Any, ...], action: str) -> CudaValue:
    """Return the value of a CUDA call's `(error, value)`; None if it returns no value.

    Args:
        cudart: the bindings.
        result: what the call returned.
        action: phrase for the error message, as in "create a stream".

    Raises:
        MachineError: the call failed.
    """
    # Calls without a value return `(error,)`.
    error, *values = result
    if error != cudart.cudaError_t.cudaSuccess:
        out_of_memory = error == cudart.cudaError_t.cudaErrorMemoryAllocation
        hint = "Use fewer cameras, or close what else uses the device." if out_of_memory else ""
        raise MachineError(f"CUDA could not {action} ({error_text(cudart, error)}).", hint)

    return values[0] if values else None
