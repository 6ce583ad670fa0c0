"""A real RTSP server, and what can happen to it and to the way to it."""

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
    told = run(server.url("live"))
    told.until_decides("127.0.0.1-live")
    server.kill()
    camera = told.camera("127.0.0.1-live")
    until(lambda: camera.state.value in ("reconnecting", "failed"))
    assert "nothing answers" in camera.detail or "sends nothing" in camera.detail
    server.start("--size", "640x480", "--fps", "15", "--live", "jpeg")
    told.until_decides("127.0.0.1-live")
    assert camera.state.value == "live"
    assert camera.counts.reconnects >= 1
    told.stop()
    told.check_laws()
    assert len(told.runs) >= 2, "the window was flushed"


def test_a_server_that_stands_still_is_stalled_then_lost_then_found_again(rtsp, run, until):
    server = rtsp()
    told = run(server.url())
    told.until_decides("127.0.0.1-h264")
    camera = told.camera("127.0.0.1-h264")
    server.hold(True)
    until(lambda: camera.state.value in ("stalled", "reconnecting"), 10)
    until(lambda: camera.state.value in ("reconnecting", "failed"), 15)
    server.hold(False)
    told.until_decides("127.0.0.1-h264")
    told.stop()
    told.check_laws()


def test_a_short_stall_of_the_network_and_a_cut_connection(rtsp, run, network, until):
    server = rtsp()
    way = network(server.port)
    told = run(server.url(port=way.port))
    told.until_decides("127.0.0.1-h264")
    way.still.set()
    time.sleep(1.2)  # less than the read time-out: TCP makes up for it
    way.still.clear()
    told.until_decides("127.0.0.1-h264")
    assert told.camera("127.0.0.1-h264").counts.reconnects == 0
    way.cut()
    until(lambda: told.camera("127.0.0.1-h264").counts.reconnects >= 1)
    told.until_decides("127.0.0.1-h264")
    told.stop()
    told.check_laws()


def test_garbage_on_the_way_costs_pictures_not_the_process(rtsp, run, network, until):
    server = rtsp()
    way = network(server.port)
    told = run(server.url(port=way.port), f"rtsp://127.0.0.1:{server.port}/jpeg")
    told.until_decides("127.0.0.1-h264")
    way.garble = 0.3
    clean = len(told.decisions("127.0.0.1-jpeg"))
    time.sleep(4.0)
    assert len(told.decisions("127.0.0.1-jpeg")) - clean >= 4, "the other camera does not notice"
    way.garble = 0.0
    told.until_decides("127.0.0.1-h264", seconds=40)
    told.stop()
    told.check_laws()


def test_a_camera_of_5_and_one_of_120_frames_a_second(rtsp, run, until):
    slow, fast = rtsp("--fps", "5"), rtsp("--fps", "120")
    told = run(slow.url(), fast.url(), fast.url("jpeg"))
    told.until_decides("127.0.0.1-h264", more=8)
    until(lambda: told.stats() and all(camera.segments > 8 for camera in told.stats().cameras))
    told.stop()
    told.check_laws()
    stats = {camera.camera: camera for camera in told.stats().cameras}
    assert stats["127.0.0.1-h264"].delivery <= 0.6
    assert stats["127.0.0.1-jpeg"].delivery > 0.9
    assert [n.camera for n in told.notices("under_delivery")] == ["127.0.0.1-h264"]


def test_dead_cameras_do_not_hold_up_the_good_one(rtsp, run, until, network):
    server = rtsp()
    silent = [network(server.port) for _ in range(6)]
    for way in silent:
        way.still.set()
    begun = time.monotonic()
    told = run(
        *[server.url(port=way.port) for way in silent], "rtsp://127.0.0.1:9/x", server.url("jpeg")
    )
    told.until_decides("127.0.0.1-jpeg", more=1)
    assert time.monotonic() - begun < 10
    until(lambda: all(told.camera(name).counts.reconnects for name in told.cameras.names()[:7]))
    silent[0].still.clear()
    told.until_decides("127.0.0.1-h264", more=1)
    told.stop()
    told.check_laws()


def test_the_password_comes_from_the_environment_and_a_wrong_one_is_said_so(rtsp, run, monkeypatch):
    server = rtsp("--user", "viewer", "--password", "s3cret")
    monkeypatch.setenv("CAM1_PASS", "s3cret")
    told = run(server.url(login="viewer:${CAM1_PASS}@"))
    told.until_decides("127.0.0.1-h264", more=1)
    told.stop()
    monkeypatch.setenv("CAM1_PASS", "wr0ng")
    with pytest.raises(SourceError, match="this user name and password gave no video") as error:
        next(open_source(server.url(login="viewer:${CAM1_PASS}@")).frames())
    assert "wr0ng" not in str(error.value)
    with pytest.raises(SourceError, match="wants another user name or password"):
        next(open_source(server.url()).frames())
    with pytest.raises(SourceError, match="no such path"):
        next(open_source(server.url("nothing", login="viewer:s3cret@")).frames())
