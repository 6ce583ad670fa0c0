from __future__ import annotations

import numpy as np

from gasmcast.runtime.engines import TensorSpec, check_feeds
from gasmcast.runtime.engines.random_feeds import random_feeds


def test_feeds_fit_the_inputs() -> None:
    inputs = {
        "segments": TensorSpec((None, 2, 4, 3), np.dtype(np.uint8)),
        "motion": TensorSpec((None, 8), np.dtype(np.float16)),
    }
    feeds = random_feeds(inputs, batch=3)
    assert check_feeds(inputs, feeds) == 3
    assert feeds["segments"].max() > 200
    assert feeds["motion"].dtype == np.float16
