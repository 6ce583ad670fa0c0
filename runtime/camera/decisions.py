"""Turn logits into decisions: smoothing, temperature, no-action threshold, groups and filters.

The result depends only on the logits, their times and the settings, so a recorded run can be
replayed exactly.
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
    """Labels as they are reported: grouped and filtered.

    Args:
        labels: classes of the bundle.
        config: its `groups`, `only` and `label_on` are used.

    Raises:
        UsageError: a group or filter names an unknown label, or a label is in two groups.
    """

    def __init__(self, labels: Labels, config: LiveConfig) -> None:
        group_of: dict[int, str] = {}
        for group, members in config.groups.items():
            for name in members:
                index = _index(labels, name, f"group {group!r}")
                if index in group_of:
                    raise UsageError(
                        f"The label {name!r} is in two groups, {group_of[index]!r} and {group!r}."
                    )
                group_of[index] = group

        # A group takes the position of its first member.
        reported = [group_of.get(i, name) for i, name in enumerate(labels.names)]
        self.names = tuple(dict.fromkeys(reported))
        self._position = np.array([self.names.index(name) for name in reported])  # (classes,)

        for name in config.only:
            if name not in self.names:
                group = reported[_index(labels, name, "only")]
                raise UsageError(
                    f"only: {name!r} is part of the group {group!r}.", "Name the group."
                )
        for name in config.label_on:
            if name not in self.names:
                _index(labels, name, "label_on")
                raise UsageError(f"label_on: {name!r} is part of a group.", "Name the group.")
        self.shown = np.array([not config.only or name in config.only for name in self.names])

    def shares(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the `(names,)` sums of `(classes,)` probabilities by group."""
        sums = np.bincount(self._position, weights=p, minlength=len(self.names))
        return sums.astype(np.float64)

    def best_member(self, position: int, p: NDArray[np.float64]) -> int:
        """Return the most probable class of the name at `position`."""
        return int(np.where(self._position == position, p, -1.0).argmax())


class Decider:
    """Decisions and events of one camera.

    Args:
        camera: name of the camera.
        labels: classes as they are reported.
        config: settings of the camera.
        temperature: temperature of the running precision, from the manifest.
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
        self._mean_at_s = 0.0
        self._events = EventTracker(config)

    @property
    def active(self) -> bool:
        """True while an event is going on or about to start."""
        return self._events.active

    def update(
        self,
        window: tuple[float, float],
        logits: NDArray[np.float32],
        wall_s: float,
        latency_ms: dict[str, float],
    ) -> list[Decision | Event]:
        """Return the decision of a window and the events that follow from it.

        Args:
            window: start and end in seconds after the source's first frame.
            logits: `(classes,)`.
            wall_s: seconds since 1970, now.
            latency_ms: milliseconds by stage; copied into the decision.
        """
        mean = self._smooth(logits.astype(np.float64), window[1])

        # Softmax of the calibrated logits, with the largest subtracted against overflow.
        with np.errstate(over="ignore"):
            p = np.exp((mean - mean.max()) / self._temperature)
        p /= p.sum()

        # Labels that are filtered out sort last, and never make it into the list.
        names = self._labels.names
        shares = self._labels.shares(p)
        ranked = np.argsort(-np.where(self._labels.shown, shares, -1.0), kind="stable")
        order = ranked[: min(self._config.top, int(self._labels.shown.sum()))]
        best = int(order[0])

        # A filtered label that is more probable than all shown ones means no action, too.
        best_p = float(shares[best])
        weak = self._no_action is not None and float(mean.max()) < self._no_action
        quiet = weak or best != int(shares.argmax())
        hidden = float(shares[~self._labels.shown].sum())
        no_action_p = max(self._no_action_score(float(mean.max())), min(hidden, 1.0))
        decision = Decision(
            camera=self.camera,
            time_s=window[1],
            wall_s=wall_s,
            window=window,
            label=NO_ACTION if quiet else names[best],
            label_id=-1 if quiet else self._labels.best_member(best, p),
            p=no_action_p if quiet else best_p,
            best=names[best],
            best_p=best_p,
            top=tuple((names[i], float(shares[i])) for i in order),
            latency_ms=latency_ms,
        )

        # The tracker follows an open event also while another label is the best one.
        shown_shares: dict[str, float] = {}
        for name, share, shown in zip(names, shares, self._labels.shown, strict=True):
            if shown:
                shown_shares[name] = float(share)
        return [decision, *self._events.update(decision, shown_shares)]

    def flush(self, wall_s: float) -> list[Event]:
        """End the open event and restart smoothing, at a gap or the end of the source.

        Args:
            wall_s: seconds since 1970, now.
        """
        self._mean = None
        return self._events.flush(wall_s)

    def _no_action_score(self, logit: float) -> float:
        """Return the score of no action, 0..1, for the largest smoothed logit.

        It is the probability of a class whose logit is the threshold, beside that logit alone.
        """
        if self._no_action is None:
            return 0.0
        distance = (self._no_action - logit) / self._temperature
        # `exp` overflows above 709.
        return 1.0 / (1.0 + math.exp(min(-distance, 700.0)))

    def _smooth(self, logits: NDArray[np.float64], time_s: float) -> NDArray[np.float64]:
        """Return the moving average of the logits; it forgets more after a longer pause."""
        if self._mean is None or self._config.smooth_s == 0:
            self._mean = logits
        else:
            keep = math.exp(-max(time_s - self._mean_at_s, 0.0) / self._config.smooth_s)
            self._mean = keep * self._mean + (1 - keep) * logits
        self._mean_at_s = time_s
        return self._mean


def _index(labels: Labels, name: str, where: str) -> int:
    try:
        return labels.index(name)
    except KeyError:
        raise UsageError(
            f"{where}: there is no label {name!r}.",
            "`gasmcast inspect BUNDLE --json` lists the labels.",
        ) from None
