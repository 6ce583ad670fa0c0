"""Figures of speed, with an injected clock."""

import pytest

from gasmcast.config import TrainConfig
from gasmcast.training.logs.meter import Meter
from gasmcast.training.resume.snapshot import RunProgress


def test_the_time_left_counts_validation_once():
    now = [100.0]
    progress = RunProgress()
    meter = Meter(progress, lambda: now[0])
    # Ten updates of 2 s per epoch, and a validation of 30 s.
    now[0] += 20.0 + 30.0
    meter.count_validation(30.0)
    now[0] += 20.0
    progress.updates, progress.epoch, progress.step = 20, 1, 10
    status = meter.status(progress, TrainConfig(epochs=4), 10, 1e-3, gpu=False)
    assert status.remaining_s == pytest.approx(20 * 2.0 + 3 * 30.0)
