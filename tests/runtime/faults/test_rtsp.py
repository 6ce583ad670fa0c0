"""A real RTSP server, and faults of the server and of the network."""

from __future__ import annotations

import time

import pytest

from gasmcast.errors import SourceError
from gasmcast.runtime.sources.open_sources import open_sources


def open_source(text, **settings):
    ((_, source),) = open_sources([text], **settings)
    return source


pytestmark = pytest.mark.slow


def test_a_server_that_is_killed_and_started_again_with_another_size_rate_and_codec(
    rtsp, run, until
):
    server = rtsp("--size", "320x240")
    live_run = run(server.url("live"))
    live_run.until_decides("127.0.0.1-live")
    server.kill()
    camera = live_run.camera("127.0.0.1-live")
    until(lambda: camera.state.value in ("reconnecting", "failed"))
    assert "nothing answers" in camera.detail or "sends nothing" in camera.detail
    server.start("--size", "640x480", "--fps", "15", "--live", "jpeg")
    live_run.until_decides("127.0.0.1-live")
    assert camera.state.value == "live"
    assert camera.counts.reconnects >= 1
    live_run.stop()
    live_run.check_laws()
    assert len(live_run.runs) >= 2, "the window was flushed"


def test_a_server_that_stands_still_is_stalled_then_lost_then_found_again(rtsp, run, until):
    server = rtsp()
    live_run = run(server.url())
    live_run.until_decides("127.0.0.1-h264")
    camera = live_run.camera("127.0.0.1-h264")
    server.hold(True)
    until(lambda: camera.state.value in ("stalled", "reconnecting"))
    until(lambda: camera.state.value in ("reconnecting", "failed"))
    server.hold(False)
    live_run.until_decides("127.0.0.1-h264")
    live_run.stop()
    live_run.check_laws()


def test_a_short_stall_of_the_network_and_a_cut_connection(rtsp, run, network, until):
    server = rtsp()
    way = network(server.port)
    live_run = run(server.url(port=way.port))
    live_run.until_decides("127.0.0.1-h264")
    way.still.set()
    time.sleep(1.2)  # less than the read time-out: TCP makes up for it
    way.still.clear()
    live_run.until_decides("127.0.0.1-h264")
    assert live_run.camera("127.0.0.1-h264").counts.reconnects == 0
    way.cut()
    until(lambda: live_run.camera("127.0.0.1-h264").counts.reconnects >= 1)
    live_run.until_decides("127.0.0.1-h264")
    live_run.stop()
    live_run.check_laws()


def test_garbage_on_the_way_costs_pictures_not_the_process(rtsp, run, network, until):
    server = rtsp()
    way = network(server.port)
    live_run = run(server.url(port=way.port), f"rtsp://127.0.0.1:{server.port}/jpeg")
    live_run.until_decides("127.0.0.1-h264")
    way.garble = 0.3
    clean = len(live_run.decisions("127.0.0.1-jpeg"))
    time.sleep(4.0)
    assert len(live_run.decisions("127.0.0.1-jpeg")) - clean >= 4, (
        "the other camera does not notice"
    )
    way.garble = 0.0
    live_run.until_decides("127.0.0.1-h264")
    live_run.stop()
    live_run.check_laws()


def test_a_camera_of_5_and_one_of_120_frames_a_second(rtsp, run, until):
    slow, fast = rtsp("--fps", "5"), rtsp("--fps", "120")
    live_run = run(slow.url(), fast.url(), fast.url("jpeg"))
    live_run.until_decides("127.0.0.1-h264", more=8)
    until(
        lambda: live_run.stats() and all(camera.segments > 8 for camera in live_run.stats().cameras)
    )
    live_run.stop()
    live_run.check_laws()
    stats = {camera.camera: camera for camera in live_run.stats().cameras}
    assert stats["127.0.0.1-h264"].delivery <= 0.6
    assert stats["127.0.0.1-jpeg"].delivery > 0.9
    assert [n.camera for n in live_run.notices("under_delivery")] == ["127.0.0.1-h264"]


def test_dead_cameras_do_not_hold_up_the_good_one(rtsp, run, until, network):
    server = rtsp()
    silent = [network(server.port) for _ in range(6)]
    for way in silent:
        way.still.set()
    begun = time.monotonic()
    live_run = run(
        *[server.url(port=way.port) for way in silent], "rtsp://127.0.0.1:9/x", server.url("jpeg")
    )
    live_run.until_decides("127.0.0.1-jpeg", more=1)
    assert time.monotonic() - begun < 10
    until(
        lambda: all(
            live_run.camera(name).counts.reconnects for name in live_run.cameras.names()[:7]
        )
    )
    silent[0].still.clear()
    live_run.until_decides("127.0.0.1-h264", more=1)
    live_run.stop()
    live_run.check_laws()


def test_the_password_comes_from_the_environment_and_a_wrong_one_is_said_so(rtsp, run, monkeypatch):
    server = rtsp("--user", "viewer", "--password", "s3cret")
    monkeypatch.setenv("CAM1_PASS", "s3cret")
    live_run = run(server.url(login="viewer:${CAM1_PASS}@"))
    live_run.until_decides("127.0.0.1-h264", more=1)
    live_run.stop()
    monkeypatch.setenv("CAM1_PASS", "wr0ng")
    with pytest.raises(SourceError, match="refuses this user name or password") as error:
        next(open_source(server.url(login="viewer:${CAM1_PASS}@")).frames())
    assert "wr0ng" not in str(error.value)
    with pytest.raises(SourceError, match="wants a user name and password"):
        next(open_source(server.url()).frames())
    with pytest.raises(SourceError, match="no such path"):
        next(open_source(server.url("nothing", login="viewer:s3cret@")).frames())
