"""Architecture settings of GASM-CAST and of its ablations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from gasmcast.schema import Frozen

__all__ = ["ModelConfig"]


class ModelConfig(Frozen):
    """Architecture of GASM-CAST; every ablation is a value of one of these fields."""

    classes: int = Field(
        default=174, ge=1, description="number of classes; taken from the data set"
    )
    streams: Literal["both", "semantic", "motion"] = Field(
        default="both", description="streams of the model; a single one is an ablation"
    )

    semantic_backbone: str = Field(
        default="dinov3_b16",
        description="dinov3_b16, dinov3_s16, dinov2_s14, clip_b16, sup_b16, sup_t16, "
        "tiny, or a timm name",
    )
    semantic_weights: str = Field(
        default="pretrained", description="pretrained, random, or the path of a weights file"
    )
    semantic_taps: tuple[int, ...] = Field(
        default=(4, 8, 12), description="transformer blocks that are tapped, counted from 1"
    )
    semantic_tokens: Literal["patch", "cell"] = Field(
        default="patch",
        description="one token per patch, or the mean of the 2 x 2 patches of a motion cell",
    )
    motion_backbone: str = Field(
        default="r3d_18",
        description="r3d_18, r2plus1d_18, mc3_18, s3d, i3d, c3d, tiny, or a torchvision video name",
    )
    motion_weights: str = Field(
        default="pretrained", description="pretrained, random, or the path of a weights file"
    )
    motion_taps: tuple[str, ...] = Field(
        default=("layer2", "layer3", "layer4"), description="backbone stages that are tapped"
    )
    motion_context: Literal["previous", "segment", "clip"] = Field(
        default="previous",
        description="frames that the motion stream sees at once: the previous and current segment, "
        "the current segment, or the whole clip (which cannot stream)",
    )
    motion_pool: Literal["grid", "pooled"] = Field(
        default="grid", description="7 x 7 motion cells, or one vector per segment"
    )
    freeze: bool = Field(
        default=True, description="freeze both backbones, including BatchNorm statistics"
    )

    width: int = Field(default=512, ge=8, description="D, the width of both streams")
    layers: int = Field(
        default=3,
        ge=1,
        description="progressive fusion layers; layer i adds tap i (the last taps if fewer)",
    )
    heads: int = Field(default=8, ge=1, description="attention heads")
    bottleneck: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="width of the cross-attention, as a fraction of `width`",
    )
    fusion: Literal["bcast", "full", "concat", "add", "mul", "late"] = Field(
        default="bcast", description="bottleneck cross-attention, or one of the baselines"
    )
    direction: Literal["both", "to_semantic", "to_motion"] = Field(
        default="both", description="directions of the cross-attention"
    )
    attention_window: Literal["local", "full"] = Field(
        default="local",
        description="keys of the cross-attention: local (over time in a cell, over the patches "
        "of a segment), or all tokens",
    )
    graph_semantic: Literal["none", "topk", "knn"] = Field(
        default="topk",
        description="edges of the semantic graph: learned top-k, nearest features, or none",
    )
    graph_motion: Literal["none", "dense", "gatv2"] = Field(
        default="dense", description="graph over the segments in the motion stream"
    )
    k: int | None = Field(
        default=16,
        ge=1,
        description="edges per node of the semantic graph; null: all (ablation without a graph)",
    )
    temporal_adapter: int = Field(
        default=128, ge=0, description="inner width of the temporal adapter; 0 disables it"
    )
    semantic_contrast: float = Field(
        default=0.0,
        ge=0,
        description="initial gain on the deviation of a token from its mean over the window; "
        "0 disables the gain",
    )
    ffn_ratio: float = Field(
        default=2.0, ge=0, description="hidden width of the feed-forward / `width`"
    )
    read_out: Literal["joint", "guarded"] = Field(
        default="joint",
        description="joint: one classifier on the fused streams; guarded: a classifier per stream "
        "and one on the fusion, averaged by `stream_weights`",
    )
    stream_weights: tuple[float, float, float] = Field(
        default=(1 / 3, 1 / 3, 1 / 3), description="guarded: weights of semantic, motion, fused"
    )
    drop_path: float = Field(default=0.2, ge=0, lt=1, description="stochastic depth rate")
    drop_channels: float = Field(
        default=0.0, ge=0, lt=1, description="fraction of tap channels dropped for a whole clip"
    )
    dropout: float = Field(default=0.5, ge=0, lt=1, description="dropout before the classifier")

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        # Every head needs the same number of channels, in the bottleneck too.
        inner = round(self.width * self.bottleneck)
        if self.width % self.heads or inner % self.heads:
            raise ValueError(
                f"width {self.width} and its bottleneck {inner} must be multiples of "
                f"heads {self.heads}"
            )

        if min(self.stream_weights) < 0 or sum(self.stream_weights) <= 0:
            weights = list(self.stream_weights)
            raise ValueError(f"stream_weights {weights}: none may be negative, not all may be 0")

        for name, taps in (
            ("semantic_taps", self.semantic_taps),
            ("motion_taps", self.motion_taps),
        ):
            if len(taps) not in (1, self.layers):
                raise ValueError(
                    f"{name} has {len(taps)} entries for {self.layers} layers: "
                    "give one per layer, or one for all"
                )

        return self
