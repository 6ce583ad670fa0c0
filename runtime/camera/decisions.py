"""From logits to decisions: smoothing, temperature, the no-action threshold, groups and filters.

Pure: what comes out depends on the logits and times that go in and on the settings alone, so a recorded run replays exactly.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import UsageError
from gasmcast.labels import Labels
from gasmcast.runtime.camera.events import EventTracker
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import NO_ACTION, Decision, Event

__all__ = ["Decider", "LabelView"]


class LabelView:
    """The labels as they are told: grouped and filtered.

    Args:
        labels: the bundle's classes.
        config: `groups` and `only`.

    Raises:
        UsageError: a group or filter names what is no label, or a label is in two groups.
    """

    def __init__(self, labels: Labels, config: LiveConfig) -> None:
        member_of: dict[int, str] = {}
        for group, members in config.groups.items():
            for name in members:
                index = _index(labels, name, f"group {group!r}")
                if index in member_of:
                    raise UsageError(
                        f"The label {name!r} is in two groups, {member_of[index]!r} and {group!r}."
                    )
                member_of[index] = group
        told = [member_of.get(i, name) for i, name in enumerate(labels.names)]
        self.names = tuple(dict.fromkeys(told))
        self._place = np.array([self.names.index(name) for name in told])
        for name in config.only:
            if name not in self.names:
                _index(labels, name, "only")
                raise UsageError(
                    f"only: {name!r} is part of the group {told[labels.index(name)]!r}.",
                    "Name the group.",
                )
        self.shown = np.array([not config.only or name in config.only for name in self.names])

    def shares(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """`(classes,)` probabilities as `(names,)`, added up by group."""
        return np.bincount(self._place, weights=p, minlength=len(self.names)).astype(np.float64)

    def best_member(self, place: int, p: NDArray[np.float64]) -> int:
        """The most probable class of the name at `place`."""
        return int(np.where(self._place == place, p, -1.0).argmax())


class Decider:
    """The decisions and events of one camera.

    Args:
        camera: its name.
        labels: the classes as they are told.
        config: the settings.
        temperature: of the precision that runs, from the manifest.
        no_action: its threshold on the largest smoothed logit; None: there is always an action.
    """

    def __init__(
        self,
        camera: str,
        labels: LabelView,
        config: LiveConfig,
        temperature: float = 1.0,
        no_action: float | None = None,
    ) -> None:
        self.camera = camera
        self._labels = labels
        self._config = config
        self._temperature = config.temperature or temperature
        self._no_action = no_action if config.no_action is None else config.no_action
        self._mean: NDArray[np.float64] | None = None
        self._mean_at = 0.0
        self._events = EventTracker(config)

    @property
    def active(self) -> bool:
        """An event is going on or about to start."""
        return self._events.active

    def update(
        self,
        window: tuple[float, float],
        logits: NDArray[np.float32],
        wall_s: float,
        latency_ms: dict[str, float],
    ) -> list[Decision | Event]:
        """The decision of a window, and the events that it brings.

        Args:
            window: `(t0, t1)` seconds after the source's first frame.
            logits: `(classes,)`.
            wall_s: seconds since 1970 now.
            latency_ms: by stage, told as it is.
        """
        mean = self._smooth(logits.astype(np.float64), window[1])
        scaled = mean / self._temperature
        p = np.exp(scaled - scaled.max())
        p /= p.sum()
        shares = self._labels.shares(p)
        shown = np.where(self._labels.shown, shares, -1.0)
        order = np.argsort(-shown, kind="stable")[
            : min(self._config.top, int(self._labels.shown.sum()))
        ]
        best = int(order[0])
        names = self._labels.names
        quiet = (
            self._no_action is not None and float(mean.max()) < self._no_action
        ) or best != int(shares.argmax())
        decision = Decision(
            camera=self.camera,
            time_s=window[1],
            wall_s=wall_s,
            window=window,
            label=NO_ACTION if quiet else names[best],
            label_id=-1 if quiet else self._labels.best_member(best, p),
            p=float(shares[best]),
            top=tuple((names[i], float(shares[i])) for i in order),
            latency_ms=latency_ms,
        )
        told = {
            name: float(share)
            for name, share, visible in zip(names, shares, self._labels.shown, strict=True)
            if visible
        }
        return [decision, *self._events.update(decision, told)]

    def flush(self, wall_s: float) -> list[Event]:
        """A gap or the end: what is open ends, and smoothing starts afresh."""
        self._mean = None
        return self._events.flush(wall_s)

    def _smooth(self, logits: NDArray[np.float64], time_s: float) -> NDArray[np.float64]:
        """The moving average of the logits; a longer pause since the last ones weighs them less."""
        if self._mean is None or self._config.smooth_s == 0:
            self._mean = logits
        else:
            keep = math.exp(-max(time_s - self._mean_at, 0.0) / self._config.smooth_s)
            self._mean = keep * self._mean + (1 - keep) * logits
        self._mean_at = time_s
        return self._mean


def _index(labels: Labels, name: str, where: str) -> int:
    try:
        return labels.index(name)
    except KeyError:
        raise UsageError(
            f"{where}: there is no label {name!r}.",
            "`gasmcast inspect BUNDLE --json` lists the labels.",
        ) from None
