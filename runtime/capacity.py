"""Capacity of a machine: what a segment and a window cost, and how many cameras that serves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gasmcast.runtime.camera.ring import Window
from gasmcast.runtime.streaming_model import Model
from gasmcast.spec import ClipSpec
from gasmcast.stopwatch import fastest_s

__all__ = ["Capacity", "measure"]

# Share of the time that may be planned for.
_MAX_LOAD = 0.9
# A batch costs less per segment than this share of a segment alone, or it is not worth waiting for.
_MIN_GAIN = 0.9
# A stage that computes for this many times its measured duration counts as hanging.
_PATIENCE = 5


@dataclass(frozen=True)
class Capacity:
    """Measured cost of one segment on this machine."""

    encode_s: float
    """Seconds that the encoder takes for one segment, alone."""
    fuse_s: float
    """Seconds that the head takes for one window, alone."""
    encode_pair_s: float | None = None
    """Seconds that the encoder takes for two segments in one batch; None: not measured."""

    @property
    def batches(self) -> bool:
        """Return whether a batch is cheaper than its segments one by one; True if not measured."""
        return self.encode_pair_s is None or self.encode_pair_s < 2 * _MIN_GAIN * self.encode_s

    def cameras(self, spec: ClipSpec, hop: int = 1) -> int:
        """Return how many cameras can have a decision every `hop` segments; at least 1."""
        cost_s = self.encode_s + self.fuse_s / hop
        return max(1, math.floor(_MAX_LOAD * spec.segment_s / cost_s))

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

        if self.encode_s + self.fuse_s / hop > spec.segment_s:
            return (
                "This machine is too slow for one camera with a decision every "
                f"{every_s:g} s ({cost})."
            )

        count = self.cameras(spec, hop)
        cameras = f"{count} camera{'s' if count > 1 else ''}"
        return f"This machine serves {cameras} with a decision every {every_s:g} s ({cost})."


def measure(model: Model, repeats: int = 3, *, batches: bool = False) -> Capacity:
    """Measure a segment and a window on this machine, alone.

    Args:
        model: engines to measure.
        repeats: runs of each engine, of which the fastest counts; one warm-up run comes before.
        batches: also measure two segments in one batch, to know whether batches pay.
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
    encode_pair_s = None
    if batches:
        two = np.repeat(pair, 2, axis=0)
        encode_pair_s = fastest_s(lambda: model.encode(two), repeats)
    return Capacity(encode_s, fuse_s, encode_pair_s)
