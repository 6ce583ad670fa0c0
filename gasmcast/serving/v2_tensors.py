"""Read and write tensors of the KServe v2 protocol, as JSON and with the binary tensor extension.

Sources: https://github.com/kserve/open-inference-protocol (specification/protocol/
inference_rest.md) and triton-inference-server/server, page extension_binary_data.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import UsageError
from gasmcast.files import load_json

__all__ = ["InferRequest", "Port", "decode_request", "encode_response"]

Array = NDArray[Any]

_DTYPES = {"BOOL": "?", "UINT8": "u1", "INT64": "<i8", "FP32": "<f4", "FP64": "<f8", "BYTES": "O"}
_LONGEST_TEXT = 256


@dataclass(frozen=True)
class Port:
    """Input or output of a model."""

    name: str
    datatype: str
    """A datatype of the protocol: `UINT8`, `FP32`, ..."""
    shape: tuple[int, ...]
    """-1: any size."""

    def to_json(self) -> dict[str, Any]:
        """Return the description in a model's metadata."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True)
class InferRequest:
    """Request after its tensors were checked."""

    id: str
    inputs: dict[str, Array]
    outputs: dict[str, bool]
    """Outputs that the client wants, and whether as binary data; all as JSON if empty."""
    binary: bool
    """Whether outputs that are not named are sent as binary data."""
    parameters: dict[str, Any] = field(default_factory=dict)


def decode_request(
    body: bytes, header_length: int | None, ports: Mapping[str, Port]
) -> InferRequest:
    """Decode the body of an infer request and check every input against the model.

    Args:
        body: JSON, followed by the binary data of the inputs in their order.
        header_length: length of the JSON; None: all of the body.
        ports: inputs of the model by name.

    Raises:
        UsageError: not JSON, or an input is missing, unknown, or of another datatype, shape or
            size.
    """
    length = len(body) if header_length is None else header_length
    if not 0 <= length <= len(body):
        raise UsageError(
            f"Inference-Header-Content-Length is {length}, the body has {len(body)} bytes.",
            "Send the number of bytes of the JSON in front of the binary data.",
        )
    try:
        tree = load_json(body[:length])
    except ValueError as error:
        raise UsageError(f"The request is not JSON ({error}).") from None
    if not isinstance(tree, dict) or not isinstance(tree.get("inputs"), list):
        raise UsageError("The request has no list of inputs.")

    # Binary data stands behind the JSON in the order of the inputs.
    data = memoryview(body)[length:]
    inputs: dict[str, Array] = {}
    for entry in tree["inputs"]:
        name = _text(entry, "name", "An input")
        if name not in ports or name in inputs:
            raise UsageError(
                f"The input {name!r} is unknown or given twice; the model takes {', '.join(ports)}."
            )
        inputs[name], size = _read_input(entry, ports[name], data)
        data = data[size:]

    missing = [name for name in ports if name not in inputs]
    if missing:
        raise UsageError(f"The input {missing[0]!r} is missing.")
    if len(data):
        raise UsageError(f"{len(data)} bytes of binary data belong to no input.")

    parameters = _parameters(tree, "The request")
    outputs: dict[str, bool] = {}
    binary = bool(parameters.get("binary_data_output", False))
    for entry in tree.get("outputs") or ():
        name = _text(entry, "name", "An output")
        outputs[name] = bool(_parameters(entry, name).get("binary_data", binary))
    identifier = tree.get("id", "")
    if not isinstance(identifier, str) or len(identifier) > _LONGEST_TEXT:
        raise UsageError("The id of the request must be a short text.")
    return InferRequest(identifier, inputs, outputs, binary, parameters)


def encode_response(
    model: str, request: InferRequest, outputs: Mapping[str, Array], ports: Mapping[str, Port]
) -> tuple[bytes, int | None]:
    """Encode the outputs that a request wants.

    Args:
        model: name of the model.
        request: the request.
        outputs: values of all outputs of the model by name.
        ports: outputs of the model by name.

    Returns:
        The body, and the length of its JSON if binary data follows.

    Raises:
        UsageError: the request wants an output that the model does not have.
    """
    wanted = request.outputs or dict.fromkeys(ports, request.binary)
    entries: list[dict[str, Any]] = []
    chunks: list[bytes] = []
    for name, binary in wanted.items():
        if name not in ports:
            raise UsageError(f"There is no output {name!r}; the model gives {', '.join(ports)}.")
        value = outputs[name]
        datatype = ports[name].datatype
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(value.shape)}
        if binary:
            content = _to_bytes(value, datatype)
            entry["parameters"] = {"binary_data_size": len(content)}
            chunks.append(content)
        else:
            entry["data"] = value.reshape(-1).tolist()
        entries.append(entry)

    tree = {"model_name": model, "model_version": "1", "id": request.id, "outputs": entries}
    header = json.dumps(tree).encode()
    return b"".join([header, *chunks]), len(header) if chunks else None


def _read_input(entry: Mapping[str, Any], port: Port, data: memoryview) -> tuple[Array, int]:
    """Return an input and how many bytes of the binary data it used."""
    name = port.name
    if entry.get("datatype") != port.datatype:
        raise UsageError(
            f"{name} must be {port.datatype}, it is {str(entry.get('datatype'))[:20]}."
        )
    shape = entry.get("shape")
    fits = (
        isinstance(shape, list)
        and len(shape) == len(port.shape)
        and all(type(size) is int and size > 0 for size in shape)
        and all(want in (-1, size) for want, size in zip(port.shape, shape, strict=True))
    )
    if not fits or shape is None:
        wanted = ", ".join("B" if size < 0 else str(size) for size in port.shape)
        raise UsageError(f"{name} must have the shape ({wanted}), it has {str(shape)[:80]}.")

    # Sizes are compared before anything is allocated.
    dtype = np.dtype(_DTYPES[port.datatype])
    count = math.prod(shape)
    size = _parameters(entry, name).get("binary_data_size")
    if size is not None:
        if type(size) is not int or size != count * dtype.itemsize or size > len(data):
            raise UsageError(
                f"{name} needs {count * dtype.itemsize} bytes; binary_data_size is "
                f"{str(size)[:20]}, and {len(data)} bytes follow."
            )
        return np.frombuffer(data[:size], dtype).reshape(shape), size

    return _from_json(entry.get("data"), name, dtype, count).reshape(shape), 0


def _from_json(values: object, name: str, dtype: np.dtype[Any], count: int) -> Array:
    """Return values of JSON, flat or nested, as an array of whole numbers."""
    try:
        array = np.asarray(values)
    except ValueError:
        array = np.array([])
    if array.size != count or array.dtype.kind not in "iu":
        raise UsageError(f"{name}: its data is not {count} whole numbers.")
    # A value out of range must not wrap around.
    if array.min() < 0 or array.max() > np.iinfo(dtype).max:
        raise UsageError(f"{name}: its data goes from {array.min()} to {array.max()}.")
    return array.astype(dtype)


def _to_bytes(value: Array, datatype: str) -> bytes:
    if datatype != "BYTES":
        return np.ascontiguousarray(value, _DTYPES[datatype]).tobytes()
    texts = [str(text).encode() for text in value.reshape(-1)]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _text(entry: object, key: str, what: str) -> str:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise UsageError(f"{what} has no {key}.")
    return value


def _parameters(entry: Mapping[str, Any], what: str) -> dict[str, Any]:
    parameters = entry.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise UsageError(f"{what}: its parameters are no object.")
    return parameters
