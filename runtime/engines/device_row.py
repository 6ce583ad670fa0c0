"""Tensors that an engine left in device memory: one row of a batch, and a window of rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gasmcast.runtime.engines.trt.device_blocks import DeviceBlocks

__all__ = ["DeviceRow", "DeviceWindow", "PlacedTensor", "RowLayout"]

# What cudaMalloc guarantees for an address; kernels read whole vectors.
_ALIGNMENT = 256


class PlacedTensor(NamedTuple):
    """Tensor of a row: its place in the row's block, and its shape without the batch."""

    offset: int
    """Bytes from the start of the block."""
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    nbytes: int


class RowLayout:
    """Places of all tensors of a row in one block of device memory.

    Args:
        shapes: by tensor, its shape without the batch.
        dtypes: by tensor, its type as the engine writes it.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, np.dtype[np.generic]]
    ) -> None:
        self.tensors: dict[str, PlacedTensor] = {}
        end = 0
        for name, shape in shapes.items():
            nbytes = math.prod(shape) * dtypes[name].itemsize
            offset = math.ceil(end / _ALIGNMENT) * _ALIGNMENT
            self.tensors[name] = PlacedTensor(offset, shape, dtypes[name], nbytes)
            end = offset + nbytes
        self.nbytes = end


class DeviceRow:
    """Outputs of one row of a batch, in a block of device memory of its own.

    The next run of the engine does not overwrite it. The block is given back when the last
    reference to the row is dropped, as NumPy does with an array.

    Args:
        blocks: memory that the block belongs to.
        block: address of the block, which belongs to the row from now on.
        layout: tensors in the block.
    """

    def __init__(self, blocks: DeviceBlocks, block: int, layout: RowLayout) -> None:
        self.blocks = blocks
        self.tensors: Mapping[str, PlacedTensor] = layout.tensors
        self._block = block

    def __del__(self) -> None:
        self.blocks.give(self._block)

    def address(self, name: str) -> int:
        """Return the device address of a tensor.

        Raises:
            MachineError: the engine that made the row was closed.
        """
        self.blocks.check_open()
        return self._block + self.tensors[name].offset

    def to_host(self, name: str) -> NDArray[np.float32]:
        """Copy a tensor to the host.

        Returns:
            FP32 array of the tensor's shape, without the batch.

        Raises:
            MachineError: the device failed, or the engine that made the row was closed.
        """
        tensor = self.tensors[name]
        array = np.empty(tensor.shape, tensor.dtype)
        self.blocks.read(self.address(name), array)
        return array.astype(np.float32, copy=False)


class DeviceWindow(Mapping[str, NDArray[np.float32]]):
    """Encoded segments of a window in device memory, readable as a mapping of host arrays.

    A head of the same device reads `rows`. Everybody else may treat the window as features on the
    host: each access to a value copies it, so an access costs what it needs and no more.

    Args:
        rows: segments in order.
    """

    def __init__(self, rows: tuple[DeviceRow, ...]) -> None:
        self.rows = rows

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """Copy a tensor of all segments to the host, `(1, S, ...)`."""
        return np.stack([row.to_host(name) for row in self.rows])[None]

    def __contains__(self, name: object) -> bool:
        """Return whether there is such a tensor, without the copy that `Mapping` would make."""
        return name in self.rows[0].tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows[0].tensors)

    def __len__(self) -> int:
        return len(self.rows[0].tensors)
