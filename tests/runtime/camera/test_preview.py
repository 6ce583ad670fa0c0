from __future__ import annotations

import numpy as np
import pytest

from gasmcast.runtime.camera.preview import Preview


class Screen:
    def __init__(self):
        self.got = []

    def frame(self, camera, time_s, image):
        self.got.append((camera, time_s, image))


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize(
    ("size", "shown_size"),
    [((2160, 3840), (720, 1280)), ((1920, 1080), (1280, 720)), ((480, 640), (480, 640))],
)
def test_views_get_no_more_than_1280_pixels(live, size, shown_size):
    screen = Screen()
    Preview("cam", live, [screen], 1.0).add(0.0, np.full((*size, 3), 7, np.uint8))
    ((camera, time_s, image),) = screen.got
    assert (camera, time_s, image.shape[:2]) == ("cam", 0.0, shown_size)
    assert (image == 7).all()


def test_a_live_picture_goes_at_once_and_a_files_after_the_decisions_before_it():
    image = np.zeros((4, 4, 3), np.uint8)
    for live, out in ((True, [5, 5, 5, 5]), (False, [2, 2, 4, 4])):
        screen = Screen()
        preview = Preview("cam", live, [screen], 2.0)
        for second in range(5):
            preview.add(float(second), image)
        seen = [len(screen.got)]
        for until_s in (1.0, 4.0):
            preview.release(until_s)
            seen.append(len(screen.got))
        preview.discard()
        preview.release(float("inf"))
        assert [*seen, len(screen.got)] == out


def test_without_views_nothing_is_waiting():
    preview = Preview("cam", False, [], 1.0)
    preview.add(9.0, np.zeros((4, 4, 3), np.uint8))
    assert not preview._waiting
