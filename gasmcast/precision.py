"""Precisions by name: whose files one runs, and what it computes the rest in.

`fp32`, `fp16`, `int8` and `int8_fp16` have files of their own. `bf16` and `int8_bf16` are ways to run the files of `fp32` and `int8`: what
these leave in FP32 is computed in BF16, by a processor that can. Each is judged, and has a temperature and a threshold, by itself.
"""

from __future__ import annotations

__all__ = ["PRECISIONS", "file_name", "in_bf16", "stored_as"]

PRECISIONS = ("fp32", "int8", "int8_bf16", "bf16", "fp16", "int8_fp16")
_BF16 = {"bf16": "fp32", "int8_bf16": "int8"}


def in_bf16(precision: str) -> bool:
    """Whether what the files leave in FP32 is computed in BF16."""
    return precision in _BF16


def stored_as(precision: str) -> str:
    """The precision whose files it runs."""
    return _BF16.get(precision, precision)


def file_name(graph: str, precision: str) -> str:
    """`encoder.onnx`, `encoder.int8.onnx`, ...: the file that a precision runs."""
    stored = stored_as(precision)
    return f"{graph}.onnx" if stored == "fp32" else f"{graph}.{stored}.onnx"
