"""Look into an ONNX file before an engine parses it: external data, loops and huge constants.

A bundle may come from anyone. The base install has no `onnx` package, so this reads protobuf's wire
format (https://protobuf.dev/programming-guides/encoding) by itself, skipping all weights.
Field numbers are those of onnx.proto.

What is refused: control flow, which the exporter never writes and which may run without end, and
constants that a few bytes blow up (`ConstantOfShape`, `Expand`, `Tile`, or a tensor whose shape
says more than it stores). What is not: sizes that depend on computed values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gasmcast.errors import UsageError

__all__ = ["GraphScan", "scan_graph"]

_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
# Position of the input that holds a shape or repetitions.
_INFLATING = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1}
_MOST_VALUES = 1 << 28
"""Largest constant that a graph may ask for, in values: 1 GiB of FP32."""
_DEEPEST = 16
_MOST_SHAPE_VALUES = 64

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
_INT64 = 7
_VALUES = frozenset({4, 5, 6, 7, 9, 10, 11})
"""Fields of TensorProto that hold its values; one of them is used."""
_EXTERNAL = 1


@dataclass
class GraphScan:
    """Parts of a graph that decide whether it is safe to open."""

    external: set[str] = field(default_factory=set)
    """Files beside the graph that it reads weights from."""
    operators: set[str] = field(default_factory=set)
    """Names of its operators, also in subgraphs."""
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Small integer constants by name."""
    inflating: list[tuple[str, str]] = field(default_factory=list)
    """Operator and name of the constant that gives the size of its output."""
    oversized: list[str] = field(default_factory=list)
    """Tensors whose shape says more than they store."""


def scan_graph(content: memoryview, name: str) -> GraphScan:
    """Scan an ONNX file, and refuse what could exhaust the machine.

    Args:
        content: the bytes of the file.
        name: what error messages call it.

    Raises:
        UsageError: not an ONNX file, control flow, or constants of more than 2^28 values.
    """
    scan = GraphScan()
    try:
        for number, _, value in _fields(content):
            if number == 7 and isinstance(value, memoryview):  # ModelProto.graph
                _graph(value, scan, 0)
    except (ValueError, IndexError) as error:
        raise UsageError(
            f"gasmcast cannot read {name} as ONNX ({error}).", "Export the bundle again."
        ) from None

    problem = _problem(scan)
    if problem:
        raise UsageError(f"{name} {problem}.", "gasmcast writes no such graph: do not use it.")
    return scan


def _problem(scan: GraphScan) -> str:
    """Return what may exhaust the machine, in words; empty if nothing."""
    control_flow = sorted(scan.operators & _CONTROL_FLOW)
    if control_flow:
        return f"contains {control_flow[0]}, which may run without end"
    if scan.oversized:
        return f"has a tensor {scan.oversized[0]!r} whose shape says more than it stores"

    for operator, shape in scan.inflating:
        values = math.prod(abs(size) for size in scan.shapes.get(shape, ()))
        if values > _MOST_VALUES:
            return f"makes {values:.1e} values by {operator}, 2^28 are allowed"
    return ""


def _graph(content: memoryview, scan: GraphScan, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError("subgraphs are nested too deeply")
    for number, _, value in _fields(content):
        if not isinstance(value, memoryview):
            continue
        if number == 1:  # GraphProto.node
            _node(value, scan, depth)
        elif number == 5:  # GraphProto.initializer
            _tensor(value, scan)


def _node(content: memoryview, scan: GraphScan, depth: int) -> None:
    inputs: list[str] = []
    outputs: list[str] = []
    operator = ""
    attributes = []
    for number, _, value in _fields(content):
        if not isinstance(value, memoryview):
            continue
        if number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 4:
            operator = _text(value)
        elif number == 5:
            attributes.append(value)

    scan.operators.add(operator)
    position = _INFLATING.get(operator)
    if position is not None and position < len(inputs):
        scan.inflating.append((operator, inputs[position]))
    for attribute in attributes:
        _attribute(attribute, scan, depth, outputs[0] if outputs else "")


def _attribute(content: memoryview, scan: GraphScan, depth: int, output: str) -> None:
    for number, _, value in _fields(content):
        if not isinstance(value, memoryview):
            continue
        if number in (5, 10):  # AttributeProto.t, tensors: a Constant's value goes by its output
            _tensor(value, scan, output)
        elif number in (6, 11):  # AttributeProto.g, graphs
            _graph(value, scan, depth + 1)


def _tensor(content: memoryview, scan: GraphScan, name: str = "") -> None:
    dims: list[int] = []
    numbers = {2: 0, 14: 0}  # data_type, data_location
    stored = 0
    small: Sequence[int] = ()
    external = ""
    for number, wire, value in _fields(content):
        if number == 1:  # dims, packed or not
            dims += _varints(value) if isinstance(value, memoryview) else [_signed(value)]
        elif isinstance(value, int):
            numbers[number] = value
        elif number == 8:
            name = name or _text(value)
        elif number == 13:
            external = _location(value) or external
        if number in _VALUES:
            stored += len(value) if isinstance(value, memoryview) else 1
            small = _integers(number, wire, value, small)

    count = math.prod(dims) if all(size >= 0 for size in dims) else -1
    if numbers[14] == _EXTERNAL:
        scan.external.add(external)
    # Two values of 4 bits share a byte: no type is smaller.
    elif count < 0 or count > 2 * stored:
        scan.oversized.append(name)
    if numbers[2] == _INT64 and count <= _MOST_SHAPE_VALUES:
        scan.shapes[name] = tuple(small)


def _integers(
    number: int, wire: int, value: int | memoryview, before: Sequence[int]
) -> Sequence[int]:
    """Return the values of a small integer tensor, as far as they can be a shape."""
    if isinstance(value, memoryview) and len(value) > 10 * _MOST_SHAPE_VALUES:
        return before

    # The exporter writes raw data; small tensors of other tools may be lists of numbers.
    if number == 9 and isinstance(value, memoryview):  # raw_data, little-endian
        return [
            int.from_bytes(value[at : at + 8], "little", signed=True)
            for at in range(0, len(value), 8)
        ]
    if number == 7:  # int64_data
        if wire == _VARINT and isinstance(value, int):
            return [*before, _signed(value)][:_MOST_SHAPE_VALUES]
        if isinstance(value, memoryview):
            return _varints(value)
    return before


def _location(content: memoryview) -> str:
    """Return the value of an external-data entry with the key `location`; else an empty string."""
    entry = {number: value for number, _, value in _fields(content)}
    key, value = entry.get(1), entry.get(2)
    if isinstance(key, memoryview) and _text(key) == "location" and isinstance(value, memoryview):
        return _text(value)
    return ""


def _fields(content: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield field number, wire type and value of every field of a message."""
    at, end = 0, len(content)
    while at < end:
        key, at = _varint(content, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(content, at)
            yield number, wire, value
            continue

        if wire == _LEN:
            size, at = _varint(content, at)
        elif wire in (_I64, _I32):
            size = 8 if wire == _I64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if number == 0 or at + size > end:
            raise ValueError("a field leads out of the file")
        yield number, wire, content[at : at + size]
        at += size


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """Return the number that begins at `at`, and where the next field begins."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number has no end")


def _varints(content: memoryview) -> list[int]:
    values = []
    at = 0
    while at < len(content):
        value, at = _varint(content, at)
        values.append(_signed(value))
    return values


def _signed(value: int) -> int:
    """Return a 64-bit number in two's complement as a signed one."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _text(value: memoryview) -> str:
    return bytes(value).decode("utf-8", errors="replace")
