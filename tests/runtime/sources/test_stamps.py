from __future__ import annotations

import numpy as np
import pytest

from gasmcast.runtime.sources.stamps import ConnectBacklog, LiveStamps


def placed(pairs, **settings):
    stamps = LiveStamps(**settings)
    return np.array([stamps.place(stamp, arrival) for stamp, arrival in pairs])


def test_steady_stamps_take_the_jitter_out_of_arrival():
    jitter = np.random.default_rng(0).uniform(0, 0.08, 300)
    out = placed([(1000 + i / 25, 50 + i / 25 + jitter[i]) for i in range(300)])
    assert np.diff(out) == pytest.approx(
        1 / 25, abs=0.0021
    )  # moved closer to the least delay now and then, by 2 ms
    assert abs(out[0] - 50) < 0.1


def test_clocks_that_part_slowly_stay_together_without_a_jump():
    out = placed(
        [(i / 2 * 1.0001, 50 + i / 2) for i in range(2 * 86_400)]
    )  # 100 ppm for a day: 8.6 s
    assert np.abs(out - (50 + np.arange(len(out)) / 2)).max() < 0.01
    assert np.diff(out) == pytest.approx(0.5, abs=0.0021)


@pytest.mark.parametrize("rate", [0.5, 1.5, 2.0, 10.0])
def test_a_clock_of_another_rate_is_given_up(rate):
    out = placed([(rate * i / 25, 50 + i / 25) for i in range(1000)])
    assert np.diff(out)[500:] == pytest.approx(1 / 25, abs=1e-6)


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 2.0])
def test_a_clock_that_is_set_does_not_move_the_frames(jump):
    out = placed([(i / 25 + (jump if i >= 100 else 0), 50 + i / 25) for i in range(200)])
    assert np.all(np.diff(out) > 0)
    assert np.abs(out - (50 + np.arange(200) / 25)).max() < 0.06


def test_a_network_stall_that_is_made_up_for_leaves_no_gap():
    stall = [max(50 + i / 25, 54.0) if 50 <= i < 100 else 50 + i / 25 for i in range(200)]
    out = placed([(i / 25, arrival) for i, arrival in enumerate(stall)])
    assert np.diff(out) == pytest.approx(1 / 25, abs=1e-6)


def test_stamps_made_up_from_a_guessed_rate_are_given_up():
    out = placed([(i / 25, 50 + i / 5) for i in range(300)])  # 5 frames a second, numbered as if 25
    late = np.diff(out)[150:]
    assert late == pytest.approx(1 / 5, abs=1e-6)


def test_untrusted_and_missing_stamps_are_arrival():
    assert placed([(9.0, 1.0), (10.0, 1.5)], trusted=False) == pytest.approx([1.0, 1.5])
    assert placed([(None, 1.0), (None, 1.5)]) == pytest.approx([1.0, 1.5])


def test_equal_stamps_keep_their_order():
    assert np.all(np.diff(placed([(5.0, 1.0)] * 10)) > 0)


def test_what_piled_up_is_told_from_what_comes_in_time():
    pairs = [(i / 25, 10 + 0.002 * i) for i in range(20)] + [
        (i / 25, 10 + i / 25 - 0.76) for i in range(20, 60)
    ]
    backlog = ConnectBacklog()
    included = [backlog.includes(stamp, arrival) for stamp, arrival in pairs]
    assert sum(included) == 22  # 20 at once, the step to the next, and one to be sure
    assert included == sorted(included, reverse=True)


def test_a_stream_without_stamps_is_not_held_for_ever():
    backlog = ConnectBacklog()
    assert [backlog.includes(0.0, i / 25) for i in range(10)].count(True) <= 2
