"""The whole runtime with a camera that sets its clock."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from gasmcast.runtime.sources.network import NetworkSource


class Capture:
    """Capture of 20 frames per second in red, green and blue; its stamps are off by `shift_s`."""

    def __init__(self):
        self.shift_s, self._start, self._count = 0.0, time.monotonic(), 0

    def grab(self):
        self._count += 1
        time.sleep(max(0.0, self._start + self._count / 20 - time.monotonic()))
        return True

    def retrieve(self):
        image = np.zeros((48, 64, 3), np.uint8)
        image[:, :, int(self._count / 20) % 3] = 255
        return True, image

    def get(self, prop):
        return (self._count / 20 + self.shift_s) * 1000.0 if prop == cv2.CAP_PROP_POS_MSEC else 0.0

    def release(self):
        pass


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_camera_that_sets_its_clock_goes_on_deciding(run, jump_s):
    capture = Capture()
    live_run = run(NetworkSource("rtsp://127.0.0.1/x", "cam", opener=lambda url, kind: capture))
    live_run.until_decides("cam", more=4)
    capture.shift_s = jump_s
    live_run.until_decides("cam", more=6)
    live_run.stop()
    live_run.check_laws()
    times = [decision.time_s for decision in live_run.decisions()]
    assert max(np.diff(times)) < 3.0, "decisions go on at the time that passes, not the camera's"
    assert live_run.camera("cam").counts.reconnects == 0
