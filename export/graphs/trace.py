"""Trace the model to ONNX: encoder, head and complete graph, in a form that every backend reads.

Opset 20, one file each (a second one for the weights above 1.9 GB), batch the only dynamic axis,
uint8 pixels in, native LayerNormalization, attention as MatMul and Softmax. The complete graph is
composed of the other two, so `complete = head(stack(encoder))` holds by construction in every
precision. Only a model whose motion stream sees the whole clip at once is traced as a whole.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from onnx import ModelProto
from torch import Tensor, nn

from gasmcast.export.graphs.clean import clean
from gasmcast.export.graphs.compose import OPSET, compose_complete, output_shape
from gasmcast.export.graphs.graph_file import save_graph
from gasmcast.models.model import Features, GasmCast
from gasmcast.progress import Progress, silent

__all__ = ["EncoderGraph", "HeadGraph", "export_onnx", "is_streaming", "trace"]

_MAX_BATCH = 4096


class EncoderGraph(nn.Module):
    """Encoder with the interface of its graph: one segment and its predecessor to features.

    `segments (B, 2, F, H, W, 3)` -> `semantic (B, L, f, P, D)`, `motion (B, L, C, D)`: one segment
    of `Features`, which explains the dimensions.
    """

    def __init__(self, model: GasmCast) -> None:
        super().__init__()
        self.model = model

    def forward(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Encode one segment and its predecessor."""
        features = self.model.encode(segments)  # (B, 1, L, f, P, D), (B, 1, L, C, D)
        return features.semantic[:, 0], features.motion[:, 0]


class HeadGraph(nn.Module):
    """Head with the interface of its graph: a window of encoded segments to logits.

    `semantic (B, S, L, f, P, D)`, `motion (B, S, L, C, D)`, as in `Features` -> `logits (B,
    classes)`.
    """

    def __init__(self, model: GasmCast) -> None:
        super().__init__()
        self.model = model

    def forward(self, semantic: Tensor, motion: Tensor) -> Tensor:
        """Classify a window of encoded segments."""
        logits = self.model.classify(Features(semantic, motion))
        assert isinstance(logits, Tensor)
        return logits


class _CompleteGraph(nn.Module):
    """Model with the interface of the complete graph: `clip (B, 1 + S, F, H, W, 3)` -> logits."""

    def __init__(self, model: GasmCast) -> None:
        super().__init__()
        self.model = model

    def forward(self, clip: Tensor) -> Tensor:
        logits = self.model(clip)
        assert isinstance(logits, Tensor)
        return logits


def is_streaming(model: GasmCast) -> bool:
    """Return True if a segment's encoding depends on it and its predecessor alone."""
    return model.config.motion_context != "clip"


def export_onnx(model: GasmCast, folder: Path, progress: Progress = silent) -> dict[str, Path]:
    """Write `encoder.onnx`, `head.onnx` and `complete.onnx` in FP32.

    Args:
        model: model; it is set to eval mode.
        folder: existing folder.
        progress: called before each graph is made.

    Returns:
        Graph name -> file; only `complete` if the model cannot stream.
    """
    spec = model.spec
    model = model.eval()
    if not is_streaming(model):
        progress("tracing complete")
        clip = torch.zeros((2, *spec.clip_shape), dtype=torch.uint8)
        complete = trace(_CompleteGraph(model), {"clip": clip}, ("logits",))
        return {"complete": save_graph(complete, folder / "complete.onnx")}

    # Values do not matter for a trace, only shapes and types.
    progress("tracing encoder")
    pair = torch.zeros((2, *spec.pair_shape), dtype=torch.uint8)
    encoder = trace(EncoderGraph(model), {"segments": pair}, ("semantic", "motion"))

    # The head is traced on what the encoder's graph says it gives.
    progress("tracing head")
    window = {
        name: torch.zeros((2, spec.segments, *output_shape(encoder, name)))
        for name in ("semantic", "motion")
    }
    head = trace(HeadGraph(model), window, ("logits",))

    # Composed, not traced, so that it cannot differ from the pair.
    progress("tracing complete")
    graphs = {
        "encoder": encoder,
        "head": head,
        "complete": compose_complete(encoder, head, spec),
    }
    return {name: save_graph(graph, folder / f"{name}.onnx") for name, graph in graphs.items()}


def trace(module: nn.Module, feeds: dict[str, Tensor], outputs: tuple[str, ...]) -> ModelProto:
    """Trace one torch module to a clean ONNX graph.

    Args:
        module: module in eval mode.
        feeds: example inputs by name, with a batch of 2; a batch of 1 would become a constant.
        outputs: names of the outputs.

    Returns:
        The graph after `clean`; its dynamic axis is `batch`.
    """
    batch = torch.export.Dim("batch", min=1, max=_MAX_BATCH)
    with _quiet():
        program = torch.onnx.export(
            module,
            tuple(feeds.values()),
            input_names=list(feeds),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            dynamic_shapes=tuple({0: batch} for _ in feeds),
            verbose=False,
        )

    assert program is not None

    # Remove local paths from the trace.
    model: ModelProto = program.model_proto
    return clean(model, "batch")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which logs a warning for every operator that it does not fold."""
    logs = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        # The levels are the user's, not ours.
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
