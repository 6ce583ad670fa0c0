"""Capacity of a machine: what a segment and a window cost, and how many cameras that serves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gasmcast.runtime.camera.ring import Window
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.streaming_model import Model, OpenedModel
from gasmcast.spec import ClipSpec
from gasmcast.stopwatch import fastest_s

__all__ = ["Capacity", "Fitted", "fit", "measure"]

# Share of the time that may be planned for.
_MAX_LOAD = 0.9
# A batch costs less per segment than this share of a segment alone, or it is not worth waiting for.
_MIN_GAIN = 0.9
# A stage that computes for this many times its measured duration counts as hanging.
_PATIENCE = 5


@dataclass(frozen=True)
class Capacity:
    """Measured cost of one segment and one window on this machine."""

    encode_s: float
    """Seconds that the encoder takes for one segment, alone."""
    fuse_s: float
    """Seconds that the head takes for one window, alone."""
    encode_each_s: float | None = None
    """Seconds of the encoder for each segment of a batch; None: not measured."""
    fuse_each_s: float | None = None
    """Seconds of the head for each window of a batch; None: not measured."""

    @property
    def batches(self) -> bool:
        """Return whether a batch is cheaper than its segments one by one; True if not measured."""
        return self.encode_each_s is None or self.encode_each_s < _MIN_GAIN * self.encode_s

    @property
    def decision_s(self) -> float:
        """Return the seconds that a segment takes from the encoder to its decision, alone."""
        return self.encode_s + self.fuse_s

    @property
    def encode_cost_s(self) -> float:
        """Return the seconds that a segment costs where several cameras are served."""
        if self.encode_each_s is None or not self.batches:
            return self.encode_s
        return self.encode_each_s

    @property
    def fuse_cost_s(self) -> float:
        """Return the seconds that a window costs where several cameras are served."""
        if self.fuse_each_s is None or not self.batches:
            return self.fuse_s
        return min(self.fuse_s, self.fuse_each_s)

    def cost_s(self, hop: int = 1) -> float:
        """Return the seconds that a segment and its share of a window cost among other cameras.

        Args:
            hop: segments between two decisions.
        """
        return self.encode_cost_s + self.fuse_cost_s / hop

    def cameras(self, spec: ClipSpec, hop: int = 1) -> int:
        """Return how many cameras can have a decision every `hop` segments; at least 1."""
        return max(1, math.floor(_MAX_LOAD * spec.segment_s / self.cost_s(hop)))

    def patience_s(self, batch: int) -> float:
        """Return the seconds after which a stage that computes a batch counts as hanging."""
        return _PATIENCE * batch * max(self.encode_s, self.fuse_s)

    def sentence(self, spec: ClipSpec, hop: int = 1) -> str:
        """Return one sentence about what the machine can serve."""
        every_s = spec.segment_s * hop
        cost = (
            f"encoder {1000 * self.encode_s:.0f} ms a segment, "
            f"head {1000 * self.fuse_s:.0f} ms a window"
        )
        if self.encode_cost_s < self.encode_s:
            cost += f", {1000 * self.cost_s(hop):.0f} ms for both among several cameras"

        if self.encode_s + self.fuse_s / hop > spec.segment_s:
            return (
                "This machine is too slow for one camera with a decision every "
                f"{every_s:g} s ({cost})."
            )

        count = self.cameras(spec, hop)
        cameras = f"{count} camera{'s' if count > 1 else ''}"
        return f"This machine serves {cameras} with a decision every {every_s:g} s ({cost})."


class Fitted(NamedTuple):
    """Model whose engines suit a number of cameras, and what it can serve."""

    model: Model
    description: str
    """One line about the engines, as that of `open_model`."""
    capacity: Capacity


def fit(opened: OpenedModel, config: LiveConfig, cameras: int) -> Fitted:
    """Measure the machine, and compile the engines for throughput where that serves more cameras.

    Engines for throughput compute several segments at a time, each on a part of the cores, which
    saves the waits of the cores for each other. A segment alone takes longer. They are taken if
    there are several cameras, a segment costs less, and a decision that has to wait for another one
    still comes within the budget.

    Args:
        opened: engines compiled for latency.
        config: its `budget_s` and `hop` are used.
        cameras: live cameras. Files wait, so for them alone the machine is measured once, for the
            time after which a stage counts as hanging.

    Raises:
        MachineError: the engines cannot be compiled or run.
    """
    model, description = opened
    if cameras == 0:
        return Fitted(model, description, measure(model, repeats=1))
    latency = measure(model, batches=True)

    # Engines for throughput decide later, so a machine that is late already needs no try.
    budget_s = config.budget_s or model.spec.segment_s
    if cameras == 1 or model.for_throughput is None or 2 * latency.decision_s > budget_s:
        return Fitted(model, description, latency)

    wide = model.for_throughput()
    throughput = measure(wide, batches=True)
    in_time = 2 * throughput.decision_s <= budget_s
    if not in_time or throughput.cost_s(config.hop) >= latency.cost_s(config.hop):
        return Fitted(model, description, latency)
    return Fitted(wide, f"{description}, {wide.rows_at_once} segments at a time", throughput)


def measure(model: Model, repeats: int = 3, *, batches: bool = False) -> Capacity:
    """Measure a segment and a window on this machine, alone.

    Args:
        model: engines to measure.
        repeats: runs of each engine, of which the fastest counts; one warm-up run comes before.
        batches: also measure a batch, to know whether batches pay.
    """
    # The values do not matter for the time, so zeros will do.
    pair = np.zeros((1, *model.spec.pair_shape), np.uint8)  # (1, 2, F, H, W, 3)
    zeros = {}
    for name, spec in model.head.inputs.items():
        shape = [1, *(int(size or 1) for size in spec.shape[1:])]
        zeros[name] = np.zeros(shape, np.float32)
    # Where the head reads windows on a device, the copy from the host would be measured, too.
    window: Window = model.device_window(pair) or zeros

    encode_s = fastest_s(lambda: model.encode(pair), repeats)
    fuse_s = fastest_s(lambda: model.fuse([window]), repeats)
    if not batches:
        return Capacity(encode_s, fuse_s)

    rows = max(2, model.rows_at_once)
    pairs = np.repeat(pair, rows, axis=0)
    return Capacity(
        encode_s,
        fuse_s,
        encode_each_s=fastest_s(lambda: model.encode(pairs), repeats) / rows,
        fuse_each_s=fastest_s(lambda: model.fuse([window] * rows), repeats) / rows,
    )
