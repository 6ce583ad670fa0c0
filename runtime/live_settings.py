"""The settings of `gasmcast live`: a YAML file (`--config live.yaml`) whose every key is also here with its meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from gasmcast.errors import UsageError
from gasmcast.schema import Frozen, check_settings
from gasmcast.yamlfile import read_yaml

__all__ = ["LiveConfig", "load_live_config", "with_settings"]


_OF_ALL = (
    "budget_s",
    "max_cameras",
    "degrade",
    "batch",
    "stats_s",
)  # settings that no camera can have for itself


class LiveConfig(Frozen):
    """How decisions are made, and what gives way when the machine is too slow."""

    hop: int = Field(1, ge=1, description="segments between decisions")
    smooth_s: float = Field(
        0.5, ge=0, description="time constant of the moving average of the logits, seconds; 0: none"
    )
    temperature: float | None = Field(None, gt=0, description="in place of the manifest's")
    no_action: float | None = Field(
        None, description="maximal logit below which there is no action, in place of the manifest's"
    )
    on: float = Field(0.5, gt=0, le=1, description="probability at which an event starts")
    off: float = Field(0.3, ge=0, le=1, description="probability below which it ends")
    min_s: float = Field(
        0.0, ge=0, description="seconds that an action must last before its start is told"
    )
    refractory_s: float = Field(
        1.0, ge=0, description="seconds after an event in which the same label starts none"
    )
    groups: dict[str, tuple[str, ...]] = Field(
        {}, description="name -> labels that are one thing; their probabilities add up"
    )
    only: tuple[str, ...] = Field((), description="labels or groups that are told; all when empty")
    top: int = Field(5, ge=1, description="labels a decision lists")

    budget_s: float | None = Field(
        None, gt=0, description="latency from capture to decision to keep; None: one segment"
    )
    max_cameras: int | Literal["auto"] | None = Field(
        None, description="live cameras served at once; auto: measured; None: no limit"
    )
    degrade: bool = Field(
        True,
        description="give way in the declared order when late: hop x2, motion gate, round-robin, whole windows",
    )
    motion_gate: float = Field(
        0.0,
        ge=0,
        le=255,
        description="gray levels of change below which a segment is still; 0: no gate",
    )
    batch: int = Field(
        4, ge=1, description="segments, of all cameras, that the encoder takes at once"
    )
    pending: int = Field(
        2,
        ge=1,
        description="segments a camera may have waiting; more are dropped (live) or waited for (files)",
    )
    gap_s: float = Field(
        2.0, gt=0, description="a live camera's silence, seconds, that breaks the window"
    )
    stats_s: float = Field(5.0, gt=0, description="seconds between statistics")

    @model_validator(mode="after")
    def _check(self) -> LiveConfig:
        if self.off > self.on:
            raise ValueError(f"off {self.off} > on {self.on}: an event would end as it starts")
        return self


def load_live_config(path: Path | None, overrides: dict[str, Any] | None = None) -> LiveConfig:
    """The settings of a file with flags on top; a flag that is None is not given.

    Raises:
        UsageError: no such file, not YAML, an unknown key (the nearest good one is named), a bad value.
    """
    tree: Any = {}
    if path is not None:
        tree = read_yaml(path, "Give --config a YAML file.") or {}
        if not isinstance(tree, dict):
            raise UsageError(
                f"{path} is not a mapping of settings.",
                f"Keys: {', '.join(LiveConfig.model_fields)}.",
            )
    tree.update({key: value for key, value in (overrides or {}).items() if value is not None})
    return check_settings(LiveConfig, tree, str(path or "live settings"))


def with_settings(config: LiveConfig, settings: dict[str, Any], where: str) -> LiveConfig | None:
    """The settings with those of one camera on top; None where it has none of its own.

    Raises:
        UsageError: an unknown key, a bad value, or a setting that holds for all cameras together.
    """
    shared = [key for key in settings if key in _OF_ALL]
    if shared:
        raise UsageError(
            f"{where}: {shared[0]} holds for all cameras together.",
            "Put it into --config, or give its flag.",
        )
    return (
        check_settings(LiveConfig, {**config.model_dump(), **settings}, where) if settings else None
    )
