"""The protocol of all engines, and the check of their inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import UsageError

if TYPE_CHECKING:
    from gasmcast.runtime.engines.device_row import DeviceRow, DeviceWindow, RowLayout

__all__ = ["Engine", "ResidentEngine", "TensorSpec", "check_feeds", "join_batches"]

Scalar = TypeVar("Scalar", bound=np.generic)


class TensorSpec(NamedTuple):
    """Shape and dtype of an input or output of a network."""

    shape: tuple[int | None, ...]
    """None: the batch, any size."""
    dtype: np.dtype[np.generic]


class Engine(Protocol):
    """A network compiled for one device; takes one call at a time."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs; the arrays returned belong to the caller.

        Args:
            feeds: input name -> `(B, ...)`, all with the same batch size.

        Raises:
            UsageError: an input is missing, unknown, or has another shape or dtype.
            MachineError: the device failed.
        """
        ...

    def describe(self) -> str:
        """Return one line: backend, version, device, threads."""
        ...


@runtime_checkable
class ResidentEngine(Engine, Protocol):
    """An engine that can also keep tensors in device memory between two runs.

    Optional: engines of a CPU have no such memory, and `run` is all that they offer.
    """

    row_layout: RowLayout
    """Outputs of one row of a batch, as they lie in device memory."""

    def run_to_device(self, feeds: Mapping[str, NDArray[np.generic]]) -> list[DeviceRow]:
        """Compute all outputs and leave them on the device, complete when this returns.

        Args:
            feeds: as for `run`.

        Returns:
            One row per row of the batch. Later runs do not overwrite it.

        Raises:
            UsageError: as for `run`.
            MachineError: the device failed, or has no memory left.
        """
        ...

    def run_from_device(self, windows: Sequence[DeviceWindow]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs `(B, ...)` of B windows whose rows are on the device.

        Args:
            windows: each one row of the batch; its rows, stacked, are the inputs.

        Raises:
            UsageError: there is no window, or the rows do not fit the inputs.
            MachineError: the device failed, or the engine that made the rows was closed.
        """
        ...


def check_feeds(inputs: Mapping[str, TensorSpec], feeds: Mapping[str, NDArray[np.generic]]) -> int:
    """Check feeds against the inputs of a network and return their batch size.

    Raises:
        UsageError: an input is missing, unknown, has another shape or dtype, or batch sizes differ.
    """
    if set(feeds) != set(inputs):
        raise UsageError(
            f"The network takes {', '.join(inputs)}, it was given {', '.join(feeds) or 'nothing'}."
        )

    batches = set()
    for name, array in feeds.items():
        expected = inputs[name]
        fits = len(array.shape) == len(expected.shape) and all(
            want in (None, size) for want, size in zip(expected.shape, array.shape, strict=True)
        )
        if not fits or array.dtype != expected.dtype:
            shape = ", ".join("B" if size is None else str(size) for size in expected.shape)
            raise UsageError(
                f"{name} must be ({shape}) {expected.dtype}, it is {array.shape} {array.dtype}."
            )
        batches.add(array.shape[0])

    # Backends would broadcast or crash on these, each in its own way.
    if len(batches) != 1 or 0 in batches:
        raise UsageError(f"The inputs have different or empty batches: {sorted(batches)}.")
    return int(batches.pop())


def join_batches(batches: Sequence[Mapping[str, NDArray[Scalar]]]) -> dict[str, NDArray[Scalar]]:
    """Join feeds or outputs along the batch: name -> `(B1 + B2 + ..., ...)`.

    The arrays of a single batch are returned as they are, without a copy.

    Args:
        batches: at least one; name -> `(B, ...)`, all with the same names.
    """
    if len(batches) == 1:
        return dict(batches[0])
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
