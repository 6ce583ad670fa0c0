"""Read the tensors of a TensorFlow checkpoint without TensorFlow.

A checkpoint of TensorFlow 1 and 2 ("tensor bundle", tensorflow/core/util/tensor_bundle) is an index
in the table format of LevelDB (doc/table_format.md) and data files with the raw values.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import UsageError

__all__ = ["read_tf_checkpoint"]

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_DTYPES: dict[int, np.dtype[np.generic]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    9: np.dtype("<i8"),
}
"""Number in tensorflow/core/framework/types.proto -> NumPy type."""


@dataclass(frozen=True)
class _Entry:
    """Place of a tensor in the data files (`BundleEntryProto`)."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


def read_tf_checkpoint(prefix: Path) -> dict[str, NDArray[np.generic]]:
    """Return the tensors of a checkpoint by name.

    Args:
        prefix: the path without `.index`, as `rgb_imagenet/model.ckpt`; the path of the index
            file works too.

    Raises:
        UsageError: a file is missing or damaged.
    """
    prefix = prefix.with_suffix("") if prefix.suffix == ".index" else prefix
    index = prefix.with_name(f"{prefix.name}.index")

    # The entry without a name is the header, which counts the shards.
    try:
        records = dict(_table(index.read_bytes()))
        shards = _varints(records.pop(b"")).get(1, 1)
        return {
            name.decode(): _tensor(prefix, _entry(value), shards) for name, value in records.items()
        }
    except OSError as error:
        raise UsageError(
            f"{error.filename} cannot be read ({error.strerror}).",
            "Give the prefix of a TensorFlow checkpoint: all of it before .index.",
        ) from None
    except (ValueError, KeyError, IndexError, struct.error, UnicodeDecodeError) as error:
        raise UsageError(
            f"{index} is not a TensorFlow checkpoint, or damaged ({error}).",
            "Download it again.",
        ) from None


def _tensor(prefix: Path, entry: _Entry, shards: int) -> NDArray[np.generic]:
    if entry.dtype not in _DTYPES:
        raise ValueError(f"data type {entry.dtype} is not supported")
    file = prefix.with_name(f"{prefix.name}.data-{entry.shard:05d}-of-{shards:05d}")
    with file.open("rb") as stream:
        stream.seek(entry.offset)
        content = stream.read(entry.size)
    return np.frombuffer(content, _DTYPES[entry.dtype]).reshape(entry.shape)


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a LevelDB table."""
    footer = content[-_FOOTER:]
    if len(footer) < _FOOTER or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("it has no table footer")

    # The footer holds the places of the meta index, which is empty, and of the index of blocks.
    position = 0
    places = []
    for _ in range(4):
        number, position = _varint(footer, position)
        places.append(number)
    for _, place in _block(content, places[2], places[3]):
        offset, after = _varint(place, 0)
        size, _ = _varint(place, after)
        yield from _block(content, offset, size)


def _block(content: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block; keys share a prefix with the one before."""
    block = content[offset : offset + size]
    if len(block) < size or content[offset + size] != 0:
        raise ValueError("a block is cut short or compressed")

    (restarts,) = struct.unpack("<I", block[-4:])
    end = size - 4 - 4 * restarts
    position = 0
    key = b""
    while position < end:
        shared, position = _varint(block, position)
        fresh, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + fresh]
        position += fresh
        yield key, block[position : position + length]
        position += length


def _entry(message: bytes) -> _Entry:
    numbers = _varints(message)
    shape = tuple(
        _varints(dimension).get(1, 0)
        for field, dimension in _messages(_submessage(message, 2))
        if field == 2
    )

    # Protocol buffers omit fields that are 0.
    return _Entry(
        dtype=numbers.get(1, 0),
        shape=shape,
        shard=numbers.get(3, 0),
        offset=numbers.get(4, 0),
        size=numbers.get(5, 0),
    )


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield field numbers and values of a protocol buffer message (wire types 0, 1, 2, 5)."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield tag >> 3, value
            continue

        # Strings state their length; numbers of a fixed size do not.
        if kind == 2:
            length, position = _varint(message, position)
        else:
            length = {1: 8, 5: 4}[kind]
        yield tag >> 3, message[position : position + length]
        position += length


def _varints(message: bytes) -> Mapping[int, int]:
    return {field: value for field, value in _fields(message) if isinstance(value, int)}


def _messages(message: bytes) -> Iterator[tuple[int, bytes]]:
    return ((field, value) for field, value in _fields(message) if isinstance(value, bytes))


def _submessage(message: bytes, number: int) -> bytes:
    return next((value for field, value in _messages(message) if field == number), b"")


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """Return a base-128 number, and the position after it."""
    number = 0
    for shift in range(0, 70, 7):
        byte = content[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise ValueError("a number has too many bytes")
