"""torch to ONNX: encoder, head and complete graph, in the form that every backend reads.

Opset 20, one file, batch the only dynamic axis, uint8 pixels in, native LayerNormalization, attention as MatMul and Softmax. The complete
graph is composed of the other two, so `complete = head(stack(encoder))` holds by construction in every precision; only a model whose
motion stream sees the whole clip at once is traced whole.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, compose, helper, numpy_helper
from torch import Tensor, nn

from gasmcast.export.graphs.clean import clean
from gasmcast.files import atomic_path
from gasmcast.models.model import Features, GasmCast
from gasmcast.spec import ClipSpec

__all__ = [
    "OPSET", "EncoderGraph", "HeadGraph",
    "compose_complete", "export_onnx", "is_streaming", "remove_graph", "save_graph", "trace",
]  # fmt: skip

OPSET = 20
_INLINE_BYTES = 1_900_000_000  # protobuf ends at 2 GB
_CLEAN_IR = 10


class EncoderGraph(nn.Module):
    """`segments (B, 2, F, H, W, 3)` -> `semantic (B, L, f, P, D)`, `motion (B, L, C, D)`."""

    def __init__(self, model: GasmCast) -> None:
        super().__init__()
        self.model = model

    def forward(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        """One segment and its predecessor."""
        features = self.model.encode(segments)  # (B, 1, L, f, P, D), (B, 1, L, C, D)
        return features.semantic[:, 0], features.motion[:, 0]


class HeadGraph(nn.Module):
    """`semantic (B, S, L, f, P, D)`, `motion (B, S, L, C, D)` -> `logits (B, classes)`."""

    def __init__(self, model: GasmCast) -> None:
        super().__init__()
        self.model = model

    def forward(self, semantic: Tensor, motion: Tensor) -> Tensor:
        """A window of encoded segments."""
        logits = self.model.classify(Features(semantic, motion))
        assert isinstance(logits, Tensor)
        return logits


class _Complete(nn.Module):
    def __init__(self, model: GasmCast) -> None:
        super().__init__()
        self.model = model

    def forward(self, clip: Tensor) -> Tensor:
        logits = self.model(clip)
        assert isinstance(logits, Tensor)
        return logits


def is_streaming(model: GasmCast) -> bool:
    """Whether a segment's encoding depends on it and its predecessor alone, so that it can be cached."""
    return model.config.motion_context != "clip"


def export_onnx(
    model: GasmCast, folder: Path, each: Callable[[str], None] | None = None
) -> dict[str, Path]:
    """Write `encoder.onnx`, `head.onnx` and `complete.onnx` in FP32.

    Args:
        model: in eval mode.
        folder: must exist.
        each: called with the name of each graph before it is made.

    Returns:
        graph name -> file; only `complete` where the model cannot stream.
    """
    spec = model.spec
    say = each or (lambda _: None)
    model = model.eval()
    pair = torch.zeros((2, *spec.pair_shape), dtype=torch.uint8)
    if not is_streaming(model):
        say("complete")
        clip = torch.zeros((2, *spec.clip_shape), dtype=torch.uint8)
        whole = trace(_Complete(model), {"clip": clip}, ("logits",))
        return {"complete": save_graph(whole, folder / "complete.onnx")}
    say("encoder")
    encoder = trace(EncoderGraph(model), {"segments": pair}, ("semantic", "motion"))
    semantic, motion = (_shape(encoder, name) for name in ("semantic", "motion"))
    say("head")
    head = trace(
        HeadGraph(model),
        {
            "semantic": torch.zeros((2, spec.segments, *semantic)),
            "motion": torch.zeros((2, spec.segments, *motion)),
        },
        ("logits",),
    )
    paths = {
        "encoder": save_graph(encoder, folder / "encoder.onnx"),
        "head": save_graph(head, folder / "head.onnx"),
    }
    say("complete")
    paths["complete"] = save_graph(compose_complete(encoder, head, spec), folder / "complete.onnx")
    return paths


def trace(module: nn.Module, feeds: dict[str, Tensor], outputs: tuple[str, ...]) -> ModelProto:
    """One torch module as a clean ONNX graph; `feeds` are example inputs with a batch of 2 (1 would be taken for a constant)."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    # Both libraries report on their own internals at level warning, a line for every operator that they do not fold.
    logs = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
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
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
    assert program is not None
    model: ModelProto = program.model_proto
    return clean(model, "batch")


def save_graph(model: ModelProto, path: Path) -> Path:
    """Write a graph whole; above 1.9 GB its weights go beside it, as `<file>.data`."""
    if model.ByteSize() < _INLINE_BYTES:
        with atomic_path(path) as draft:
            onnx.save(model, str(draft))
        return path
    data = _beside(path)
    data.unlink(missing_ok=True)
    onnx.save(
        copy.deepcopy(model),
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=data.name,
    )
    return path


def remove_graph(path: Path) -> None:
    """Remove a graph, and its weights where they lie beside it."""
    path.unlink()
    _beside(path).unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """Where the weights of a graph lie that are too many to be in it."""
    return path.with_name(path.name + ".data")


def _shape(model: ModelProto, name: str) -> list[int]:
    """The shape of an output without its batch."""
    value = next(v for v in model.graph.output if v.name == name)
    return [d.dim_value for d in value.type.tensor_type.shape.dim][1:]


def compose_complete(encoder: ModelProto, head: ModelProto, spec: ClipSpec) -> ModelProto:
    """`clip -> logits` out of the streaming pair, whatever their precision.

    The clip is cast first, since TensorRT holds UINT8 only at a network's border; then cut into (previous, current) pairs, which become
    the encoder's batch.
    """
    first = [n for n in encoder.graph.node if "segments" in n.input]
    assert all(n.op_type in {"Cast", "Shape"} for n in first)  # `clean` made it so
    semantic, motion = (_shape(encoder, name) for name in ("semantic", "motion"))
    a, b = compose.add_prefix(encoder, "encoder."), compose.add_prefix(head, "head.")
    constants: list[TensorProto] = []
    nodes = [
        helper.make_node("Cast", ["clip"], ["pairs.float"], name="pairs/Cast", to=TensorProto.FLOAT)
    ]

    def constant(name: str, values: list[int]) -> str:
        constants.append(numpy_helper.from_array(np.asarray(values, np.int64), f"pairs.{name}"))
        return f"pairs.{name}"

    axis, wide = constant("axis", [1]), constant("wide", [2])
    for name, start in (("previous", 0), ("current", 1)):
        bounds = [
            constant(f"{name}.from", [start]),
            constant(f"{name}.to", [start + spec.segments]),
        ]
        nodes.append(
            helper.make_node(
                "Slice",
                ["pairs.float", *bounds, axis],
                [f"pairs.{name}.cut"],
                name=f"pairs/{name}/Slice",
            )
        )
        nodes.append(
            helper.make_node(
                "Unsqueeze",
                [f"pairs.{name}.cut", wide],
                [f"pairs.{name}"],
                name=f"pairs/{name}/Unsqueeze",
            )
        )
    nodes.append(
        helper.make_node(
            "Concat",
            ["pairs.previous", "pairs.current"],
            ["pairs.joined"],
            name="pairs/Concat",
            axis=2,
        )
    )
    flat = constant("shape", [-1, *spec.pair_shape])
    nodes.append(
        helper.make_node(
            "Reshape", ["pairs.joined", flat], ["pairs.segments"], name="pairs/Reshape"
        )
    )
    for node in a.graph.node:
        for i, name in enumerate(node.input):
            if name == "encoder.segments":
                node.input[i] = "pairs.segments"
        nodes.append(node)
    for name, shape in (("semantic", semantic), ("motion", motion)):
        target = constant(f"{name}.shape", [-1, spec.segments, *shape])
        nodes.append(
            helper.make_node(
                "Reshape", [f"encoder.{name}", target], [f"head.{name}"], name=f"stack/{name}"
            )
        )
    nodes += b.graph.node
    for node in nodes:
        for i, name in enumerate(node.output):
            if name == "head.logits":
                node.output[i] = "logits"
    clip = helper.make_tensor_value_info("clip", TensorProto.UINT8, ["batch", *spec.clip_shape])
    classes = _shape(head, "logits")
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", *classes])
    graph = helper.make_graph(
        nodes,
        "complete",
        [clip],
        [logits],
        [*constants, *a.graph.initializer, *b.graph.initializer],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_CLEAN_IR,
        producer_name="gasmcast",
    )
