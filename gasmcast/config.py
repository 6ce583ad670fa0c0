"""The configuration of a model and its training: pydantic models of the YAML presets.

A preset or file states only what differs from the defaults below, which are the `ssv2` preset. An unknown key is an
error that names the nearest good one.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from gasmcast.errors import UsageError
from gasmcast.schema import Frozen, check_settings
from gasmcast.spec import ClipSpec
from gasmcast.yamlfile import read_yaml

__all__ = [
    "MOST_SEED",
    "PRESETS",
    "AugmentConfig",
    "Config",
    "ModelConfig",
    "TrainConfig",
    "load_config",
    "parse_config",
]

MOST_SEED = 4_000_000  # a run draws from 1000 times its seed, and NumPy takes 32 bits
PRESETS = ("ssv2", "seed", "edge", "demo", "small-data")


class ModelConfig(Frozen):
    """GASM-CAST and every variant of it that the ablations need (one field a switch)."""

    classes: int = Field(174, ge=1)
    streams: Literal["both", "semantic", "motion"] = Field(
        "both", description="single streams are ablations"
    )

    semantic_backbone: str = Field(
        "dinov3_b16",
        description="dinov3_b16, dinov3_s16, dinov2_s14, clip_b16, sup_b16, tiny, or a timm name",
    )
    semantic_weights: str = Field(
        "pretrained", description="pretrained, random, or a file of weights"
    )
    semantic_taps: tuple[int, ...] = Field(
        (4, 8, 12), description="blocks that are read, counted from 1"
    )
    semantic_tokens: Literal["patch", "cell"] = Field(
        "patch", description="a token a patch, or the mean of a motion cell's 2 x 2 patches"
    )
    motion_backbone: str = Field(
        "r3d_18",
        description="r3d_18, r2plus1d_18, mc3_18, s3d, i3d, c3d, tiny, or a torchvision video name",
    )
    motion_weights: str = Field(
        "pretrained", description="pretrained, random, or a file of weights"
    )
    motion_taps: tuple[str, ...] = Field(
        ("layer2", "layer3", "layer4"), description="stages that are read"
    )
    motion_context: Literal["previous", "segment", "clip"] = Field(
        "previous", description="what of the clip the motion stream sees at once"
    )
    motion_pool: Literal["grid", "pooled"] = Field(
        "grid", description="motion cells, or one vector a segment"
    )
    freeze: bool = Field(True, description="backbones frozen, BatchNorm statistics too")

    width: int = Field(512, ge=8, description="D, the common width of both streams")
    layers: int = Field(
        3,
        ge=1,
        description="progressive fusion layers; layer i adds tap i (the last taps, when fewer)",
    )
    heads: int = Field(8, ge=1)
    bottleneck: float = Field(
        0.5, gt=0, le=1, description="width of the cross-attention as a share of `width`"
    )
    fusion: Literal["bcast", "full", "concat", "add", "mul", "late"] = "bcast"
    direction: Literal["both", "to_semantic", "to_motion"] = "both"
    attention_window: Literal["local", "full"] = Field(
        "local", description="local: over time in a cell / over a segment's patches"
    )
    graph_semantic: Literal["none", "topk", "knn"] = "topk"
    graph_motion: Literal["none", "dense", "gatv2"] = "dense"
    k: int | None = Field(
        16,
        ge=1,
        description="edges a node of the semantic graph; null: all, the ablation without a graph",
    )
    temporal_adapter: int = Field(
        128, ge=0, description="inner width of the temporal adapter; 0: none"
    )
    semantic_contrast: float = Field(
        0.0,
        ge=0,
        description="how much more a token's departure from its mean over the window counts, at first; 0: no more, ever",
    )
    ffn_ratio: float = Field(2.0, ge=0)
    read_out: Literal["joint", "guarded"] = Field(
        "joint",
        description="joint: of the fused streams; guarded: each stream also alone, beside the fusion, weighed by `gate`",
    )
    gate: tuple[float, float, float] = Field(
        (1 / 3, 1 / 3, 1 / 3), description="guarded: shares of semantic, motion, fused"
    )
    drop_path: float = Field(0.2, ge=0, lt=1)
    drop_channels: float = Field(
        0.0, ge=0, lt=1, description="share of each tap's channels left out of a whole clip"
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="before the classifier")

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        inner = round(self.width * self.bottleneck)
        if self.width % self.heads or inner % self.heads:
            raise ValueError(
                f"width {self.width} and its bottleneck {inner} must be multiples of heads {self.heads}"
            )
        if min(self.gate) < 0 or sum(self.gate) <= 0:
            raise ValueError(f"gate {list(self.gate)}: shares are not negative and not all 0")
        for name, taps in (
            ("semantic_taps", self.semantic_taps),
            ("motion_taps", self.motion_taps),
        ):
            if len(taps) not in (1, self.layers):
                raise ValueError(
                    f"{name} has {len(taps)} entries for {self.layers} layers: give one a layer, or one for all"
                )
        return self


class AugmentConfig(Frozen):
    """Augmentation of training clips; one draw for all frames of a clip."""

    crop_scale: tuple[float, float] = Field(
        (0.4, 1.0), description="share of the area that a random resized crop keeps; (1, 1): none"
    )
    crop_ratio: tuple[float, float] = (0.75, 1.3333)
    time_jitter: bool = Field(True, description="the window begins anywhere that it fits")
    flip: bool = Field(
        False, description="mirror half of the clips, swapping the labels that name left and right"
    )
    color_jitter: float = Field(0.4, ge=0)
    randaugment: tuple[int, int] | None = Field((4, 7), description="operations, magnitude")
    mixup: float = Field(0.8, ge=0, description="alpha; 0: none")
    cutmix: float = Field(1.0, ge=0, description="alpha; 0: none")


class TrainConfig(Frozen):
    """One training run."""

    epochs: int = Field(30, ge=1)
    min_updates: int = Field(
        0, ge=0, description="weight updates; a small set gets as many more epochs as they take"
    )
    batch_size: int = Field(8, ge=1, description="clips a process and step")
    accumulate: int = Field(1, ge=1, description="steps a weight update")
    lr: float = Field(
        3e-4,
        gt=0,
        description="peak; 3e-4 is for 64 clips an update: processes x batch_size x accumulate",
    )
    weight_decay: float = Field(0.05, ge=0)
    warmup_epochs: float = Field(2.5, ge=0)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    stream_loss: float = Field(
        0.0, ge=0, description="weight of each stream's own read-out in the loss; 0: none"
    )
    gate_folds: int = Field(
        0,
        ge=0,
        description="guarded: folds of the training set that the gate is fitted on; 0: take model.gate",
    )
    clip_norm: float = Field(1.0, ge=0, description="gradient clipping; 0: none")
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of the averaged weights that are evaluated and kept; 0: none",
    )
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    compile: bool = False
    balanced: bool = Field(False, description="draw classes equally often")
    workers: int = Field(4, ge=0)
    cache_views: int = Field(
        0,
        ge=0,
        description="frozen backbones: encode so many views a clip first, whatever the seed; 0: train from clips",
    )
    fit_window: bool = Field(
        False,
        description="choose spec.segment_s so that the window covers three quarters of the training clips",
    )
    memory_gb: float = Field(
        2.0,
        ge=0,
        description="a set that fits into so much memory is decoded once, and crops are then drawn from frames 1.3 times the clip's size, "
        "which changes their pixels a little; 0: never",
    )
    seed: int = Field(0, ge=0, le=MOST_SEED)
    checkpoint_minutes: float = Field(15.0, gt=0)


class Config(Frozen):
    """What a preset file holds, and what a checkpoint carries whole."""

    spec: ClipSpec = ClipSpec()
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()


def load_config(source: str | Path, overrides: dict[str, Any] | None = None) -> Config:
    """A preset's name or a YAML file, with dotted overrides on top.

    Args:
        source: one of `PRESETS`, or the path of a YAML file.
        overrides: `{"train.epochs": 3}`; values as YAML would read them.

    Raises:
        UsageError: no such preset or file, not YAML, an unknown key (the nearest good one is named), a section that is
            none, a bad value.
    """
    where = str(source)
    if where in PRESETS:
        tree = read_yaml(resources.files("gasmcast").joinpath(f"presets/{where}.yaml"))
    elif Path(where).is_file():
        tree = read_yaml(Path(where)) or {}
    else:
        raise UsageError(
            f"No preset or file {where!r}.", f"Presets: {', '.join(PRESETS)}; or give a YAML file."
        )
    if not isinstance(tree, dict):
        raise UsageError(f"{where} is not a mapping of settings.")
    for dotted, value in (overrides or {}).items():
        node = tree
        *parents, leaf = dotted.split(".")
        for depth, key in enumerate(parents, 1):
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise UsageError(
                    f"{where}: {'.'.join(parents[:depth])} is no section, so {dotted} cannot be set."
                )
        node[leaf] = value
    return parse_config(tree, where)


def parse_config(tree: dict[str, Any], where: str) -> Config:
    """A `Config` from plain data; `where` names its origin in errors.

    Raises:
        UsageError: an unknown key or a bad value.
    """
    return check_settings(Config, tree, where)
