"""Settings of `gasmcast live`: keys of its YAML file (`--config live.yaml`) and their meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from gasmcast.errors import UsageError
from gasmcast.schema import Frozen, check_settings
from gasmcast.yamlfile import read_yaml

__all__ = ["LiveConfig", "load_live_config", "with_defaults", "with_settings"]

# Settings of the whole run, which no single camera can override.
_RUN_WIDE = ("tempo", "budget_s", "max_cameras", "degrade", "batch", "stats_s")


class LiveConfig(Frozen):
    """Settings of decisions and events, and of service when the machine is too slow."""

    # Infinity and NaN pass most bounds, and would reach every record.
    model_config = ConfigDict(allow_inf_nan=False)

    hop: int = Field(default=1, ge=1, description="segments between decisions")
    tempo: float = Field(
        default=1.0,
        ge=0.25,
        le=4,
        description="how many times as fast as in the training the actions are: windows and "
        "segments are that much shorter",
    )
    smooth_s: float = Field(
        default=0.5,
        ge=0,
        description="time constant of the moving average of the logits, seconds; 0: none",
    )
    temperature: float | None = Field(
        default=None, gt=0, description="replaces the temperature in the bundle's manifest"
    )
    no_action: float | None = Field(
        default=None,
        description="replaces the manifest's threshold on the largest logit, below which there is "
        "no action",
    )
    on: float = Field(default=0.5, gt=0, le=1, description="probability at which an event starts")
    off: float = Field(default=0.3, ge=0, le=1, description="probability below which an event ends")
    min_s: float = Field(
        default=0.0,
        ge=0,
        description="seconds that an action must last before its start is reported",
    )
    label_on: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        default={}, description="`on` of single labels or groups, where it differs"
    )
    true_per_day: float = Field(
        default=0.0,
        ge=0,
        description="real actions a day that a camera shows; they are no sign of false alarms",
    )
    refractory_s: float = Field(
        default=1.0, ge=0, description="seconds after an event in which the same label starts none"
    )
    groups: dict[str, tuple[str, ...]] = Field(
        default={},
        description="name -> labels that are reported as one; their probabilities add up",
    )
    only: tuple[str, ...] = Field(
        default=(), description="labels or groups that are reported; all if empty"
    )
    top: int = Field(default=5, ge=1, description="labels that a decision lists")

    budget_s: float | None = Field(
        default=None,
        gt=0,
        description="latency that the machine may add, from the frame that completes a segment to "
        "its decision; None: one segment",
    )
    max_cameras: int | Literal["auto"] | None = Field(
        default=None, description="live cameras served at once; auto: as measured; None: no limit"
    )
    degrade: bool = Field(
        default=True,
        description="reduce service in a fixed order when late: hop x2, still-scene filter, "
        "round-robin, whole windows",
    )
    still_filter: float = Field(
        default=0.0,
        ge=0,
        le=255,
        description="gray levels of change below which a segment is still and not encoded again; "
        "0: off",
    )
    batch: int = Field(
        default=4, ge=1, description="segments, of all cameras, in one encoder batch"
    )
    pending: int = Field(
        default=2,
        ge=1,
        description="segments of one camera that may wait; beyond it a live camera drops and a "
        "file waits",
    )
    gap_s: float = Field(
        default=2.0,
        gt=0,
        description="seconds without a frame of a live camera that break the window",
    )
    stats_s: float = Field(default=5.0, gt=0, description="seconds between statistics")

    @model_validator(mode="after")
    def _check(self) -> LiveConfig:
        if self.off > self.on:
            raise ValueError(f"off {self.off} > on {self.on}: an event would end as it starts")
        return self

    def on_of(self, label: str) -> float:
        """Return the probability at which an event of `label` starts."""
        return self.label_on.get(label, self.on)

    def off_of(self, label: str) -> float:
        """Return the probability below which an event of `label` ends."""
        return min(self.off, self.on_of(label))


def load_live_config(path: Path | None, overrides: dict[str, Any] | None = None) -> LiveConfig:
    """Return the settings of a file, with command-line flags on top.

    Args:
        path: YAML file; None for the defaults.
        overrides: values by setting; a value of None is ignored, as for a flag that was not given.

    Raises:
        UsageError: no such file, not YAML, an unknown key (the nearest known one is suggested), or
            a value out of range.
    """
    tree: Any = {}
    if path is not None:
        tree = read_yaml(path, "Give --config a YAML file.") or {}
        if not isinstance(tree, dict):
            raise UsageError(
                f"{path} is not a mapping of settings.",
                f"Keys: {', '.join(LiveConfig.model_fields)}.",
            )

    # Flags win over the file, but only those that were given.
    tree.update({key: value for key, value in (overrides or {}).items() if value is not None})
    return check_settings(LiveConfig, tree, str(path or "live settings"))


def with_defaults(config: LiveConfig, defaults: dict[str, Any]) -> LiveConfig:
    """Return the settings with other defaults, for whatever the user did not set.

    Args:
        config: settings of a run or a camera.
        defaults: values by setting, for example the thresholds of a bundle.
    """
    if not defaults or config.model_fields_set >= set(defaults):
        return config
    tree = {**defaults, **config.model_dump(exclude_unset=True)}
    # An `on` of the user's below the bundle's `off` would be an error that nobody made.
    if "off" not in config.model_fields_set and "on" in tree:
        tree["off"] = min(tree.get("off", LiveConfig().off), tree["on"])
    return LiveConfig.model_validate(tree)


def with_settings(config: LiveConfig, settings: dict[str, Any], where: str) -> LiveConfig | None:
    """Return the run's settings with those of one camera on top; None if the camera has none.

    Args:
        config: settings of the run.
        settings: values by setting, of one camera.
        where: origin of `settings` in error messages.

    Raises:
        UsageError: an unknown key, a value out of range, or a setting of the whole run.
    """
    shared = [key for key in settings if key in _RUN_WIDE]
    if shared:
        raise UsageError(
            f"{where}: {shared[0]} holds for all cameras together.",
            "Put it into --config, or give its flag.",
        )
    if not settings:
        return None

    return check_settings(LiveConfig, {**config.model_dump(exclude_unset=True), **settings}, where)
