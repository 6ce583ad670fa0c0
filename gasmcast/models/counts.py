"""Count what a model costs: parameters and multiply-adds by part, without weights or data.

Everything runs on torch's meta device, on shapes only. A multiply-add is one product and its
addition in a matrix product (those of attention included) or a convolution; elementwise work is not
counted, as is usual.
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

__all__ = ["Counts", "MultiplyAdds", "Parameters", "count", "cross_attention_ratio"]

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
    """Numbers of weights; BatchNorm statistics and other buffers are not counted."""

    total: int
    trainable: int
    frozen_share: float
    """Frozen weights as a share of all, 0..1."""
    by_part: dict[str, int]


class MultiplyAdds(Frozen):
    """Multiply-adds of one whole clip."""

    total: int
    encoder: int
    head: int
    decision: int | None
    """Cost of one more segment in streaming, which reuses the encoded segments before it; None for
    a model that sees whole clips only.
    """
    by_part: dict[str, int]


class Counts(Frozen):
    """Size and cost of a model."""

    parameters: Parameters
    macs: MultiplyAdds
    cross_attention_ratio: float | None
    """Multiply-adds of the bottleneck cross-attention over those at full width."""

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return self.model_dump()


def count(config: Config) -> Counts:
    """Count a configuration without allocating its weights.

    Raises:
        UsageError: the variant cannot be built.
    """
    with torch.device("meta"):
        model = GasmCast(config.model, config.spec)

    # A weight that two modules share is listed once, so that the parts add up to the whole.
    by_part: dict[str, int] = defaultdict(int)
    trainable = 0
    for name, parameter in model.named_parameters():
        by_part[_part(name)] += parameter.numel()
        trainable += parameter.numel() if parameter.requires_grad else 0
    total = sum(by_part.values())

    return Counts(
        parameters=Parameters(
            total=total,
            trainable=trainable,
            frozen_share=1 - trainable / total,
            by_part=dict(by_part),
        ),
        macs=_multiply_adds(model),
        cross_attention_ratio=cross_attention_ratio(model.config, model.spec),
    )


def cross_attention_ratio(model: ModelConfig, spec: ClipSpec) -> float | None:
    """Return the multiply-adds of the bottleneck cross-attention over those at full width.

    Both directions and the full window are counted in both cases. None for a model without a
    bottleneck exchange.
    """
    if model.streams != "both" or model.fusion != "bcast":
        return None

    shape = HeadShape.of(model, spec)
    cost = {}
    for fusion in ("bcast", "full"):
        # Windows and directions are made equal, so that only the width differs.
        variant = model.model_copy(
            update={"fusion": fusion, "attention_window": "full", "direction": "both"}
        )
        with torch.device("meta"):
            s = torch.empty(1, shape.frames, shape.patches, model.width)
            m = torch.empty(1, shape.segments, shape.motion_tokens, model.width)
            exchange = Exchange(variant, shape)
        cost[fusion] = _count_modules(exchange, s, m)[""]

    return cost["bcast"] / cost["full"]


def _multiply_adds(model: GasmCast) -> MultiplyAdds:
    """Count the multiply-adds of a model on the meta device."""
    model.eval()
    clip = torch.empty(1, *model.spec.clip_shape, dtype=torch.uint8, device="meta")
    by_module = _count_modules(model, clip)

    by_part: dict[str, int] = defaultdict(int)
    for name, macs in by_module.items():
        if name:
            by_part[_part(f"{name}.")] += macs
    total = by_module[""]
    head = sum(macs for name, macs in by_module.items() if name.startswith("head"))

    # A stream of segments encodes one pair per decision, unless the backbone needs the whole clip.
    decision = None
    if model.config.motion_context != "clip":
        pair = torch.empty(1, *model.spec.pair_shape, dtype=torch.uint8, device="meta")
        decision = _count_modules(model.encoder, pair)[""] + head

    return MultiplyAdds(
        total=total, encoder=total - head, head=head, decision=decision, by_part=dict(by_part)
    )


def _count_modules(module: nn.Module, *inputs: torch.Tensor) -> dict[str, int]:
    """Return the multiply-adds that each module performs itself; the key `""` is the whole."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(*inputs)
    root = type(module).__name__
    flops = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}

    whole: dict[str, int] = {}
    own: dict[str, int] = {}
    inside: dict[str, int] = defaultdict(int)
    # Children come before their parents, so that `inside` is complete at each parent.
    for name, _ in reversed(list(module.named_modules())):
        # Containers are not called themselves, so nothing is recorded under their names.
        recorded = flops.get(f"{root}.{name}" if name else root, 0) // 2
        whole[name] = max(recorded, inside[name])
        own[name] = whole[name] - inside[name]
        if name:
            inside[name.rpartition(".")[0]] += whole[name]

    return {name: macs for name, macs in own.items() if name and macs} | {"": whole[""]}


def _part(name: str) -> str:
    """Return the part of the model that a module or parameter name belongs to."""
    return next(part for marker, part in PARTS if marker in name)
