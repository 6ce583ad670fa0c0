"""Names of precisions, the files that each runs, and what it computes the rest in.

`fp32`, `fp16`, `int8` and `int8_fp16` have files of their own. `bf16` and `int8_bf16` run the files
of `fp32` and `int8`; operators that these files leave in FP32 are computed in BF16, on processors
that support it. Every precision passes the accuracy gate, and has its temperature and threshold,
by itself.
"""

from __future__ import annotations

from typing import Literal, get_args

__all__ = [
    "PRECISIONS",
    "TENSORRT_PRECISIONS",
    "Precision",
    "file_name",
    "in_bf16",
    "stored_as",
]

Precision = Literal["fp32", "int8", "int8_bf16", "bf16", "fp16", "int8_fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""All precisions of a bundle, in the order in which an export makes them."""
TENSORRT_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8_fp16")
"""Precisions that TensorRT runs: INT8 with an FP16 rest; INT8 with an FP32 rest is for CPUs."""
_STORED_AS = {"bf16": "fp32", "int8_bf16": "int8"}


def in_bf16(precision: str) -> bool:
    """Return True if operators that the files leave in FP32 are computed in BF16."""
    return precision in _STORED_AS


def stored_as(precision: str) -> str:
    """Return the precision whose files `precision` runs: `int8` for `int8_bf16`."""
    return _STORED_AS.get(precision, precision)


def file_name(graph: str, precision: str) -> str:
    """Return the file that a precision runs: `encoder.onnx`, `encoder.int8.onnx`, ..."""
    stored = stored_as(precision)
    return f"{graph}.onnx" if stored == "fp32" else f"{graph}.{stored}.onnx"
