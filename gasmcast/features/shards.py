"""Read and check the shards of a feature cache, which hold its rows and their labels.

A shard has a digest, and the key of its cache. A digest alone would let a shard of another cache
pass, or one in the place of another.
"""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from gasmcast.features.cache_plan import FORMAT, CachePlan
from gasmcast.tensorfile import (
    UNREADABLE,
    TornFileError,
    read_metadata,
    read_tensors,
    write_tensors,
)

__all__ = ["check_shard", "shard_labels", "write_shard"]


def write_shard(plan: CachePlan, number: int, rows: Tensor, labels: Tensor) -> None:
    """Write a shard.

    Args:
        plan: of the cache.
        number: which shard it is.
        rows: `(n, width)` in the number type of the cache.
        labels: `(n,)` int64, -1 for a clip that did not decode.

    Raises:
        MachineError: no space left.
    """
    texts = {"key": plan.key, "format": FORMAT, "shard": str(number)}
    write_tensors(plan.shard(number), {"rows": rows, "labels": labels}, texts)


def check_shard(plan: CachePlan, number: int, *, verify: bool = True) -> NDArray[np.int64]:
    """Check a shard and return the label `(n,)` of each of its rows.

    Args:
        plan: of the cache.
        number: which shard it is.
        verify: read all of it and compare it with its digest; otherwise its header and labels.

    Raises:
        TornFileError: it is damaged, of another cache, or another shard of this one.
    """
    path = plan.shard(number)
    rows = len(plan.shard_range(number))

    # Header: shards of older versions do not state their number.
    texts = read_metadata(path)
    if texts.get("key") != plan.key:
        raise TornFileError(f"{path} is a shard of another cache.")
    if texts.get("shard", str(number)) != str(number):
        raise TornFileError(f"{path} is another shard of its cache.")

    # Content: the digest covers rows and labels.
    shapes = _shapes(plan, number)
    labels = read_tensors(path)[0].get("labels") if verify else shard_labels(plan, number)
    dtype = {"float16": "F16", "float32": "F32"}[plan.dtype]
    expected = {"rows": ((rows, plan.width), dtype), "labels": ((rows,), "I64")}
    if shapes != expected or labels is None:
        raise TornFileError(f"{path} holds {json.dumps(shapes)}, not the rows of its cache.")
    return np.asarray(labels.numpy(), np.int64)


def shard_labels(plan: CachePlan, number: int) -> Tensor | None:
    """Return the labels `(n,)` of a shard; None if it has none.

    Raises:
        TornFileError: the shard cannot be read.
    """
    path = plan.shard(number)
    try:
        with safe_open(path, framework="pt") as file:
            has_labels = "labels" in set(file.keys())
            labels: Tensor | None = file.get_tensor("labels") if has_labels else None
    except UNREADABLE as error:
        raise TornFileError(f"{path} cannot be read ({error}).") from None
    return labels


def _shapes(plan: CachePlan, number: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and number type of each tensor of a shard, from its header."""
    path = plan.shard(number)
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            slices = {name: file.get_slice(name) for name in names}
            return {
                name: (tuple(part.get_shape()), str(part.get_dtype()))
                for name, part in slices.items()
            }
    except UNREADABLE as error:
        raise TornFileError(f"{path} cannot be read ({error}).") from None
