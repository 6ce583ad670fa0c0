"""Made-up idle logits."""

from __future__ import annotations

import numpy as np

from gasmcast.runtime.alarms.idle_store import IdleHead, IdleLogits


def idle_logits(logits, *, labels=("a", "b", "c"), hop_s=0.5, window_s=4.0, runs=1):
    """Return logits `(N, classes)` of one camera in `runs` stretches of equal length."""
    count = len(logits)
    run = (np.arange(count) * runs // count).astype(np.int32)
    head = IdleHead(
        labels=labels,
        precision="fp32",
        checkpoint_sha256="0" * 64,
        window_s=window_s,
        hop_s=hop_s,
        cameras=("door",),
    )
    # A gap of ten seconds between two stretches.
    time_s = window_s + hop_s * np.arange(count) + 10.0 * run
    logits = np.asarray(logits, np.float32)
    return IdleLogits(head, logits, time_s, np.zeros(count, np.int32), run)
