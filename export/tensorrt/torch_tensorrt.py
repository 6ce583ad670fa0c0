"""Compile encoder and head with torch-tensorrt, for people who stay in PyTorch.

This is an optional second route to TensorRT. It needs a GPU, torch and the extra `torch-tensorrt`;
the product's own route is ONNX and `gasmcast engine build`. The files that it writes are torch
programs (`encoder.ep`, `head.ep`), which hold pickles and native code. They stay outside the bundle
and are for this machine only. Every call was compared with the sources of torch-tensorrt 2.14
(tests/export/tensorrt/test_torch_tensorrt.py); none has run on a GPU yet.
"""

from __future__ import annotations

import importlib
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gasmcast.errors import MachineError, UsageError
from gasmcast.export.graphs.trace import EncoderGraph, HeadGraph, is_streaming
from gasmcast.missing import install_hint
from gasmcast.models.model import GasmCast
from gasmcast.progress import Progress, silent
from gasmcast.runtime.engine_build import MIN_COSINE
from gasmcast.runtime.engines.trt.engine_cache import EngineCache
from gasmcast.video.noise import drifting_noise

__all__ = ["TorchEngine", "compile_graphs", "missing"]

_PRECISIONS = ("fp32", "fp16")


@dataclass(frozen=True)
class TorchEngine:
    """Compiled program on disk; truthy when its outputs are close to PyTorch's on the device."""

    path: Path
    precision: str
    seconds: float
    cosine: float
    """Smallest cosine of an output with PyTorch's."""

    def __bool__(self) -> bool:
        return self.cosine >= MIN_COSINE[self.precision]

    def __str__(self) -> str:
        result = "ok  " if self else "FAIL"
        return (
            f"{result} {self.path.name} {self.precision}: compiled in {self.seconds:.0f} s, "
            f"cosine with PyTorch {self.cosine:.5f} (at least {MIN_COSINE[self.precision]})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self) | {"path": str(self.path), "passed": bool(self)}


def missing() -> str:
    """Return why torch-tensorrt cannot be used on this machine; an empty string if it can.

    The package is not imported, because that fails without a driver.
    """
    reasons = []
    if not find_spec("torch_tensorrt"):
        reasons.append("the package torch-tensorrt is not installed")
    if not torch.cuda.is_available():
        reasons.append("PyTorch sees no CUDA device")
    return "; ".join(reasons)


def compile_graphs(
    model: GasmCast,
    folder: Path,
    *,
    cameras: int = 4,
    precision: str = "fp16",
    device: str = "cuda",
    progress: Progress = silent,
) -> list[TorchEngine]:
    """Compile encoder and head for this device, save both, and compare them with PyTorch.

    Args:
        model: model in eval mode; it is moved to the device.
        folder: folder of the programs, not a bundle; created if missing.
        cameras: largest batch.
        precision: `fp32` or `fp16` (LayerNorm and softmax stay FP32, FP16 products accumulate in
            FP32).
        device: torch device.
        progress: called before each graph is compiled.

    Raises:
        UsageError: no such precision, or a model that cannot stream.
        MachineError: torch-tensorrt or the device is missing.
    """
    _check(model, precision, device)
    folder.mkdir(parents=True, exist_ok=True)
    model = model.eval().to(device)

    # The head is traced on a window of one encoded pair, repeated.
    pair = torch.from_numpy(drifting_noise(2, model.spec.pair_shape)).to(device)
    with torch.no_grad():
        features = EncoderGraph(model)(pair)
    segments = model.spec.segments
    window = []
    for tap in features:
        repeated = tap.unsqueeze(1).expand(-1, segments, *(-1,) * (tap.ndim - 1))
        window.append(repeated.contiguous())  # (2, S, L, ..., D)

    engines = []
    for name, module, feeds in (
        ("encoder", EncoderGraph(model), [pair]),
        ("head", HeadGraph(model), window),
    ):
        progress(f"compiling {name}")
        engines.append(_compile(module, feeds, folder / f"{name}.ep", cameras, precision))
    return engines


def _check(model: GasmCast, precision: str, device: str) -> None:
    if precision not in _PRECISIONS:
        raise UsageError(
            f"torch-tensorrt compiles no {precision!r} here.",
            "Give fp32 or fp16; INT8 is on the route of --build-engines tensorrt.",
        )

    if not is_streaming(model):
        raise UsageError(
            "A model whose motion stream sees the whole clip has no encoder to compile.",
            "Use --build-engines tensorrt.",
        )

    # A test compiles on the CPU with a fake library.
    if device == "cuda" and missing():
        raise MachineError(
            f"torch-tensorrt cannot be used here: {missing()}.",
            f"On the device: {install_hint('torch-tensorrt')}.",
        )


def _compile(
    module: nn.Module, feeds: list[Tensor], path: Path, cameras: int, precision: str
) -> TorchEngine:
    # Without a driver the import fails, so it must not happen at module level.
    torch_tensorrt = importlib.import_module("torch_tensorrt")
    started = time.monotonic()
    most = max(cameras, 2)

    # A dimension of size 1 would become a constant.
    batch = torch.export.Dim("batch", min=1, max=most)
    shapes = tuple({0: batch} for _ in feeds)
    program = torch.export.export(module, tuple(feeds), dynamic_shapes=shapes)

    inputs = [_input_range(torch_tensorrt, feed, most) for feed in feeds]
    compiled = torch_tensorrt.dynamo.compile(
        program,
        arg_inputs=inputs,
        disable_tf32=True,  # FP32 means FP32, as on the ONNX route
        assume_dynamic_shape_support=True,
        # The default is a shared folder in /tmp.
        timing_cache_path=str(EngineCache().open() / "torch-tensorrt.cache"),
        **(_fp16_options() if precision == "fp16" else {}),
    )

    with torch.no_grad():
        pairs = zip(_as_list(compiled(*feeds)), _as_list(module(*feeds)), strict=True)
        cosine = min(_cosine(output, expected) for output, expected in pairs)
    torch_tensorrt.save(compiled, str(path), arg_inputs=feeds, dynamic_shapes=shapes)
    return TorchEngine(path, precision, round(time.monotonic() - started, 1), cosine)


def _fp16_options() -> dict[str, Any]:
    """Return options for FP16 products with FP32 sums; normalization and softmax stay in FP32."""
    return {
        "enable_autocast": True,
        "autocast_low_precision_type": torch.float16,
        "autocast_excluded_ops": {
            torch.ops.aten.layer_norm.default,
            torch.ops.aten.softmax.int,
        },
        "use_fp32_acc": True,
    }


def _input_range(torch_tensorrt: Any, feed: Tensor, most: int) -> Any:  # noqa: ANN401 - untyped
    rest = tuple(feed.shape[1:])
    return torch_tensorrt.Input(
        min_shape=(1, *rest), opt_shape=(most, *rest), max_shape=(most, *rest), dtype=feed.dtype
    )


def _as_list(result: Tensor | tuple[Tensor, ...] | list[Tensor]) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def _cosine(output: Tensor, expected: Tensor) -> float:
    flat, reference = output.double().flatten(), expected.double().flatten()
    # NaN must fail the comparison: as 0 it is below every limit.
    value = torch.nn.functional.cosine_similarity(flat, reference, dim=0)
    return float(torch.nan_to_num(value, nan=0.0))
