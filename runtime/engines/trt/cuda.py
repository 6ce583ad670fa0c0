"""The few CUDA calls of a TensorRT session, without torch: a device, one stream, device and page-locked memory, graphs.

Buffers come from `cuda-bindings`, because a Jetson has no torch. Every call here is in its 12.8 and 13.5 alike; the
tables of tests/runtime/engines/api say so, and the tests compare each call with them.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError

__all__ = ["Cuda", "CudaDevice", "find_device", "load_cudart"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CudaDevice:
    """An NVIDIA device: what a compiled engine depends on."""

    index: int
    name: str
    sm: str
    memory: int

    def __str__(self) -> str:
        return f"{self.name} (SM {self.sm})"


def load_cudart() -> ModuleType:
    """The CUDA runtime's Python bindings.

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


def find_device(index: int = 0, cudart: ModuleType | None = None) -> CudaDevice:
    """The device at `index`, found without TensorRT: `trt.Runtime` crashes the process where there is none.

    Raises:
        MachineError: no package, no driver, a driver older than the package, no device, or no such index.
    """
    cudart = cudart or load_cudart()
    try:
        error, count = cudart.cudaGetDeviceCount()
    except RuntimeError as trouble:  # what cuda-bindings raises when libcuda itself is not there
        raise MachineError(
            f"There is no NVIDIA driver ({trouble}).",
            "Install NVIDIA's driver, then run `nvidia-smi`.",
        ) from None
    if error == cudart.cudaError_t.cudaErrorInsufficientDriver:
        driver, runtime = cudart.cudaDriverGetVersion()[1], cudart.cudaRuntimeGetVersion()[1]
        if not driver:
            raise MachineError(
                "There is no NVIDIA driver.", "Install NVIDIA's driver, then run `nvidia-smi`."
            )
        raise MachineError(
            f"The NVIDIA driver supports CUDA {_version(driver)}, cuda-bindings wants {_version(runtime)}.",
            f"Update the driver, or pip install 'cuda-bindings<{driver // 1000 + 1}'.",
        )
    if error == cudart.cudaError_t.cudaErrorNoDevice or (
        error == cudart.cudaError_t.cudaSuccess and not count
    ):
        raise MachineError(
            "The NVIDIA driver sees no device.",
            "See `nvidia-smi`, and whether CUDA_VISIBLE_DEVICES hides it.",
        )
    if error != cudart.cudaError_t.cudaSuccess:
        raise MachineError(
            f"CUDA does not start ({_text(cudart, error)}).", "See `nvidia-smi` and `dmesg`."
        )
    if index >= count:
        raise MachineError(
            f"There is no CUDA device {index}: this machine has {count}, counted from 0."
        )
    properties = _ok(cudart, cudart.cudaGetDeviceProperties(index), "read the device")
    name = (
        properties.name.decode(errors="replace").strip("\0 ")
        if isinstance(properties.name, bytes)
        else str(properties.name)
    )
    return CudaDevice(
        index, name, f"{properties.major}.{properties.minor}", int(properties.totalGlobalMem)
    )


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _text(cudart: ModuleType, error: object) -> str:
    text = cudart.cudaGetErrorString(error)[1]
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def _ok(cudart: ModuleType, result: tuple[Any, ...], doing: str) -> Any:  # noqa: ANN401 - CUDA handles have no types
    error, *values = result
    if error != cudart.cudaError_t.cudaSuccess:
        hint = (
            "Use fewer streams, or close what else uses the device."
            if error == cudart.cudaError_t.cudaErrorMemoryAllocation
            else ""
        )
        raise MachineError(f"CUDA could not {doing} ({_text(cudart, error)}).", hint)
    return values[0] if values else None


class Cuda:
    """One device, one stream of its own, and all memory taken through it, given back by `close`.

    Not for several threads at once; `use` makes the device current in the calling one.
    """

    def __init__(self, index: int = 0, cudart: ModuleType | None = None) -> None:
        self._cudart = cudart = cudart or load_cudart()
        self._index = index
        self._device: list[int] = []
        self._host: list[int] = []
        self._graphs: list[object] = []
        self.use()
        self._stream = _ok(
            cudart,
            cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking),
            "create a stream",
        )

    @property
    def stream(self) -> int:
        """The stream's handle, as TensorRT takes it."""
        return int(self._stream)

    def use(self) -> None:
        """Make the device current in this thread."""
        _ok(self._cudart, self._cudart.cudaSetDevice(self._index), f"use device {self._index}")

    def on_device(self, size: int) -> int:
        """The address of `size` bytes on the device."""
        pointer = int(
            _ok(
                self._cudart,
                self._cudart.cudaMalloc(max(size, 1)),
                f"take {size / 1e6:.0f} MB of device memory",
            )
        )
        self._device.append(pointer)
        return pointer

    def on_host(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Page-locked host memory as an array: copies from it run beside the host."""
        size = max(int(np.prod(shape)) * dtype.itemsize, 1)
        pointer = int(
            _ok(
                self._cudart,
                self._cudart.cudaMallocHost(size),
                f"take {size / 1e6:.0f} MB of page-locked memory",
            )
        )
        self._host.append(pointer)
        raw = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pointer))
        return raw[: int(np.prod(shape)) * dtype.itemsize].view(dtype).reshape(shape)

    def upload(self, target: int, source: NDArray[Any]) -> None:
        """Enqueue a copy of a contiguous page-locked array to the device."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        result = self._cudart.cudaMemcpyAsync(
            target, source.ctypes.data, source.nbytes, kind, self._stream
        )
        _ok(self._cudart, result, "copy to the device")

    def download(self, target: NDArray[Any], source: int) -> None:
        """Enqueue a copy from the device into a contiguous page-locked array."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        result = self._cudart.cudaMemcpyAsync(
            target.ctypes.data, source, target.nbytes, kind, self._stream
        )
        _ok(self._cudart, result, "copy from the device")

    def wait(self) -> None:
        """Until all that was enqueued is done.

        Raises:
            MachineError: something enqueued failed on the device.
        """
        _ok(self._cudart, self._cudart.cudaStreamSynchronize(self._stream), "finish its work")

    def capture(self, work: Callable[[], None]) -> object | None:
        """What `work` enqueues, as a graph for `launch`; None, with a warning, where it cannot be captured.

        `work` must have run on this stream before: TensorRT allocates and loads kernels on its first enqueue.
        """
        cudart, graph = self._cudart, None
        trouble: Exception | None = None
        begun = cudart.cudaStreamBeginCapture(
            self._stream, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        )
        try:
            _ok(cudart, begun, "begin a capture")
            try:
                work()
            except MachineError as error:
                trouble = error
            # Also after a failure: until the capture is ended, the stream takes no other work.
            graph = _ok(cudart, cudart.cudaStreamEndCapture(self._stream), "end the capture")
            if trouble is not None:
                raise trouble
            launchable: object = _ok(
                cudart, cudart.cudaGraphInstantiate(graph, 0), "instantiate the graph"
            )
        except MachineError as error:
            cudart.cudaGetLastError()  # clears it, so that the next call does not report it again
            log.warning("no CUDA graph, running without: %s", trouble or error)
            return None
        finally:
            if graph is not None:
                cudart.cudaGraphDestroy(graph)
        self._graphs.append(launchable)
        return launchable

    def launch(self, graph: object) -> None:
        """Enqueue a captured graph."""
        _ok(self._cudart, self._cudart.cudaGraphLaunch(graph, self._stream), "launch a graph")

    def close(self) -> None:
        """Give everything back; arrays of `on_host` are invalid from here on."""
        cudart = self._cudart
        cudart.cudaSetDevice(self._index)
        if self._stream is not None:
            cudart.cudaStreamSynchronize(self._stream)
        for graph in self._graphs:
            cudart.cudaGraphExecDestroy(graph)
        for pointer in self._device:
            cudart.cudaFree(pointer)
        for pointer in self._host:
            cudart.cudaFreeHost(pointer)
        if self._stream is not None:
            cudart.cudaStreamDestroy(self._stream)
        self._graphs, self._device, self._host, self._stream = [], [], [], None
