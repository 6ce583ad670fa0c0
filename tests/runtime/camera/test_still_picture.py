"""Frozen and black pictures of a camera that delivers, with a simulated clock."""

from __future__ import annotations

import numpy as np

from gasmcast.runtime.camera.still_picture import StillPicture


def watch(*parts):
    """Feed `(seconds, image of a number)` at 5 frames per second; return notices with times."""
    notices, now = [], [0.0]
    watched = StillPicture(lambda what, text: notices.append((round(now[0]), what)))
    number = 0
    for seconds, image in parts:
        for _ in range(int(5 * seconds)):
            watched.add(now[0], image(number))
            now[0] += 0.2
            number += 1
    return notices, watched.state


def noisy(number):
    return np.random.default_rng(number).integers(60, 70, (48, 64, 3), np.uint8)


def frozen(number):
    return noisy(0)


def black(number):
    return np.random.default_rng(number).integers(0, 8, (48, 64, 3), np.uint8)


def test_a_frozen_picture_is_noticed_once_and_its_end_too():
    notices, state = watch((5, noisy), (200, frozen), (5, noisy))
    assert [what for _, what in notices] == ["frozen", "moving"]
    assert 64 <= notices[0][0] <= 68
    assert state == ""


def test_a_black_picture_is_noticed_once():
    notices, state = watch((5, noisy), (100, black))
    assert [what for _, what in notices] == ["black"]
    assert 14 <= notices[0][0] <= 17
    assert state == "black"


def test_a_still_scene_with_the_noise_of_a_sensor_is_no_fault():
    assert watch((200, noisy)) == ([], "")


def test_an_outage_is_not_counted():
    notices = []
    watched = StillPicture(lambda what, text: notices.append(what))
    for second in range(50):
        watched.add(float(second), frozen(0))
    watched.restart()
    for second in range(1000, 1050):
        watched.add(float(second), frozen(0))
    assert notices == []
