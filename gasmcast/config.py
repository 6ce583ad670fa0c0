"""Configuration of a model and its training, as pydantic models of the YAML presets.

A preset states only what differs from the defaults below, which are the `ssv2` preset. An unknown
key is an error that names the nearest known one.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from gasmcast.errors import UsageError
from gasmcast.model_config import ModelConfig
from gasmcast.presets import PRESETS
from gasmcast.schema import Frozen, check_settings
from gasmcast.spec import ClipSpec
from gasmcast.yamlfile import read_yaml

__all__ = [
    "MAX_SEED",
    "PRESETS",
    "AugmentConfig",
    "Config",
    "ModelConfig",
    "TrainConfig",
    "load_config",
    "parse_config",
    "read_preset",
]

# A run seeds its processes with 1000 * seed + rank, and NumPy seeds have 32 bits.
MAX_SEED = 4_000_000
MIN_SPEED, MAX_SPEED = 0.25, 4.0


class AugmentConfig(Frozen):
    """Augmentation of training clips; one random draw for all frames of a clip."""

    crop_scale: tuple[float, float] = Field(
        default=(0.4, 1.0),
        description="fraction of the area that a random resized crop keeps; (1, 1) disables it",
    )
    crop_ratio: tuple[float, float] = Field(
        default=(0.75, 1.3333), description="range of the aspect ratio of a random resized crop"
    )
    time_jitter: bool = Field(
        default=True, description="start the window at a random position in the video"
    )
    speed: tuple[float, float] = Field(
        default=(1.0, 1.0),
        description="range of the playback speed, drawn evenly on a logarithmic scale: people do "
        "the same action faster or slower; (1, 1) disables it",
    )
    flip: bool = Field(
        default=False,
        description="mirror half of the clips, and swap labels that name left and right",
    )
    color_jitter: float = Field(default=0.4, ge=0, description="strength; 0 disables it")
    randaugment: tuple[int, int] | None = Field(
        default=(4, 7), description="number of operations and magnitude; null disables it"
    )
    mixup: float = Field(default=0.8, ge=0, description="alpha; 0 disables it")
    cutmix: float = Field(default=1.0, ge=0, description="alpha; 0 disables it")

    @field_validator("speed")
    @classmethod
    def _check_speed(cls, speed: tuple[float, float]) -> tuple[float, float]:
        if not MIN_SPEED <= speed[0] <= speed[1] <= MAX_SPEED:
            raise ValueError(f"a range between {MIN_SPEED} and {MAX_SPEED}, the slower speed first")
        return speed


class TrainConfig(Frozen):
    """Settings of one training run."""

    epochs: int = Field(default=30, ge=1, description="passes over the training set")
    min_updates: int = Field(
        default=0,
        ge=0,
        description="least number of weight updates; small sets get more epochs to reach it",
    )
    batch_size: int = Field(default=8, ge=1, description="clips per process and step")
    accumulate: int = Field(default=1, ge=1, description="steps per weight update")
    lr: float = Field(
        default=3e-4,
        gt=0,
        description="peak learning rate; 3e-4 suits 64 clips per update "
        "(processes x batch_size x accumulate)",
    )
    weight_decay: float = Field(default=0.05, ge=0, description="AdamW, on weight matrices only")
    warmup_epochs: float = Field(
        default=2.5, ge=0, description="linear warm-up of the learning rate"
    )
    label_smoothing: float = Field(default=0.1, ge=0, lt=1, description="Szegedy et al. 2016")
    stream_loss: float = Field(
        default=0.0,
        ge=0,
        description="weight of the read-out of each stream in the loss; 0 disables them",
    )
    stream_weight_folds: int = Field(
        default=0,
        ge=0,
        description="guarded: cross-validation folds that fit the stream weights; "
        "0 takes model.stream_weights",
    )
    teacher: str = Field(
        default="",
        description="run folder or checkpoint of a larger model whose probabilities are learned, "
        "too; empty: none",
    )
    teacher_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="weight of the teacher in the targets of annotated clips",
    )
    unlabelled: str = Field(
        default="",
        description="folder of videos without classes, which are learned from the teacher alone",
    )
    background: str = Field(
        default="",
        description="video or folder of videos in which no action happens, or `unlabeled`; every "
        "class is learned to be as likely there, and unlabeled time of training videos joins",
    )
    clip_norm: float = Field(default=1.0, ge=0, description="gradient norm limit; 0 disables it")
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decay of the weight average that is evaluated and stored; 0 disables it",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="bf16", description="precision of autocast; fp32 where the CPU has no bf16"
    )
    compile: bool = Field(default=False, description="use torch.compile")
    balanced: bool = Field(default=False, description="draw classes equally often")
    workers: int = Field(
        default=4, ge=0, description="data loader processes; 0 loads in the main one"
    )
    cache_views: int = Field(
        default=0,
        ge=0,
        description="frozen backbones: encode this number of views per clip before training; "
        "0 trains from clips",
    )
    cache_encoder: Literal["torch", "openvino"] = Field(
        default="torch",
        description="what encodes on a CPU: PyTorch, or OpenVINO, which is two to three times as "
        "fast and computes in BF16 where the CPU does; a GPU always encodes in PyTorch",
    )
    fit_window: bool = Field(
        default=False,
        description="choose spec.segment_s so that the window covers 75 % of the training clips",
    )
    memory_gb: float = Field(
        default=2.0,
        ge=0,
        description="decode a set that fits into this memory once; crops are then drawn from "
        "frames of 1.3 times the clip size, which changes pixels slightly; 0 disables it",
    )
    seed: int = Field(
        default=0, ge=0, le=MAX_SEED, description="seed of every random draw of the run"
    )
    checkpoint_minutes: float = Field(default=15.0, gt=0, description="time between checkpoints")


class Config(Frozen):
    """Complete configuration of a run; a preset file states it, a checkpoint stores it."""

    spec: ClipSpec = ClipSpec()
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()


def load_config(source: str | Path, overrides: dict[str, Any] | None = None) -> Config:
    """Load a preset or a YAML file, with dotted overrides on top.

    Args:
        source: one of `PRESETS`, or the path of a YAML file.
        overrides: dotted settings, as `{"train.epochs": 3}`; values as YAML would read them.

    Returns:
        The checked configuration.

    Raises:
        UsageError: unknown preset or file, not YAML, an unknown key (the nearest known one is
            named), or a bad value.

    Example:
        >>> load_config("demo", {"train.epochs": 3}).train.epochs
        3
    """
    name = str(source)
    tree = read_preset(name, PRESETS, kind="preset") or {}
    if not isinstance(tree, dict):
        raise UsageError(f"{name} is not a mapping of settings.", "Write `section:` and its keys.")

    for dotted, value in (overrides or {}).items():
        _set_dotted(tree, dotted, value, name)
    return parse_config(tree, name)


def read_preset(
    source: str | Path, names: Sequence[str], *, kind: str, kinds: str = "", folder: str = "presets"
) -> Any:  # noqa: ANN401 - whatever the file holds
    """Return the plain data of a packaged YAML file, by its name, or of any other YAML file.

    Args:
        source: one of `names`, or the path of a YAML file.
        names: packaged files, without `.yaml`.
        kind: noun that error messages use.
        kinds: its plural, if that is not `kind` + "s".
        folder: folder of the packaged files.

    Raises:
        UsageError: unknown name or file, or not YAML.
    """
    if source in names:
        return read_yaml(resources.files("gasmcast").joinpath(f"{folder}/{source}.yaml"))
    if Path(source).is_file():
        return read_yaml(Path(source))
    plural = (kinds or f"{kind}s").capitalize()
    raise UsageError(
        f"No {kind} or file {str(source)!r}.", f"{plural}: {', '.join(names)}; or give a YAML file."
    )


def parse_config(tree: dict[str, Any], name: str) -> Config:
    """Validate plain data as a `Config`.

    Args:
        tree: sections and their settings.
        name: what error messages call the data.

    Raises:
        UsageError: an unknown key or a bad value.
    """
    return check_settings(Config, tree, name)


def _set_dotted(tree: dict[str, Any], dotted: str, value: object, name: str) -> None:
    """Set `section.key` in nested mappings, and create missing sections."""
    *parents, leaf = dotted.split(".")
    node = tree
    for depth, key in enumerate(parents, 1):
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            section = ".".join(parents[:depth])
            raise UsageError(f"{name}: {section} is not a section, so {dotted} cannot be set.")

    node[leaf] = value
