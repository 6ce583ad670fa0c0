"""The backends that run a bundle, by the names that users give them."""

from __future__ import annotations

from typing import Literal

__all__ = ["Backend"]

Backend = Literal["auto", "tensorrt", "openvino", "onnxruntime"]
"""`auto` is the first of the others, in this order, that this machine can use."""
