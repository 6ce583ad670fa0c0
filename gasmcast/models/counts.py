"""What a model costs: parameters and multiply-adds by part, counted once, here, without weights or data.

Everything runs on torch's meta device: shapes only. A multiply-add is one product and its addition in a matrix product
(those of attention included) or a convolution; element-wise work is not counted, as is usual.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gasmcast.config import Config, ModelConfig
from gasmcast.models.head.cross_attention import Exchange
from gasmcast.models.model import GasmCast
from gasmcast.models.shape import HeadShape
from gasmcast.schema import Frozen
from gasmcast.spec import ClipSpec

__all__ = ["Counts", "MultiplyAdds", "Parameters", "count", "count_model", "cross_attention_ratio"]

PARTS = (
    ("encoder.semantic.", "semantic backbone"),
    ("encoder.motion.", "motion backbone"),
    ("encoder.semantic_taps.", "semantic projections"),
    ("encoder.motion_taps.", "motion projections"),
    ("head.positions", "positions"),
    ("head.contrasts.", "semantic contrast"),
    (".adapter.", "temporal adapters"),
    (".graph_semantic.", "semantic graphs"),
    (".graph_motion.", "motion graphs"),
    (".exchange.", "exchange"),
    (".ffn_semantic.", "semantic feed-forward"),
    (".ffn_motion.", "motion feed-forward"),
    ("head.readouts.", "read-out"),
)


class Parameters(Frozen):
    """Weights; BatchNorm's statistics and other buffers are not among them."""

    total: int
    trainable: int
    frozen_share: float
    by_part: dict[str, int]


class MultiplyAdds(Frozen):
    """Multiply-adds of one whole clip; `decision` is what one more segment costs a stream that keeps its encoded segments."""

    total: int
    encoder: int
    head: int
    decision: int | None
    by_part: dict[str, int]


class Counts(Frozen):
    """Sizes of a model."""

    parameters: Parameters
    macs: MultiplyAdds
    cross_attention_ratio: float | None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return self.model_dump()


def count(config: Config) -> Counts:
    """Count a configuration, without building its weights.

    Raises:
        UsageError: a variant that cannot be built.
    """
    with torch.device("meta"):
        model = GasmCast(config.model, config.spec)
    return count_model(model)


def count_model(model: GasmCast) -> Counts:
    """Count a model; on the meta device this takes a second and no memory."""
    by_part: dict[str, int] = defaultdict(int)
    trainable = 0
    for name, parameter in model.named_parameters():
        by_part[_part(name)] += parameter.numel()
        trainable += parameter.numel() if parameter.requires_grad else 0
    total = sum(by_part.values())
    shadow = model if next(model.parameters()).is_meta else _shadow(model)
    macs = _multiply_adds(shadow)
    return Counts(
        parameters=Parameters(
            total=total,
            trainable=trainable,
            frozen_share=1 - trainable / total,
            by_part=dict(by_part),
        ),
        macs=macs,
        cross_attention_ratio=cross_attention_ratio(model.config, model.spec),
    )


def cross_attention_ratio(model: ModelConfig, spec: ClipSpec) -> float | None:
    """Multiply-adds of the bottleneck cross-attention over those at full width, both directions, both over the full window.

    None for a model without a bottleneck exchange.
    """
    if model.streams != "both" or model.fusion != "bcast":
        return None
    shape = HeadShape.of(model, spec)
    cost = []
    for fusion in ("bcast", "full"):
        variant = model.model_copy(
            update={"fusion": fusion, "attention_window": "full", "direction": "both"}
        )
        with torch.device("meta"):
            s = torch.empty(1, shape.frames, shape.patches, model.width)
            m = torch.empty(1, shape.segments, shape.motion_tokens, model.width)
            exchange = Exchange(variant, shape)
        cost.append(_count(exchange, s, m)[""])
    return cost[0] / cost[1]


def _shadow(model: GasmCast) -> GasmCast:
    with torch.device("meta"):
        return GasmCast(model.config, model.spec)


def _multiply_adds(model: GasmCast) -> MultiplyAdds:
    model.eval()
    clip = torch.empty(1, *model.spec.clip_shape, dtype=torch.uint8, device="meta")
    found = _count(model, clip)
    by_part: dict[str, int] = defaultdict(int)
    for name, macs in found.items():
        if name:
            by_part[_part(f"{name}.")] += macs
    total = found[""]
    head = sum(macs for name, macs in found.items() if name.startswith("head"))
    decision = None
    if model.config.motion_context != "clip":
        pair = torch.empty(1, *model.spec.pair_shape, dtype=torch.uint8, device="meta")
        decision = _count(model.encoder, pair)[""] + head
    return MultiplyAdds(
        total=total, encoder=total - head, head=head, decision=decision, by_part=dict(by_part)
    )


def _count(module: nn.Module, *inputs: torch.Tensor) -> dict[str, int]:
    """Multiply-adds by the module that does them itself; `""` is the whole."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(*inputs)
    root = type(module).__name__
    flops = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    whole: dict[str, int] = {}
    own: dict[str, int] = {}
    inside: dict[str, int] = defaultdict(int)
    for name, _ in reversed(list(module.named_modules())):  # children before their parents
        # Containers are not called themselves, so nothing is recorded under their names.
        whole[name] = max(flops.get(f"{root}.{name}" if name else root, 0) // 2, inside[name])
        own[name] = whole[name] - inside[name]
        if name:
            inside[name.rpartition(".")[0]] += whole[name]
    return {name: macs for name, macs in own.items() if name and macs} | {"": whole[""]}


def _part(name: str) -> str:
    return next(part for marker, part in PARTS if marker in name)
