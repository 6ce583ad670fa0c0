"""Device memory in blocks of one size, for tensors that stay on the device between two runs."""

from __future__ import annotations

import threading
from collections import deque
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from gasmcast.errors import MachineError
from gasmcast.runtime.engines.trt.cuda import CudaValue, check_result, load_cudart

__all__ = ["DeviceBlocks"]


class DeviceBlocks:
    """Blocks of device memory, allocated when they are needed and used again afterwards.

    All methods may be called from any thread.

    Args:
        size: bytes of a block.
        index: the device.
        cudart: CUDA's bindings; None: those that are installed.
    """

    def __init__(self, size: int, index: int = 0, cudart: ModuleType | None = None) -> None:
        self.size = size
        self._cudart = cudart or load_cudart()
        self._index = index
        # Guards the allocation, except for `give`: see there.
        self._lock = threading.Lock()
        self._allocated: set[int] = set()
        self._spare: deque[int] = deque()
        self._closed = False

    def take(self) -> int:
        """Return the address of a free block; its content is arbitrary.

        Raises:
            MachineError: there is no device memory left, or the blocks are closed.
        """
        with self._lock:
            self.check_open()
            if self._spare:
                return self._spare.popleft()

            self._use()
            # A size of 0 is an error in CUDA.
            allocated = self._cudart.cudaMalloc(max(self.size, 1))
            address = int(
                self._check(allocated, f"take {self.size / 1e6:.1f} MB more for encoded segments")
            )
            self._allocated.add(address)
            return address

    def give(self, address: int) -> None:
        """Take a block back that nobody reads or writes any more.

        Python calls this when the last reference to a row is dropped, at any point of any thread,
        even inside of `take`. So it neither waits for the lock nor calls CUDA, which could
        invalidate a capture of this thread.
        """
        self._spare.append(address)

    def read(self, address: int, target: NDArray[Any]) -> None:
        """Copy device memory into a contiguous host array, and wait for it.

        Raises:
            MachineError: the device failed, or the blocks are closed.
        """
        self.check_open()
        self._use()
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        result = self._cudart.cudaMemcpy(target.ctypes.data, address, target.nbytes, kind)
        self._check(result, "copy from the device")

    def trim(self) -> None:
        """Free the blocks that nobody uses."""
        with self._lock:
            if self._closed:
                return
            self._use()
            while self._spare:
                address = self._spare.popleft()
                self._allocated.discard(address)
                self._cudart.cudaFree(address)

    def close(self) -> None:
        """Free all blocks, also those in use: their rows cannot be read afterwards."""
        with self._lock:
            self._closed = True
            self._use()
            # CUDA finishes the work that is enqueued on a block before it frees it.
            for address in self._allocated:
                self._cudart.cudaFree(address)
            self._allocated.clear()
            self._spare.clear()

    def check_open(self) -> None:
        """Raise a MachineError if the blocks are closed."""
        if self._closed:
            raise MachineError(
                "These encoded segments are gone: the engine that made them was closed.",
                "Open the model again and start a new window.",
            )

    def _use(self) -> None:
        """Make the device current in this thread."""
        self._check(self._cudart.cudaSetDevice(self._index), f"use device {self._index}")

    def _check(self, result: tuple[Any, ...], action: str) -> CudaValue:
        return check_result(self._cudart, result, action)
