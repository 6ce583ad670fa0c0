"""Random inputs for an engine, for measurements in which values do not matter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.engines.protocol import TensorSpec
from gasmcast.video.noise import noise_pixels

__all__ = ["random_feeds"]


def random_feeds(
    inputs: Mapping[str, TensorSpec], batch: int = 1, seed: int = 0
) -> dict[str, NDArray[np.generic]]:
    """Return random bytes for uint8 inputs and standard normal values for all others.

    Args:
        inputs: input name -> shape and dtype, as `Engine.inputs` has them.
        batch: size of every free axis, which in our graphs is the batch only.
        seed: the same values for the same seed.
    """
    # Fixed seeds make measurements repeatable.
    rng = np.random.default_rng(seed)
    feeds: dict[str, NDArray[np.generic]] = {}
    for name, spec in inputs.items():
        shape = tuple(batch if size is None else size for size in spec.shape)
        if spec.dtype == np.uint8:
            feeds[name] = noise_pixels(shape, seed)
        else:
            feeds[name] = rng.standard_normal(shape, np.float32).astype(spec.dtype)

    return feeds
