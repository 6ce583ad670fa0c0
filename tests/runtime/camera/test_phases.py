from __future__ import annotations

import numpy as np
import pytest

from gasmcast.runtime.camera.clock import SegmentClock
from gasmcast.runtime.camera.phases import MAX_SLEW, Phases
from gasmcast.runtime.frames import Frame
from gasmcast.spec import ClipSpec

T = 0.5


def distances(places) -> list[float]:
    ordered = sorted(place % T for place in places)
    return [(b - a) % T for a, b in zip(ordered, [*ordered[1:], ordered[0]], strict=True)]


@pytest.mark.parametrize("count", [2, 3, 5, 8, 12])
def test_cameras_that_are_known_start_at_even_distances(count):
    phases = Phases(T)
    for camera in range(count):
        phases.join(camera)
    begins = [phases.start(camera, 100.0 + 0.013 * camera) for camera in range(count)]
    assert distances(begins) == pytest.approx([T / count] * count, abs=1e-4)
    for camera, begin in enumerate(begins):
        assert 0 <= begin - (100.0 + 0.013 * camera) < T
        assert phases.slew(camera, begin + 3 * T) == 0.0, "even already: nothing moves"


def test_a_camera_that_comes_later_takes_the_widest_distance():
    phases = Phases(T)
    for camera in "abc":
        phases.join(camera)
        phases.start(camera, 50.0)
    phases.leave("c")
    phases.join("d")
    places = [phases.start("d", 60.0), 50.0]
    assert min(distances(places)) > 0.1


def test_phases_even_out_step_by_step_and_never_faster_than_the_bound():
    phases = Phases(T)
    origins = dict(zip("abcd", (10.0, 10.01, 10.02, 10.4), strict=True))
    for camera in origins:
        phases.join(camera)
    for _ in range(200):
        for camera, origin in list(origins.items()):
            moved = phases.slew(camera, origin)
            assert abs(moved) <= MAX_SLEW * T + 1e-12
            origins[camera] += moved + T
    assert distances(origins.values()) == pytest.approx([T / 4] * 4, abs=0.03)


def test_a_drifting_camera_stays_apart_from_another():
    phases = Phases(T)
    origins = {"a": 10.0, "b": 10.25}
    for camera, origin in origins.items():
        phases.join(camera)
        phases.start(camera, origin)
    for _ in range(4000):
        for camera, origin in list(origins.items()):
            origins[camera] = origin + phases.slew(camera, origin) + T
        origins["b"] += 200e-6 * T  # 200 ppm: without correction they meet after 20 minutes
    assert min(distances(origins.values())) > 0.2


def test_a_camera_that_left_or_stopped_is_not_counted():
    phases = Phases(T)
    for camera in "ab":
        phases.join(camera)
        phases.start(camera, 10.0)
    phases.stop("b")
    phases.leave("b")
    assert phases.slew("b", 11.0) == 0.0
    assert phases.slew("a", 10.1) == 0.0


def test_a_moved_grid_takes_the_nearest_frames_of_the_moved_slots_and_keeps_its_run():
    spec = ClipSpec(segments=3, segment_s=0.5, motion_frames=4, semantic_frames=1, pixels=32)
    clock = SegmentClock(spec, lambda image: np.broadcast_to(image[:1, :1], (32, 32, 3)), 2.0, True)
    stamps = np.arange(600) / 30
    shift, segments, shifts = 0.0, [], []
    for stamp in stamps:
        image = np.zeros((1, 1, 3), np.uint8)
        for segment in clock.push(Frame(stamp, 500.0 + stamp, image)):
            segments.append(segment)
            shifts.append(shift)
            clock.slew(-0.002)
            shift -= 0.002
    assert len(segments) > 30
    assert [segment.index for segment in segments] == list(range(len(segments)))
    assert {segment.run for segment in segments} == {0}
    for segment, moved in zip(segments, shifts, strict=True):
        slots = segment.index * 0.5 + moved + np.arange(4) / spec.fps
        nearest = [stamps[np.argmin(np.abs(stamps - slot))] for slot in slots]
        np.testing.assert_allclose(segment.stamps, nearest, atol=1 / 60 + 1e-9)
        assert segment.start_s == pytest.approx(segment.index * 0.5 + moved)
    assert clock.origin == pytest.approx(500.0 + shift)
