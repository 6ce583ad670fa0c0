"""A second, optional route to TensorRT for people who stay in PyTorch: torch-tensorrt compiles encoder and head.

Needs a GPU, torch and the extra `torch-tensorrt`; the product's own route is ONNX and `gasmcast engine build`. What it writes are
torch programs (`encoder.ep`, `head.ep`), which hold pickles and native code: they stay outside the bundle and are for this machine only.
Every call was compared with the sources of torch-tensorrt 2.14 (tests/export/tensorrt/test_torch_tensorrt.py); none has run on a GPU yet.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gasmcast.errors import MachineError, UsageError
from gasmcast.export.graphs.trace import EncoderGraph, HeadGraph, is_streaming
from gasmcast.models.model import GasmCast
from gasmcast.runtime.engine_build import LEAST_COSINE
from gasmcast.runtime.engines.trt.engine_cache import EngineCache
from gasmcast.video.noise import drifting_noise

__all__ = ["TorchEngine", "compile_graphs", "missing"]


@dataclass(frozen=True)
class TorchEngine:
    """A compiled program on disk; truthy when its outputs are near those of PyTorch on the same device."""

    path: Path
    precision: str
    seconds: float
    cosine: float

    def __bool__(self) -> bool:
        return self.cosine >= LEAST_COSINE[self.precision]

    def __str__(self) -> str:
        text = f"{self.path.name} {self.precision}: compiled in {self.seconds:.0f} s, cosine with PyTorch {self.cosine:.5f}"
        return f"{'ok  ' if self else 'FAIL'} {text} (at least {LEAST_COSINE[self.precision]})"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"path": str(self.path), "passed": bool(self)}


def missing() -> str:
    """Why torch-tensorrt cannot be used here; empty when it can. It is not imported: without a driver that fails."""
    lacks = []
    if not find_spec("torch_tensorrt"):
        lacks.append("the package torch-tensorrt is not installed")
    if not torch.cuda.is_available():
        lacks.append("PyTorch sees no CUDA device")
    return "; ".join(lacks)


def compile_graphs(
    model: GasmCast,
    folder: Path,
    *,
    streams: int = 4,
    precision: str = "fp16",
    device: str = "cuda",
    each: Callable[[str], None] = lambda _: None,
) -> list[TorchEngine]:
    """Compile encoder and head for this device, save both, and compare them with PyTorch.

    Args:
        model: in eval mode; it is moved to the device.
        folder: where to write; made if need be. Not a bundle.
        streams: the largest batch.
        precision: `fp32` or `fp16` (LayerNorm and softmax stay FP32, FP16 products accumulate in FP32).
        device: of torch.
        each: called with the name of each graph before it is compiled.

    Raises:
        UsageError: no such precision, or a model that cannot stream.
        MachineError: torch-tensorrt or the device is missing.
    """
    if precision not in {"fp32", "fp16"}:
        raise UsageError(
            f"torch-tensorrt compiles no {precision!r} here.",
            "Give fp32 or fp16; INT8 is on the route of --engine tensorrt.",
        )
    if not is_streaming(model):
        raise UsageError(
            "A model whose motion stream sees the whole clip has no encoder to compile.",
            "Use --engine tensorrt.",
        )
    if device == "cuda" and missing():
        raise MachineError(
            f"torch-tensorrt cannot be used here: {missing()}.",
            'On the device: pip install "gasmcast[torch-tensorrt]".',
        )
    folder.mkdir(parents=True, exist_ok=True)
    model = model.eval().to(device)
    pair = torch.from_numpy(drifting_noise(2, model.spec.pair_shape)).to(device)
    done = []
    with torch.no_grad():
        semantic, motion = EncoderGraph(model)(pair)
        window = [
            tap.unsqueeze(1).expand(-1, model.spec.segments, *(-1,) * (tap.ndim - 1)).contiguous()
            for tap in (semantic, motion)
        ]
    for name, module, feeds in (
        ("encoder", EncoderGraph(model), [pair]),
        ("head", HeadGraph(model), window),
    ):
        each(name)
        done.append(_compile(module, feeds, folder / f"{name}.ep", streams, precision))
    return done


def _compile(
    module: nn.Module, feeds: list[Tensor], path: Path, streams: int, precision: str
) -> TorchEngine:
    tt = importlib.import_module("torch_tensorrt")
    began = time.monotonic()
    most = max(streams, 2)
    batch = torch.export.Dim("batch", min=1, max=most)
    shapes = tuple({0: batch} for _ in feeds)
    program = torch.export.export(module, tuple(feeds), dynamic_shapes=shapes)
    inputs = [_input(tt, feed, most) for feed in feeds]
    half: dict[str, Any] = {}
    if precision == "fp16":
        kept = {torch.ops.aten.layer_norm.default, torch.ops.aten.softmax.int}
        half = {
            "enable_autocast": True,
            "autocast_low_precision_type": torch.float16,
            "autocast_excluded_ops": kept,
            "use_fp32_acc": True,
        }
    compiled = tt.dynamo.compile(
        program,
        arg_inputs=inputs,
        disable_tf32=True,  # FP32 means FP32, as on the ONNX route
        assume_dynamic_shape_support=True,
        timing_cache_path=str(
            EngineCache().open() / "torch-tensorrt.cache"
        ),  # its own default is a shared folder in /tmp
        **half,
    )
    with torch.no_grad():
        cosine = min(
            _cosine(a, b)
            for a, b in zip(_flat(compiled(*feeds)), _flat(module(*feeds)), strict=True)
        )
    tt.save(compiled, str(path), arg_inputs=feeds, dynamic_shapes=shapes)
    return TorchEngine(path, precision, round(time.monotonic() - began, 1), cosine)


def _input(tt: Any, feed: Tensor, most: int) -> Any:  # noqa: ANN401 - the package is untyped
    rest = tuple(feed.shape[1:])
    return tt.Input(
        min_shape=(1, *rest), opt_shape=(most, *rest), max_shape=(most, *rest), dtype=feed.dtype
    )


def _flat(result: Tensor | tuple[Tensor, ...] | list[Tensor]) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def _cosine(a: Tensor, b: Tensor) -> float:
    a, b = a.double().flatten(), b.double().flatten()
    value = float(torch.nn.functional.cosine_similarity(a, b, dim=0))
    return value if value == value else 0.0  # noqa: PLR0124 - NaN
