"""Pictures that are decoded slower than they come, with a simulated clock and stream."""

from __future__ import annotations

import itertools
import time

import cv2
import numpy as np
import pytest

from gasmcast.errors import SourceError
from gasmcast.runtime.service.backoff import Backoff
from gasmcast.runtime.sources import capture as capturing
from gasmcast.runtime.sources.camera import Camera
from gasmcast.runtime.sources.camera_state import State
from gasmcast.runtime.sources.lag import busy_s
from gasmcast.runtime.sources.network import NetworkSource
from gasmcast.runtime.sources.stamps import LiveStamps


class Clock:
    def __init__(self):
        self.now, self.busy = 1000.0, 0.0

    def __call__(self):
        return self.now

    def work(self, seconds):
        self.now += seconds
        self.busy += seconds

    def sleep(self, seconds):
        self.now += max(0.0, seconds)


class Stream:
    """A capture behind a network that buffers.

    Each picture takes `decode_s` of work, a share `in_grab` of it in `grab`.
    """

    def __init__(
        self,
        clock,
        seconds,
        *,
        fps=25.0,
        stamped_fps=None,
        decode_s=0.005,
        in_grab=0.8,
        drift=0.0,
        delivered_at=lambda at: at,
        disturb=None,
    ):
        self._clock, self._start, self._seconds = clock, clock.now, seconds
        self._fps, self._stamped_fps, self._drift, self._delivered_at = (
            fps,
            stamped_fps or fps,
            drift,
            delivered_at,
        )
        self._decode_s, self._in_grab, self._disturb = decode_s, in_grab, disturb
        self._number = -1
        self.released = 0

    def grab(self):
        self._number += 1
        at = self._number / self._fps
        if self._disturb:
            self._disturb(self._number)
        self._clock.sleep(self._start + self._delivered_at(at) - self._clock.now)
        self._clock.work(self._decode_s * self._in_grab)
        if at > self._seconds:
            self._clock.sleep(5.0)
            return False
        return True

    def retrieve(self):
        self._clock.work(self._decode_s * (1 - self._in_grab))
        return True, np.zeros((4, 4, 3), np.uint8)

    def get(self, prop):
        return (
            1000.0 * self._number / self._stamped_fps * (1 - self._drift)
            if prop == cv2.CAP_PROP_POS_MSEC
            else 0.0
        )

    def release(self):
        self.released += 1


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(capturing, "busy_s", lambda: clock.busy)
    return clock


def read(clock, stream, *, url="rtsp://cam/x", end="nothing any more"):
    """Return delivery time, stamp and arrival of each picture as rows, and the final error."""
    got, source = (
        [],
        NetworkSource(url, "cam", clock=clock, sleep=clock.sleep, opener=lambda *_: stream),
    )
    with pytest.raises(SourceError, match=end) as error:
        got.extend((clock.now, frame.stamp_s, frame.arrival) for frame in source.frames())
    assert stream.released == 1
    return np.array(got).T, error.value


@pytest.mark.parametrize("decode_s", [0.08, 0.06, 0.05, 0.042])
def test_what_is_decoded_slower_than_it_comes_is_told_late_and_ends_at_two_seconds(clock, decode_s):
    (now, stamp, arrival), error = read(
        clock, Stream(clock, 100, decode_s=decode_s), end="decoded slower than it comes"
    )
    late = now - arrival
    true = (now - now[0]) - (stamp - stamp[0])
    np.testing.assert_allclose(late - late[0], true, atol=0.06)
    assert 1.9 < late[-1] < 3.6
    assert "s behind; it is opened again" in error.what
    assert "sub-stream" in error.hint
    assert np.diff(stamp) == pytest.approx(0.04, abs=1e-6), "slow motion is not the truth"


def test_pictures_without_a_lag_arrive_when_they_are_there(clock):
    (now, _, arrival), _ = read(clock, Stream(clock, 30))
    assert now - arrival == pytest.approx(0.001, abs=1e-6)  # what `retrieve` took


def test_stamps_are_not_distrusted_while_nothing_is_waited_for():
    stamps, trusting = LiveStamps(), LiveStamps()
    pairs = [(i / 25, 50 + i / 15) for i in range(360)]
    assert np.diff([trusting.place(*pair, keeps_up=False) for pair in pairs]) == pytest.approx(
        1 / 25, abs=1e-6
    )
    assert np.diff([stamps.place(*pair, keeps_up=True) for pair in pairs])[-90:] == pytest.approx(
        1 / 15, abs=1e-6
    )


@pytest.mark.parametrize("decode_s", [0.005, 0.12])
def test_a_camera_whose_stamps_run_slow_is_distrusted_and_not_opened_anew(clock, decode_s):
    """5 pictures per second, stamped as if there were 25; decoding is slower than the stamps."""
    (now, stamp, arrival), _ = read(
        clock, Stream(clock, 60, fps=5, stamped_fps=25, decode_s=decode_s)
    )
    assert np.diff(stamp)[150:] == pytest.approx(0.2, abs=1e-3)
    assert np.max(now - arrival) < 2.0
    assert np.max((now - arrival)[150:]) < 0.2


def test_a_camera_whose_clock_drifts_is_not_late(clock):
    """Three hours at 100 ppm, with decoding so slow that there is hardly a wait."""
    (now, _, arrival), _ = read(clock, Stream(clock, 3 * 3600, fps=5, decode_s=0.18, drift=1e-4))
    assert np.max(now - arrival) < 0.1


def test_a_stall_of_the_network_is_told_late_until_it_is_made_up_for(clock):
    def delivered_at(at):
        return max(at, 21.2) if at > 20 else at

    (now, stamp, arrival), _ = read(clock, Stream(clock, 40, delivered_at=delivered_at))
    late = now - arrival
    at = now - now[0]
    assert late[at < 19] == pytest.approx(0.001, abs=1e-6)
    assert np.max(late) == pytest.approx(1.2, abs=0.06)
    assert np.max(late[at > 22]) < 0.01
    assert np.diff(stamp) == pytest.approx(0.04, abs=1e-6)


def test_pictures_that_come_in_pieces_are_not_too_late(clock):
    (now, _, arrival), _ = read(
        clock, Stream(clock, 60, delivered_at=lambda at: np.ceil(at / 0.4) * 0.4)
    )
    assert np.max(now - arrival) < 0.45


def test_a_process_that_was_stopped_for_a_while_catches_up(clock):
    def stopped(number):
        if number == 500:
            clock.now += 3.0

    stream = Stream(clock, 40, disturb=stopped)
    (now, _, arrival), _ = read(clock, stream)
    assert np.max(now - arrival) > 2.9
    assert now[-1] - arrival[-1] < 0.01


def test_a_playlist_that_is_decoded_slowly_is_not_opened_anew(clock):
    (now, _, arrival), error = read(
        clock, Stream(clock, 20, decode_s=0.06), url="http://cam/live.m3u8"
    )
    assert "sends nothing any more" in error.what  # its own end, after every picture
    assert len(now) == 20 * 25 + 1  # the first and the last too
    assert np.max(now - arrival) < 0.1


class RecordingListener:
    def __init__(self):
        self.states, self.stamps = [], []

    def on_frame(self, frame):
        self.stamps.append(frame.stamp_s)

    def on_gap(self, reason):
        self.states.append(f"gap {reason}")

    def on_state(self, state, detail=""):
        self.states.append(state)

    def on_end(self, error):
        pass


@pytest.mark.parametrize(
    ("decode_s", "waits", "state"),
    [(0.05, {0.5}, State.RECONNECTING), (0.12, {0.5, 1, 2, 4, 8, 16, 30}, State.FAILED)],
)
def test_a_camera_comes_back_at_once_unless_it_is_outrun_as_soon_as_it_is_there(
    clock, decode_s, waits, state
):
    opened, closed, listener = [], [], RecordingListener()

    def opener(*_):
        opened.append(clock.now)
        return Stream(clock, 100, decode_s=decode_s)

    source = NetworkSource("rtsp://cam/x", "cam", clock=clock, opener=opener)

    def inline(work, name):
        work()
        closed.append(clock.now)

    camera = Camera(source, listener, backoff=Backoff(draw=lambda: 1.0), clock=clock, spawn=inline)
    camera.start()
    while len(opened) < 8:
        clock.now += 0.25
        camera.tick()
    assert {again - end for again, end in zip(opened[1:], closed, strict=False)} == waits
    assert camera.counts.reconnects == 8
    assert listener.states.count("gap reconnect") == 7
    assert "stalled" not in listener.states
    assert camera.state is state
    assert "decoded slower than it comes" in camera.detail


def test_a_picture_that_is_late_is_no_silence(clock):
    """A picture that is 1.9 s late, and the next one a little later, are no silence."""
    looks = []

    class Late(NetworkSource):
        def frames(self):
            for number, frame in enumerate(super().frames()):
                yield frame
                if number > 140:
                    camera.tick()
                    looks.append((camera.state, clock.now - frame.arrival))

    source = Late(
        "rtsp://cam/x", "cam", clock=clock, opener=lambda *_: Stream(clock, 100, decode_s=0.05)
    )
    camera = Camera(source, RecordingListener(), clock=clock, spawn=lambda work, name: work())
    camera.start()
    assert max(late for _, late in looks) > 2.0
    assert {state for state, _ in looks} == {State.LIVE}


def test_work_counts_as_busy_and_sleep_does_not():
    wall, busy = time.monotonic(), busy_s()
    time.sleep(0.2)
    slept = time.monotonic() - wall - (busy_s() - busy)
    assert slept > 0.15
    wall, busy, thread = time.monotonic(), busy_s(), time.thread_time()
    while time.thread_time() - thread < 0.2:
        pass
    worked = busy_s() - busy
    assert 0.2 <= worked <= time.monotonic() - wall + 0.01


def test_lines_that_a_system_does_not_tell_are_no_error(monkeypatch, tmp_path):
    from gasmcast.runtime.sources import lag

    monkeypatch.setattr(lag, "_SCHEDSTAT", tmp_path / "none")
    first, second = itertools.islice((busy_s() for _ in itertools.count()), 2)
    assert 0 < first <= second
