"""The policy of one camera, with a simulated clock and threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from gasmcast.errors import SourceError, UsageError
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.service.backoff import Backoff
from gasmcast.runtime.sources.camera import Camera
from gasmcast.runtime.sources.camera_state import State
from gasmcast.runtime.sources.supervisor import Cameras
from gasmcast.runtime.sources.webcam import AbsentError, WebcamSource


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class RecordingListener:
    """A listener that records its calls."""

    def __init__(self):
        self.states, self.frames, self.end = [], [], None
        self._inside = threading.Lock()

    def on_frame(self, frame):
        assert self._inside.acquire(blocking=False), "two calls at once"
        self.frames.append(frame)
        self._inside.release()

    def on_gap(self, reason):
        self.states.append(f"gap {reason}")

    def on_state(self, state, detail=""):
        self.states.append(state)

    def on_end(self, error):
        assert self.end is None, "ended twice"
        self.end = ("error", error) if error else ("ended", None)


class Script:
    """A source whose attempts are lists of frames, exceptions, and functions to call."""

    def __init__(self, clock, *attempts, live=True, reconnects=None, name="cam"):
        self.name, self.live, self._clock, self._attempts = name, live, clock, list(attempts)
        self.reconnects = live if reconnects is None else reconnects
        self.opened = self.closed = 0

    def frames(self):
        self.opened += 1
        try:
            for item in self._attempts.pop(0):
                if isinstance(item, Exception):
                    raise item
                if callable(item):
                    item()
                    continue
                stamp, size = item if isinstance(item, tuple) else (item, (4, 4))
                if stamp is not None:
                    self._clock.now = 100.0 + stamp
                yield Frame(stamp, self._clock(), np.zeros((*size, 3), np.uint8))
        finally:
            self.closed += 1


def inline(work, name):
    work()


def camera_of(clock, *attempts, spawn=inline, **settings):
    kind = {key: settings.pop(key) for key in ("live", "reconnects") if key in settings}
    listener = RecordingListener()
    source = Script(clock, *attempts, **kind)
    camera = Camera(
        source, listener, backoff=Backoff(draw=lambda: 1.0), clock=clock, spawn=spawn, **settings
    )
    return camera, source, listener


def test_a_file_runs_to_its_end():
    camera, source, listener = camera_of(Clock(), [0.0, 0.1, 9.0], live=False)
    camera.start()
    assert listener.states == ["connecting", "live", "ended"]
    assert (len(listener.frames), listener.end, camera.over, source.closed) == (
        3,
        ("ended", None),
        True,
        1,
    )


def test_a_broken_file_fails_and_is_not_tried_again():
    trouble = SourceError("cut short")
    camera, source, listener = camera_of(Clock(), [0.0, trouble], live=False)
    camera.start()
    camera.tick()
    assert (listener.states[-1], listener.end, source.opened) == ("failed", ("error", trouble), 1)


def test_a_file_at_its_own_pace_ends_at_its_end_and_may_pause_longer_than_a_hang():
    clock, looks = Clock(), []

    def pause():
        clock.now += 14.0
        camera.tick()
        looks.append(camera.state)

    camera, source, listener = camera_of(clock, [0.0, 0.1, pause, 14.2], reconnects=False)
    camera.start()
    assert looks == [State.STALLED]
    assert listener.states == ["connecting", "live", "stalled", "gap stall", "live", "ended"]
    assert (len(listener.frames), listener.end, camera.over, source.opened) == (
        3,
        ("ended", None),
        True,
        1,
    )


def test_a_file_that_is_slow_to_its_first_frame_is_waited_for():
    clock = Clock()

    def slow():
        clock.now += 60.0
        camera.tick()

    camera, _, listener = camera_of(clock, [slow, 0.0, 0.1], live=False)
    camera.start()
    assert (len(listener.frames), listener.end, camera.counts.hangs) == (2, ("ended", None), 0)


def test_a_broken_file_at_its_own_pace_fails_and_is_not_tried_again():
    trouble = SourceError("cut short")
    camera, source, listener = camera_of(Clock(), [0.0, trouble], reconnects=False)
    camera.start()
    camera.tick()
    assert (listener.states[-1], listener.end, source.opened) == ("failed", ("error", trouble), 1)


def test_a_live_stream_that_ends_or_fails_is_opened_again_with_a_gap():
    clock = Clock()
    camera, source, listener = camera_of(clock, [0.0], [SourceError("refused")], [5.0, 5.1])
    camera.start()
    assert listener.states == ["connecting", "live", "reconnecting"]
    for _ in range(40):
        clock.now += 0.1
        camera.tick()
        if source.opened == 3:
            break
    assert listener.states == [
        "connecting",
        "live",
        "reconnecting",
        "reconnecting",
        "gap reconnect",
        "live",
        "reconnecting",
    ]
    assert (camera.counts.reconnects, source.closed) == (3, 3)


def test_waits_double_to_thirty_seconds_and_five_failures_are_called_failed():
    clock = Clock()
    camera, source, listener = camera_of(clock, *[[SourceError("refused")] for _ in range(12)])
    camera.start()
    waits, last = [], clock.now
    while source.opened < 11:
        before = source.opened
        clock.now += 0.25
        camera.tick()
        if source.opened > before:
            waits.append(clock.now - last)
            last = clock.now
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert listener.states[1:6] == ["reconnecting"] * 4 + ["failed"]
    assert not camera.over


def test_jitter_is_full_and_steady_work_forgives():
    draws = iter([0.5, 0.0, 1.0])
    backoff = Backoff(draw=lambda: next(draws))
    assert backoff.bad(0.0) == 0.25
    assert backoff.bad(1.0) == pytest.approx(0.1)  # a tenth at least
    backoff.good(2.0)
    backoff.good(8.0)
    assert backoff.failures == 0
    assert backoff.bad(9.0) == 0.5


def test_a_stream_that_dies_as_it_opens_is_not_hammered():
    backoff = Backoff(draw=lambda: 1.0)
    waits = []
    for now in range(8):
        backoff.good(float(now))
        waits.append(backoff.bad(now + 0.1))
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_silent_camera_is_stalled_and_a_picture_makes_it_live_again():
    clock = Clock()
    looks = []

    def silence():
        clock.now += 1.9
        camera.tick()
        looks.append(camera.state)
        clock.now += 0.2
        camera.tick()
        looks.append(camera.state)

    camera, _, listener = camera_of(clock, [0.0, 0.1, 0.2, silence, 2.4, 2.5])
    camera.start()
    assert looks == [State.LIVE, State.STALLED]
    assert listener.states[:5] == ["connecting", "live", "stalled", "gap stall", "live"]
    assert camera.counts.stalls == 1


def test_a_slow_camera_is_not_stalled_before_two_of_its_periods():
    clock = Clock()
    seen = []

    def look():
        clock.now += 5.0
        camera.tick()
        seen.append(camera.state)

    camera, _, _ = camera_of(clock, [0.0, 3.0, 6.0, 9.0, look])
    camera.start()
    assert seen == [State.LIVE]


def test_a_change_of_size_and_a_jump_of_stamps_are_gaps_for_live_sources_only():
    attempt = [0.0, 0.1, (0.2, (6, 6)), 0.3, 5.0, 5.1]
    camera, _, listener = camera_of(Clock(), list(attempt))
    camera.start()
    assert [state for state in listener.states if state.startswith("gap")] == [
        "gap size change",
        "gap size change",
        "gap stall",
    ]
    camera, _, listener = camera_of(Clock(), list(attempt), live=False)
    camera.start()
    assert not [state for state in listener.states if state.startswith("gap")]


@pytest.mark.parametrize(("gap_s", "gaps"), [(0.5, 2), (1.5, 1), (4.0, 0)])
def test_the_silence_that_breaks_a_window_is_the_one_of_the_settings(gap_s, gaps):
    """The steps are 0.1, 1.0 and 3.0 s."""
    camera, _, listener = camera_of(Clock(), [0.0, 0.1, 0.2, 1.2, 1.3, 4.3], gap_s=gap_s)
    camera.start()
    assert listener.states.count("gap stall") == gaps


def test_a_thread_that_hangs_in_native_code_is_abandoned_and_what_it_still_gives_is_thrown_away():
    stuck, opened = threading.Event(), threading.Event()
    clock = Clock()

    def hang():
        opened.set()
        stuck.wait(20)

    threads = []

    def spawn(work, name):
        threads.append(threading.Thread(target=work, daemon=True))
        threads[-1].start()

    camera, source, listener = camera_of(clock, [0.0, hang, 0.1, 0.2], [20.0, 20.1], spawn=spawn)
    camera.start()
    assert opened.wait(5)
    clock.now += 10.1
    camera.tick()
    assert camera.state is State.RECONNECTING
    assert camera.counts.hangs == 1
    clock.now += 1.0
    camera.tick()
    threads[1].join(5)
    assert len(listener.frames) == 3
    assert camera.threads == 1
    stuck.set()
    threads[0].join(5)
    assert len(listener.frames) == 3
    assert (camera.threads, source.closed) == (0, 2)


def test_no_more_than_three_threads_hang_at_once():
    clock, stuck = Clock(), threading.Event()
    camera, _, _ = camera_of(
        clock,
        *[[lambda: stuck.wait(20)] for _ in range(9)],
        spawn=lambda work, name: threading.Thread(target=work, daemon=True).start(),
    )
    camera.start()
    for _ in range(100):
        clock.now += 5.0
        camera.tick()
    assert camera.threads == 3
    stuck.set()
    assert camera.join(5)


def test_an_unforeseen_error_in_a_reader_is_an_outage_like_others():
    camera, _, _ = camera_of(Clock(), [0.0, ZeroDivisionError("bug with rtsp://u:secret@h")], [1.0])
    camera.start()
    assert camera.state is State.RECONNECTING
    assert "ZeroDivisionError" in camera.detail
    assert "secret" not in camera.detail


def test_a_mistake_of_the_user_is_told_at_once():
    camera, _, listener = camera_of(Clock(), [UsageError("CAM_PASS is not set")])
    camera.start()
    assert listener.end[0] == "error"


def test_a_webcam_that_is_not_there_fails_but_one_that_was_unplugged_is_waited_for():
    there = [True]

    class Fake:
        def __init__(self):
            self.left = 2

        def grab(self):
            self.left -= 1
            return self.left >= 0

        def retrieve(self):
            return True, np.zeros((4, 4, 3), np.uint8)

        def get(self, prop):
            return 0.0

        def release(self):
            pass

    webcam = WebcamSource(
        "/dev/video77", "w", sole=True, opener=lambda device: Fake() if there[0] else None
    )
    frames = webcam.frames()
    next(frames), next(frames)
    with pytest.raises(SourceError, match="no more pictures") as error:
        next(frames)
    assert not isinstance(error.value, AbsentError)
    with pytest.raises(
        SourceError, match="no such device"
    ) as error:  # beside others it is waited for
        next(WebcamSource("/dev/video77", "w", opener=lambda device: None).frames())
    assert not isinstance(error.value, AbsentError)
    with pytest.raises(AbsentError, match="no such device"):
        next(WebcamSource("/dev/video77", "w", sole=True, opener=lambda device: None).frames())


def test_stop_ends_it_once_also_when_it_was_called_failed():
    clock = Clock()
    camera, _, listener = camera_of(clock, *[[SourceError("refused")] for _ in range(9)])
    camera.start()
    for _ in range(100):
        clock.now += 1.0
        camera.tick()
    assert camera.state is State.FAILED
    assert camera.stop(1.0)
    assert camera.stop(1.0)
    assert (listener.states[-1], listener.end) == ("ended", ("ended", None))


def test_an_attempt_that_was_on_its_way_when_it_was_stopped_reads_nothing():
    clock, work = Clock(), []
    camera, source, listener = camera_of(
        clock, [0.0, 0.1], [0.2, 0.3], spawn=lambda task, name: work.append(task)
    )
    camera.start()
    camera.stop(0.0)
    camera._attempt()  # a tick on another thread was about to make it
    for task in work:
        task()
    camera.start()  # and so was the supervisor, for a file whose turn had come
    assert (listener.frames, listener.states, source.closed, len(work)) == (
        [],
        ["connecting", "ended"],
        2,
        2,
    )


def test_cameras_come_and_go_and_a_dead_one_holds_up_no_other():
    stuck = threading.Event()

    class Endless:
        live = reconnects = True

        def __init__(self, name, wait):
            self.name, self._wait = name, wait

        def frames(self):
            import time

            while True:
                self._wait()
                yield Frame(None, time.monotonic(), np.zeros((4, 4, 3), np.uint8))

    cameras = Cameras(every_s=0.02)
    cameras.start()
    dead, good, late = RecordingListener(), RecordingListener(), RecordingListener()
    cameras.add(Endless("dead", lambda: stuck.wait(20)), dead)
    cameras.add(Endless("good", lambda: stuck.wait(0.01)), good)
    with pytest.raises(UsageError, match="already"):
        cameras.add(Endless("good", lambda: None), RecordingListener())
    stuck.wait(0.2)
    cameras.add(Endless("late", lambda: stuck.wait(0.01)), late)
    stuck.wait(0.2)
    cameras.remove("good")
    seen = len(good.frames)
    with pytest.raises(UsageError, match="There are: dead, late"):
        cameras.remove("good")
    stuck.wait(0.1)
    assert good.end == ("ended", None)
    assert len(good.frames) == seen >= 5
    assert len(late.frames) >= 5
    assert not cameras.stop(0.2)  # one thread hangs
    stuck.set()
    assert dead.end == late.end == ("ended", None)


def test_files_wait_for_their_turn():
    clock, cameras = Clock(), None
    gate = threading.Event()

    def make_camera(source, listener, gap_s):
        return Camera(source, listener, gap_s=gap_s, clock=clock)

    cameras = Cameras(make_camera, max_files=2)
    listeners = [RecordingListener() for _ in range(5)]
    sources = [
        Script(clock, [0.0, lambda: gate.wait(10)], live=False, name=f"f{i}") for i in range(5)
    ]
    for source, listener in zip(sources, listeners, strict=True):
        cameras.add(source, listener)
    gate.wait(0.2)
    assert [source.opened for source in sources] == [1, 1, 0, 0, 0]
    gate.set()
    for _ in range(200):
        cameras.tick()
        if all(listener.end for listener in listeners):
            break
        threading.Event().wait(0.01)
    assert [listener.end for listener in listeners] == [("ended", None)] * 5
