"""Real servers on loopback, a network that can be broken, and runs of the whole runtime."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gasmcast.labels import Labels
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import Decision, Event, Notice, Stats
from gasmcast.runtime.service.backoff import Backoff
from gasmcast.runtime.session import Session
from gasmcast.runtime.sources.camera import Camera
from gasmcast.runtime.sources.open_sources import open_sources
from gasmcast.runtime.sources.supervisor import Cameras
from gasmcast.runtime.streaming_model import Model
from gasmcast.spec import ClipSpec
from tests.debian import has_rtsp_server

HERE = Path(__file__).parent
SPEC = ClipSpec(
    segments=4, segment_s=0.25, motion_frames=4, semantic_frames=1, pixels=32
)  # windows of 1 s on a grid of 16 frames/s


def wait_until(condition, seconds=100.0, every=0.02, else_tell=lambda: ""):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not after {seconds} s {else_tell()}"
        time.sleep(every)


@pytest.fixture
def until():
    """Return a function that waits for a condition; its limit only ends a test that fails."""
    return wait_until


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def port() -> int:
    """Port on which nobody listens."""
    return free_port()


class RtspServer:
    """GStreamer's RTSP server in a process of its own."""

    def __init__(self, *options: str):
        self.port, self.process = free_port(), None
        self.start(*options)

    def start(self, *options: str):
        command = ["/usr/bin/python3", HERE / "rtsp_server.py", str(self.port), *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout.readline() == "ready\n"

    def kill(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def hold(self, still: bool):
        """Suspend the server (SIGSTOP): connections stay open, nothing arrives."""
        self.process.send_signal(signal.SIGSTOP if still else signal.SIGCONT)

    def url(self, path="h264", port=0, login=""):
        return f"rtsp://{login}127.0.0.1:{port or self.port}/{path}"


@pytest.fixture
def rtsp():
    if not has_rtsp_server():
        pytest.skip("GStreamer's RTSP server is not installed (make debian)")
    servers = []

    def start(*options: str) -> RtspServer:
        servers.append(RtspServer(*options))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.kill()


@pytest.fixture
def ffmpeg():
    path = shutil.which("ffmpeg")
    if path is None:
        pytest.skip("ffmpeg is not installed (make debian)")
    return path


class Network:
    """Relay in front of a server: can stall, garble the server's bytes, and cut connections."""

    def __init__(self, port: int):
        self._target, self.still, self.garble = port, threading.Event(), 0.0
        self._random = random.Random(0)
        self._sockets: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._over = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def close(self):
        self._over = True
        self.still.clear()
        self._server.close()
        self.cut()

    def _accept(self):
        while not self._over:
            try:
                client, _ = self._server.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection(("127.0.0.1", self._target), 5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            self._sockets += [client, server]
            threading.Thread(target=self._relay, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._relay, args=(server, client, True), daemon=True).start()

    def _relay(self, source, sink, back):
        try:
            while data := source.recv(8192):
                while self.still.is_set() and not self._over:
                    time.sleep(0.02)
                if back and self._random.random() < self.garble:
                    data = bytearray(data)
                    for _ in range(20):
                        data[self._random.randrange(len(data))] = self._random.randrange(256)
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            one.close()


class Colors:
    """Engines without a library that take `slow_s` per batch.

    Features are mean colors; the label is the strongest color.
    """

    def __init__(self, slow_s=0.0):
        self.slow_s, self.batches = slow_s, 0
        outer = self

        class Encoder:
            def run(self, feeds):
                time.sleep(outer.slow_s)
                outer.batches += 1
                pairs = feeds["segments"]  # (B, 2, F, H, W, 3)
                mean = pairs[:, 1].mean(axis=(1, 2, 3)).astype(np.float32)  # (B, 3)
                return {"semantic": mean[:, None, None, None, :], "motion": mean[:, None, None, :]}

            def describe(self):
                return "colors"

        class Head:
            outputs = ()

            def run(self, feeds):
                mean = feeds["motion"].reshape(len(feeds["motion"]), -1, 3).mean(1)  # (B, 3)
                return {"logits": (mean - mean.mean(1, keepdims=True)) / 4.0}

            def describe(self):
                return "colors"

        self.model = Model(Encoder(), Head(), SPEC, Labels(["red", "green", "blue"]))


class Run:
    """Session on a thread of its own, with all records that it emitted."""

    def __init__(self, *sources, config=None, slow_s=0.0, sinks=(), keep=True, **camera):
        self.records, self.errors, self.failure = [], [], None
        self.decided, self.runs, self.broken = Counter(), set(), []
        self._keep, self._stats = keep, None
        self._recent = {}  # (camera, run) -> index -> stamps of the last segments
        self.engine = Colors(slow_s)
        draw = random.Random(0).random

        def make(source, listener, gap_s):
            return Camera(
                source,
                listener,
                gap_s=gap_s,
                backoff=Backoff(0.1, 1.0, steady_s=1.0, draw=draw),
                **camera,
            )

        self.cameras = Cameras(make, every_s=0.05)
        settings = config or LiveConfig(
            smooth_s=0, on=0.5, off=0.3, refractory_s=0, stats_s=0.5, degrade=False, gap_s=1.0
        )
        self.session = Session(self.engine.model, settings, [self, *sinks])
        self.session.cameras = self.cameras
        self.session.pipeline._context.trace = self._trace
        texts = [source for source in sources if isinstance(source, str)]
        for source in [source for _, source in open_sources(texts)] if texts else sources:
            self.session.add(source)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def write(self, record):
        if isinstance(record, Decision):
            self.decided[record.camera] += 1
        if isinstance(record, Stats):
            self._stats = record
        elif self._keep or not isinstance(record, Decision):
            self.records.append(record)

    def _trace(self, kind, fields):
        """Check that no window spans a gap; done at once, so that a long run keeps nothing."""
        if kind not in ("segment", "window"):
            return
        run = fields["camera"], fields["run"]
        recent = self._recent.setdefault(run, {})
        if kind == "segment":
            self.runs.add(run)
            recent[fields["index"]] = fields["stamps"]
            recent.pop(fields["index"] - 64, None)
            for old in [
                other for other in self._recent if other[0] == run[0] and other[1] < run[1] - 1
            ]:
                del self._recent[old]
            return
        parts = range(fields["index"] - SPEC.segments + 1, fields["index"] + 1)
        stamps = [stamp for index in parts for stamp in recent.get(index, (float("nan"),))]
        if not (stamps == sorted(stamps) and max(np.diff(stamps)) < 1.5):
            self.broken.append((fields, stamps))

    def close(self):
        pass

    def _run(self):
        try:
            self.errors = self.session.run()
        except BaseException as error:  # noqa: BLE001 - check_laws reports it
            self.failure = error

    def stop(self):
        self.session.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()
        assert self.failure is None

    def decisions(self, camera=None):
        return [r for r in self.records if isinstance(r, Decision) and camera in (None, r.camera)]

    def events(self, camera=None):
        return [r for r in self.records if isinstance(r, Event) and camera in (None, r.camera)]

    def notices(self, what=None):
        return [r for r in self.records if isinstance(r, Notice) and what in (None, r.what)]

    def stats(self):
        return self._stats

    def until_decides(self, camera, more=3, seconds=100.0):
        """Wait for `more` further decisions of a camera."""
        before = self.decided[camera]
        wait_until(lambda: self.decided[camera] >= before + more, seconds, else_tell=self.states)

    def camera(self, name):
        return self.cameras._cameras[name]

    def states(self):
        """Return the cameras' states, for messages of tests."""
        cameras = [self.camera(name) for name in self.cameras.names()]
        return [(c.name, c.state.value, c.detail, c.threads) for c in cameras]

    def check_laws(self):
        """Check the invariants: each start has one end, no window spans a gap, no thread failed."""
        assert self.failure is None
        for camera in {e.camera for e in self.events()}:
            open_number = None
            for event in self.events(camera):
                if event.phase == "start":
                    assert open_number is None
                    open_number = event.number
                elif event.phase == "end":
                    assert event.number == open_number
                    open_number = None
            assert open_number is None, "an event without its end"
        assert self.broken == [], "a window spans a gap"


@pytest.fixture
def run():
    runs = []

    def start(*sources, **settings) -> Run:
        runs.append(Run(*sources, **settings))
        return runs[-1]

    yield start
    for one in runs:
        one.session.stop()
        one._thread.join(10)


@pytest.fixture
def network():
    made = []

    def start(port: int) -> Network:
        made.append(Network(port))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def start():
    """Return a function that starts `gasmcast live`; running ones are killed after the test."""
    started = []

    def begin(bundle, *arguments, stdin=subprocess.DEVNULL, **environment):
        code = "import sys; from gasmcast.cli import main; sys.argv[0] = 'gasmcast'; main()"
        command = [
            sys.executable,
            "-c",
            code,
            "live",
            *map(str, arguments),
            "--bundle",
            str(bundle),
            "--threads",
            "1",
        ]
        settings = {**os.environ, "OMP_NUM_THREADS": "1", "no_proxy": "127.0.0.1", **environment}
        pipes = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, **pipes, text=True, env=settings))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()
