"""Share small tensors with worker processes."""

from __future__ import annotations

from torch import Tensor

__all__ = ["share"]


def share(tensor: Tensor) -> Tensor:
    """Move a tensor into memory that worker processes share, in place, and return it.

    A change by one process is seen by all of them, also after the workers have started.
    """
    shared: Tensor = tensor.share_memory_()  # type: ignore[no-untyped-call] # untyped in torch
    return shared
