"""Pictures of a page as a source: order, limits, and what is no picture."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from gasmcast.errors import SourceError
from gasmcast.runtime.web.browser_camera import BrowserCamera, jpeg_size


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def picture(width: int = 64, height: int = 48) -> bytes:
    image = np.full((height, width, 3), (10, 20, 200), np.uint8)  # BGR
    return cv2.imencode(".jpg", image)[1].tobytes()


def message(stamp_s: float, data: bytes) -> bytes:
    return struct.pack("<d", stamp_s) + data


@pytest.fixture
def camera() -> BrowserCamera:
    return BrowserCamera("browser-1", clock=Clock())


def send(camera: BrowserCamera, data: bytes, after_s: float = 0.1) -> None:
    camera._clock.now += after_s
    camera.put(data)


@pytest.mark.parametrize("quality", [10, 95])
def test_the_size_is_read_from_the_header(quality: int) -> None:
    image = np.zeros((123, 457, 3), np.uint8)
    flags = (cv2.IMWRITE_JPEG_QUALITY, quality)
    assert jpeg_size(cv2.imencode(".jpg", image, flags)[1].tobytes()) == (457, 123)


def test_pictures_of_many_scans_are_not_decoded() -> None:
    """A small file may hold hundreds of scans, each as slow as a whole picture."""
    image = np.zeros((123, 457, 3), np.uint8)
    progressive = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_PROGRESSIVE, 1))[1].tobytes()
    assert jpeg_size(progressive) is None
    plain = cv2.imencode(".jpg", image)[1].tobytes()
    scan = plain[plain.index(b"\xff\xda") : -2]
    assert jpeg_size(plain[:-2] + 2 * scan + plain[-2:]) == (457, 123)
    assert jpeg_size(plain[:-2] + 100 * scan + plain[-2:]) is None


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"GIF89a", b"\xff\xd8\xff\xe0\x00", b"\xff" * 99]
)
def test_what_is_no_jpeg_has_no_size(data: bytes) -> None:
    assert jpeg_size(data) is None


def test_pictures_come_with_their_own_times_in_rgb(camera: BrowserCamera) -> None:
    for k in range(3):
        send(camera, message(5 + 0.1 * k, picture()))
    camera.end()
    frames = list(camera.frames())
    assert [frame.stamp_s for frame in frames] == pytest.approx([5.0, 5.1, 5.2])
    np.testing.assert_allclose(frames[0].image.mean((0, 1)), (200, 20, 10), atol=5)


def test_a_page_that_sends_200_pictures_a_second_is_thinned(camera: BrowserCamera) -> None:
    for k in range(200):
        send(camera, message(k / 200, picture()), after_s=1 / 200)
    assert 160 <= camera.dropped <= 170


def test_the_newest_pictures_win(camera: BrowserCamera) -> None:
    for k in range(10):
        send(camera, message(float(k), picture()))
    camera.end()
    assert [frame.stamp_s for frame in camera.frames()] == [7.0, 8.0, 9.0]


def test_a_damaged_picture_is_left_out_and_a_change_of_size_is_passed_on(
    camera: BrowserCamera,
) -> None:
    send(camera, message(0.0, picture()[:200]))
    send(camera, message(0.1, picture(96, 32)))
    camera.end()
    frames = list(camera.frames())
    assert frames[-1].image.shape == (32, 96, 3)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "something else than a picture"),
        (message(0.0, b"hello"), "something else than a picture"),
        (message(0.0, picture()) + bytes(1_000_000), "something else than a picture"),
        (message(float("nan"), picture()), "without a time"),
        # A bomb: the header claims 60000 x 60000 pixels.
        (message(0.0, picture().replace(b"\x00\x30\x00\x40", b"\xea\x60\xea\x60", 1)), "60000"),
    ],
)
def test_what_a_page_may_not_send(camera: BrowserCamera, data: bytes, what: str) -> None:
    with pytest.raises(SourceError, match=what):
        send(camera, data)
