from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gasmcast.runtime.camera.clock import SegmentClock
from gasmcast.runtime.frames import Frame
from gasmcast.spec import ClipSpec, nearest_frames

SPEC = ClipSpec(segments=3, segment_s=0.5, motion_frames=4, semantic_frames=1, pixels=32)
STEPS = st.lists(
    st.one_of(
        st.just(1 / 24), st.just(1 / 30), st.just(0.125), st.just(0.0625), st.floats(0.001, 1.5)
    ),
    min_size=0,
    max_size=60,
)


def image(number: int) -> np.ndarray:
    return np.full((2, 2, 3), number % 251, np.uint8)


def number_of(picture: np.ndarray) -> np.ndarray:
    return np.broadcast_to(picture[:1, :1], (32, 32, 3))


def clock(live: bool = False, gap_s: float = 60.0) -> SegmentClock:
    return SegmentClock(SPEC, number_of, gap_s, live)


def stream(stamps, **kind):
    made = clock(**kind)
    segments = [
        s
        for i, t in enumerate(stamps)
        for s in made.push(Frame(float(t), 100.0 + float(t), image(i)))
    ]
    return made, segments + list(made.finish())


@settings(max_examples=200, deadline=None)
@given(steps=STEPS, origin=st.sampled_from([0.0, 1.0, 12345.678]))
def test_streaming_takes_the_frames_that_nearest_frames_takes(steps, origin):
    stamps = np.concatenate([[0.0], np.cumsum(steps)]) + origin
    _, segments = stream(stamps)
    relative = stamps - stamps[0]
    slots = np.arange(len(segments) * SPEC.motion_frames) / SPEC.fps
    want = stamps[nearest_frames(relative, slots)]
    np.testing.assert_array_equal(np.array([t for s in segments for t in s.stamps]), want)
    chosen = nearest_frames(relative, slots).reshape(-1, SPEC.motion_frames)
    for j, segment in enumerate(segments):
        before = chosen[j - 1] if j else np.zeros(SPEC.motion_frames, int)
        np.testing.assert_array_equal(
            segment.pair[:, :, 0, 0, 0], np.stack([before, chosen[j]]) % 251
        )
        assert (segment.run, segment.index, segment.start_s, segment.end_s) == (
            0,
            j,
            j * 0.5,
            j * 0.5 + 0.5,
        )
    reached = max(SPEC.segments, int(np.floor(relative[-1] * SPEC.fps) // SPEC.motion_frames) + 1)
    assert len(segments) == reached  # the last segment is padded, and at least one window


def test_one_frame_makes_one_window():
    _, segments = stream([7.0])
    assert len(segments) == SPEC.segments
    assert all(s.distinct == 1 for s in segments)


def test_a_frame_is_fitted_only_when_taken_and_once():
    fitted = []
    made = SegmentClock(
        SPEC, lambda picture: fitted.append(int(picture[0, 0, 0])) or number_of(picture)
    )
    for i in range(121):  # 1 s at 120 frames per second: 8 slots and the next one
        list(made.push(Frame(i / 120, 0.0, image(i))))
    assert fitted == [0, 15, 30, 45, 60, 75, 90, 105, 120]
    slow = SegmentClock(
        SPEC, lambda picture: fitted.append(int(picture[0, 0, 0])) or number_of(picture)
    )
    fitted.clear()
    for i in range(6):  # 5 frames per second for 8 slots per second
        list(slow.push(Frame(i / 5, 0.0, image(i))))
    assert fitted == [0, 1, 2, 3, 4, 5]


def test_an_unstamped_camera_is_sampled_by_arrival():
    made = clock(live=True)
    segments = [s for i in range(40) for s in made.push(Frame(None, 1000.0 + i / 30, image(i)))]
    assert [s.index for s in segments] == [0, 1]
    assert segments[0].stamps[1] == pytest.approx(
        1000.0 + 4 / 30
    )  # 0.1333 is nearer to 0.125 than 0.1


def test_a_gap_starts_a_new_run_and_the_lead_in_is_its_first_frame():
    made = clock(live=True)
    for i in range(20):
        list(made.push(Frame(i / 8, 50.0 + i / 8, image(i))))
    made.gap()
    segments = [
        s for i in range(5) for s in made.push(Frame(900.0 + i / 8, 60.0 + i / 8, image(100 + i)))
    ]
    assert [(s.run, s.index) for s in segments] == [(1, 0)]
    assert segments[0].start_s == pytest.approx(
        10.0
    )  # time continues by arrival, whatever the stamps are
    assert (segments[0].pair[0] == 100).all()


@pytest.mark.parametrize("jump", [-1.0, 5.0])
def test_a_live_camera_whose_stamps_jump_starts_a_new_run(jump):
    made = clock(live=True, gap_s=2.0)
    for i in range(9):
        list(made.push(Frame(10 + i / 8, i / 8, image(i))))
    list(made.push(Frame(11 + jump, 9 / 8, image(9))))
    assert made.run == 1
    assert made.time_s == pytest.approx(9 / 8)


@pytest.mark.parametrize("took_s", [0.0, 500.0])
def test_a_jump_in_a_files_stamps_is_as_long_as_they_say_however_long_reading_took(took_s):
    """Otherwise all later times would be off, by a different amount in every run."""
    made, segments = clock(), []
    for i, stamp in enumerate([*np.arange(0, 1.5, 0.125), *np.arange(100.0, 101.5, 0.125)]):
        segments += made.push(Frame(float(stamp), took_s * (stamp >= 100), image(i)))
    last = segments[-1]
    assert (last.run, last.index) == (1, 2)
    assert (last.start_s, last.stamps[0]) == (pytest.approx(101.0), 101.0)


def test_a_file_skips_frames_out_of_order_and_counts_them():
    made, segments = stream([0.0, 0.2, 0.1, 0.3, 0.6])
    assert made.disordered == 1
    assert 0.1 not in segments[0].stamps


def test_no_frames_no_segments():
    assert list(clock().finish()) == []
