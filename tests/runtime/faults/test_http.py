"""HTTP cameras: MJPEG, MPEG-TS and HLS, and their faults."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import subprocess
import threading
import time
from functools import partial

import cv2
import numpy as np
import pytest

from gasmcast.errors import SourceError
from gasmcast.runtime.sources.network import NetworkSource
from gasmcast.runtime.sources.network import _open as open_capture
from gasmcast.runtime.sources.open_sources import open_sources


def open_source(text, **settings):
    ((_, source),) = open_sources([text], **settings)
    return source


pytestmark = pytest.mark.slow


class Camera:
    """Server of one path; `send(write)` writes its body."""

    def __init__(self, kind, send, path="/video"):
        self.connections = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path != path:
                    self.send_error(404)
                    return
                outer.connections += 1
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.end_headers()
                with contextlib.suppress(OSError):  # the reader closed the connection
                    send(self.wfile.write)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}{path}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def camera():
    made = []

    def start(kind, send, path="/video"):
        made.append(Camera(kind, send, path))
        return made[-1]

    yield start
    for one in made:
        one.close()


def jpeg(number, size=(120, 160), color=(30, 30, 220)):
    image = np.full((*size, 3), color, np.uint8)
    image[10:30, number % 100 : number % 100 + 20] = 255
    return cv2.imencode(".jpg", image)[1].tobytes()


def part(data):
    return (
        b"--edge\r\nContent-Type: image/jpeg\r\nContent-Length: "
        + str(len(data)).encode()
        + b"\r\n\r\n"
        + data
        + b"\r\n"
    )


MJPEG = "multipart/x-mixed-replace; boundary=edge"


def test_mjpeg_at_its_true_pace(camera):
    """FFmpeg would number the frames as if there were 25 per second; there are 10."""

    def send(write):
        for number in itertools.count():
            write(part(jpeg(number)))
            time.sleep(0.1)

    frames = open_source(camera(MJPEG, send).url).frames()
    taken = list(itertools.islice(frames, 15))
    frames.close()
    assert taken[0].image.shape == (120, 160, 3)
    assert taken[0].image[100, 100].tolist() == pytest.approx([220, 30, 30], abs=12)  # RGB
    steps = np.diff([frame.stamp_s for frame in taken])
    assert np.median(steps) == pytest.approx(0.1, abs=0.03)


def test_mjpeg_with_garbage_a_change_of_size_a_stall_and_a_broken_line(camera, run, until):
    rounds = itertools.count()

    def send(write):
        attempt = next(rounds)
        for number in range(60):
            size = (240, 320) if attempt % 2 == 0 and number > 20 else (120, 160)
            data = jpeg(number, size)
            if number % 7 == 3:
                data = (
                    data[:40]
                    + bytes(np.random.default_rng(number).integers(0, 256, 200, np.uint8))
                    + data[240:]
                )
            write(
                part(data) if number != 40 else b"\x00garbage" * 20 + part(data[: len(data) // 2])
            )
            time.sleep(3.0 if number == 45 and attempt == 0 else 0.04)

    server = camera(MJPEG, send)
    live_run = run(server.url)
    name = "127.0.0.1-video"
    live_run.until_decides(name, more=6)
    until(lambda: server.connections >= 3)
    live_run.until_decides(name)
    live_run.stop()
    live_run.check_laws()
    assert any("reconnect" in notice.text for notice in live_run.notices("gap"))
    assert live_run.camera(name).counts.reconnects >= 2


def make_ts(ffmpeg, path, seconds=12, options=()):
    source = f"testsrc2=size=160x120:rate=25:duration={seconds}"
    command = [
        ffmpeg,
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        source,
        "-c:v",
        "mpeg2video",
        "-g",
        "12",
        "-b:v",
        "400k",
        *options,
        "-y",
        path,
    ]
    subprocess.run(command, check=True, timeout=60)


def paced(data, seconds, write):
    """Write a file over `seconds`, as a camera would send it."""
    step = 188 * 20
    pause = seconds * step / len(data)
    for begin in range(0, len(data), step):
        write(data[begin : begin + step])
        time.sleep(pause)


def test_mpeg_ts_whose_clock_jumps_keeps_real_time(camera, ffmpeg, tmp_path, run):
    make_ts(ffmpeg, tmp_path / "a.ts", 3)
    make_ts(ffmpeg, tmp_path / "b.ts", 3, ["-output_ts_offset", "40000"])
    make_ts(ffmpeg, tmp_path / "c.ts", 3, ["-output_ts_offset", "7"])
    parts = [(tmp_path / name).read_bytes() for name in ("a.ts", "b.ts", "c.ts")]

    def send(write):
        for data in parts:
            paced(data, 3, write)

    frames = []
    begun = time.monotonic()
    try:
        for frame in open_source(camera("video/mp2t", send).url).frames():
            frames.append(frame)
            if time.monotonic() - begun > 8:
                break
    except SourceError:
        pass
    lag = np.array([frame.arrival - frame.stamp_s for frame in frames])
    steps = np.diff([frame.stamp_s for frame in frames])
    assert len(frames) > 120
    assert np.all(steps > 0)
    assert np.abs(lag).max() < 2.0


class Slow:
    """Capture that takes `more_s` longer for each frame."""

    def __init__(self, capture, more_s, burn):
        self._capture, self._more_s, self._burn = capture, more_s, burn
        self.release = capture.release

    @property
    def position_s(self):
        return self._capture.position_s

    def grab(self):
        end = time.thread_time() + self._more_s * self._burn
        grabbed = self._capture.grab()
        while time.thread_time() < end:
            pass
        return grabbed

    def retrieve(self):
        time.sleep(self._more_s * (not self._burn))
        return self._capture.retrieve()


@pytest.mark.parametrize("burn", [False, True])
def test_a_stream_that_is_decoded_slower_than_it_comes_is_told_late_and_opened_anew(
    camera, ffmpeg, run, until, burn
):
    """25 frames per second arrive and 15 are decoded.

    Decoding takes waiting time in `retrieve`, or CPU time in `grab`.
    """
    source = ["-re", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=60"]
    command = [
        ffmpeg,
        "-v",
        "quiet",
        *source,
        "-c:v",
        "mpeg2video",
        "-g",
        "12",
        "-f",
        "mpegts",
        "-",
    ]

    def send(write):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            try:
                while data := server.stdout.read1(8192):
                    write(data)
            finally:
                server.kill()

    seen = []  # by connection: delivery, stamp and arrival of each frame

    class Watched(NetworkSource):
        def frames(self):
            seen.append([])
            for frame in super().frames():
                seen[-1].append((time.monotonic(), frame.stamp_s, frame.arrival))
                yield frame

    server = camera("video/mp2t", send)
    live_run = run(
        Watched(server.url, "cam", opener=lambda *args: Slow(open_capture(*args), 1 / 15, burn))
    )
    until(lambda: live_run.camera("cam").counts.reconnects >= 2)
    live_run.until_decides("cam", more=2)
    live_run.stop()
    live_run.check_laws()
    assert server.connections >= 3
    now, stamp, arrival = np.array(seen[0]).T
    late = now - arrival
    assert np.abs(late - (now - now[0]) + (stamp - stamp[0])).max() < 0.4
    assert 1.8 < late.max() < 4.5
    assert np.diff(stamp) == pytest.approx(1 / 25, abs=0.001)
    assert max(decision.latency_ms["sample"] for decision in live_run.decisions()) > 1500
    states = [notice.text for notice in live_run.notices("state")]
    assert any(
        "is decoded slower than it comes: 2." in text and "opened again" in text for text in states
    ), states
    assert any("reconnect" in notice.text for notice in live_run.notices("gap"))


def test_hls_is_played_at_its_own_pace_not_piece_by_piece(ffmpeg, tmp_path):
    make_ts(
        ffmpeg, tmp_path / "video.m3u8", 8, ["-f", "hls", "-hls_time", "2", "-hls_list_size", "0"]
    )
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.func.log_message = lambda *args: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    frames = open_source(f"http://127.0.0.1:{server.server_address[1]}/video.m3u8").frames()
    begun = time.monotonic()
    taken = list(itertools.islice(frames, 75))  # 3 s of video
    took = time.monotonic() - begun
    frames.close()
    server.shutdown()
    server.server_close()
    assert 2.5 < took < 5.5
    assert np.diff([frame.stamp_s for frame in taken]) == pytest.approx(1 / 25, abs=0.02)


def test_what_a_server_says_is_passed_on(camera):
    server = camera(MJPEG, lambda write: time.sleep(5), path="/else")
    with pytest.raises(SourceError, match="no such path"):
        next(open_source(server.url.replace("else", "video")).frames())


def test_a_server_that_is_slow_to_answer_takes_seconds_not_thirty(camera):
    server = camera(MJPEG, lambda write: time.sleep(8))
    begun = time.monotonic()
    with pytest.raises(SourceError, match="no video came in time"):
        next(open_source(server.url).frames())
    assert time.monotonic() - begun < 8


def test_a_stream_cannot_read_the_disk(camera, tmp_path):
    """A hostile camera answers with a playlist that names a local file."""
    (tmp_path / "secret.ts").write_bytes(b"G" * 188 * 10)
    playlist = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n"
        f"file://{tmp_path}/secret.ts\n#EXT-X-ENDLIST\n"
    )
    text = playlist.encode()
    server = camera("application/vnd.apple.mpegurl", lambda write: write(text), path="/video.m3u8")
    with pytest.raises(SourceError):
        next(open_source(server.url).frames())
